"""CLIPFeaturizer: images to CLIP embeddings, with the interface of a scikit-learn transformer."""

import os
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from skclip.backbones import PRECISIONS, Backbone, BackboneConfig, get_backbone, get_embedding_dim
from skclip.features.encoding import encode_images
from skclip.features.reading import check_collection, check_items
from skclip.utils._sklearn_compat import Interval, StrOptions

__all__ = ["CLIPFeaturizer"]

# Reading these looks the model up, and may load it.
_LOOKUP_ATTRIBUTES = {"embedding_dim_", "logit_bias_", "logit_scale_", "_n_features_out"}


class CLIPFeaturizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Images as the embeddings of a frozen CLIP model.

    An image :math:`x` becomes :math:`f(x) / \lVert f(x) \rVert_2`, where :math:`f` is the
    image tower of a contrastive image-text model [1]_ after the model's own preprocessing.
    There is nothing to fit: `transform` works at once, and `fit` only validates the
    parameters.

    The model is loaded at the first use, once per process for everything that names the same
    model, weights, device and precision. A clone or a pickle carries the parameters only.

    Parameters
    ----------
    model : str, default=None
        An architecture of open_clip, such as "ViT-B-32"; or "hf-hub:org/name" or
        "local-dir:folder", which bring their own weights. None if `pretrained` is one of
        these two. A model must be named: there is no default.
    pretrained : str or Path, default=None
        The weights: a tag that open_clip publishes for the architecture ("openai",
        "laion2b_s34b_b79k"), a weights file (.safetensors, .bin, .pt), "hf-hub:org/name"
        or "local-dir:folder", a folder with ``open_clip_config.json``. If `model` is given
        too, such a folder or repository must be of that architecture. A known tag wins
        over a file of the same name. See Notes for the activation and the preprocessing.
    device : str or torch.device, default="auto"
        Where the model runs. "auto" is CUDA where there is a usable GPU, else the CPU.
    precision : str, default="fp32"
        The model's arithmetic, with open_clip's meaning: "fp32", "fp16", "bf16",
        "pure_fp16", "pure_bf16", "amp" or "amp_bf16". Features are float32 in any case.
        On a CPU "fp32" is the fastest.
    batch_size : int, default=64
        Images per call of the model; halved on the spot if a GPU runs out of memory.
    n_jobs : int, default=None
        Threads that decode and preprocess images while the model runs; None means 1 unless
        in a :obj:`joblib.parallel_config` context, -1 means all processors. With 1 decoding
        and the model take turns.
    normalize : bool, default=True
        Whether rows are scaled to unit length.
    on_error : {"raise", "nan"}, default="raise"
        What an image that cannot be read does: stop the job, or become a row of NaN, with one
        warning that counts them. With "nan", None and NaN among the items count as such
        images; items of a wrong type are errors in any case.
    allow_random_weights : bool, default=False
        Whether a model without trained weights may be used. Its features carry no
        meaning; for tests.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    embedding_dim_ : int
        The number d of features, from the model's configuration.
    logit_scale_ : float
        The factor of the cosine similarity in the model's logits: 100 for OpenAI's models.
        Reading this or `logit_bias_` loads the model.
    logit_bias_ : float or None
        What SigLIP models add to the scaled similarity; None for other models.

    See Also
    --------
    skclip.prompts.ClassPrompts : Class names as prototypes, by the text tower of such a model.

    Notes
    -----
    *Input.* Items may be paths (str or Path), PIL images and uint8 arrays of shape (h, w),
    (h, w, 1), (h, w, 3) or (h, w, 4), mixed in one list; a whole array has shape (n, h, w) or
    (n, h, w, channels). EXIF rotation is applied; transparency is laid over white; 16-bit
    greyscale is scaled from [0, 65535]; of an animated file the first frame is read. Arrays of
    another type are refused rather than guessed.

    *Activation.* Some weights (OpenAI, MetaCLIP, DFN) were trained with QuickGELU. For a tag the
    right activation is taken: ("ViT-B-32", "openai") is ("ViT-B-32-quickgelu", "openai"). For a
    weights file whose name or neighbouring configuration says QuickGELU, the plain architecture
    is refused.

    *Preprocessing* comes with a tag, a repository or a folder. A weights file carries none: that
    of the architecture's published weights is used where they agree, otherwise OpenAI's, with a
    warning wherever this is uncertain.

    *Without a network* a tag or a repository is found in the cache of the Hugging Face hub
    (environment variable HF_HUB_CACHE); HF_HUB_OFFLINE=1 skips the attempts to reach it.

    *Text* needs the model's tokenizer, and for some models (SigLIP and others) the package
    transformers; images do not.

    *Cost.* Memory is two batches of preprocessed images and the result, n x d x 4 bytes. ViT-B-32
    takes about 60 ms per image on two CPU cores. The same image in another batch or on other
    hardware gives features that differ by rounding, below 1e-5 in float32; the number of jobs
    changes nothing.

    References
    ----------
    .. [1] A. Radford et al., "Learning transferable visual models from natural language
       supervision", ICML 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.datasets import tiny_clip
    >>> from skclip.features import CLIPFeaturizer
    >>> images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    >>> featurizer = CLIPFeaturizer(tiny_clip())
    >>> features = featurizer.transform(images)
    >>> features.shape == (2, featurizer.embedding_dim_)
    True
    """

    _parameter_constraints: dict = {
        "model": [str, None],
        "pretrained": [str, os.PathLike, None],
        "device": [str, torch.device],
        "precision": [StrOptions(set(PRECISIONS))],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "normalize": ["boolean"],
        "on_error": [StrOptions({"raise", "nan"})],
        "allow_random_weights": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model: str | None = None,
        pretrained: str | Path | None = None,
        *,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        batch_size: int = 64,
        n_jobs: int | None = None,
        normalize: bool = True,
        on_error: str = "raise",
        allow_random_weights: bool = False,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.pretrained = pretrained
        self.device = device
        self.precision = precision
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.normalize = normalize
        self.on_error = on_error
        self.allow_random_weights = allow_random_weights
        self.verbose = verbose

    def fit(self, X: Any = None, y: Any = None) -> "CLIPFeaturizer":
        """Validate the parameters; nothing is learnt and nothing is loaded.

        Parameters
        ----------
        X : ignored
        y : ignored

        Returns
        -------
        self : CLIPFeaturizer
        """
        self._validate_params()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed images.

        Parameters
        ----------
        X : sequence of n images
            Paths, PIL images and uint8 arrays, mixed; a uint8 array of shape (n, h, w) or
            (n, h, w, 3); an array or a pandas Series of paths, or one column of them.

        Returns
        -------
        features : ndarray of shape (n, d), float32, C-contiguous
            Rows of unit length if `normalize`.

        Raises
        ------
        ImageError
            If `X` is not a collection of images, or if one cannot be read and `on_error` is
            "raise".
        BackboneError
            If the model cannot be loaded as named.
        """
        self._validate_params()
        images = check_collection(X)
        check_items(images, allow_missing=self.on_error == "nan")
        features = encode_images(
            images,
            self._backbone(),
            batch_size=self.batch_size,
            n_jobs=joblib.effective_n_jobs(self.n_jobs),
            on_error=self.on_error,
            verbose=self.verbose,
        )
        return _unit_rows(features) if self.normalize else features

    def encode_text(self, texts: Iterable[str], *, normalize: bool | None = None) -> np.ndarray:
        """Embed texts with the same model.

        Parameters
        ----------
        texts : iterable of str
            At least one. What exceeds the model's context length (77 tokens for CLIP) is cut
            off, as in open_clip.
        normalize : bool, default=None
            Whether rows are scaled to unit length; None means as the parameter `normalize`.

        Returns
        -------
        embeddings : ndarray of shape (n, d), float32
        """
        self._validate_params()
        embeddings = self._backbone().encode_texts(texts, verbose=self.verbose)
        if normalize is None:
            normalize = self.normalize
        return _unit_rows(embeddings) if normalize else embeddings

    @property
    def embedding_dim_(self) -> int:
        """The number of features; from the model's configuration, without its weights."""
        return get_embedding_dim(self._config())

    @property
    def logit_scale_(self) -> float:
        """The factor of the cosine similarity in the model's logits; loads the model."""
        return self._backbone().logit_scale

    @property
    def logit_bias_(self) -> float | None:
        """What the model adds to the scaled similarity, or None; loads the model."""
        return self._backbone().logit_bias

    @property
    def _n_features_out(self) -> int:
        return self.embedding_dim_

    def _config(self) -> BackboneConfig:
        return BackboneConfig(
            self.model,
            self.pretrained,
            device=self.device,
            precision=self.precision,
            allow_random_weights=self.allow_random_weights,
        )

    def _backbone(self) -> Backbone:
        return get_backbone(self._config())

    def __dir__(self) -> list[str]:
        # scikit-learn's dir() and HTML display read every attribute they name: completing a
        # name or showing a pipeline must not load a model, nor fail if it cannot be found.
        names = set(object.__dir__(self)) - _LOOKUP_ATTRIBUTES
        return [name for name in names if hasattr(self, name)]

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Scale rows to unit length, in place; a zero row stays zero, as in open_clip."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.maximum(norms, np.float32(1e-12))
    return rows
