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
from sklearn.utils import Tags

from skclip.backbones import (
    PRECISIONS,
    Backbone,
    BackboneConfig,
    encode_texts_once,
    get_backbone,
    get_embedding_dim,
)
from skclip.features.collection import check_images
from skclip.features.image_cache import ImageCache
from skclip.features.image_encoding import encode_images, scale_to_unit_norm
from skclip.features.image_reading import MAX_PIXELS
from skclip.features.image_views import ImageViews, check_view_parameters
from skclip.utils.callbacks import CallbackSupportMixin, as_task
from skclip.utils.documentation import DocumentationLinkMixin
from skclip.utils.random_state import integer_seed
from skclip.utils.sklearn_private import Interval, StrOptions, fit_context

__all__ = ["CLIPFeaturizer"]

# Reading these looks the model up, and may load it.
_LOOKUP_ATTRIBUTES = {"embedding_dim_", "logit_bias_", "logit_scale_", "_n_features_out"}


class CLIPFeaturizer(
    DocumentationLinkMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
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
    batch_size : int or "auto", default="auto"
        Images per call of the model. "auto" is 32 on a CPU, and what fits in half of the free
        memory of a GPU. Halved on the spot if a GPU runs out of memory.
    n_jobs : int, default=None
        Threads that decode and preprocess images while the model runs; None means 1 unless
        in a :obj:`joblib.parallel_config` context, -1 means all processors. A lazy sequence is
        asked for its items in these threads, not in the calling one.
    normalize : bool, default=True
        Whether rows are scaled to unit length.
    on_error : {"raise", "nan"}, default="raise"
        What an image that cannot be read does: stop the job, or become a row of NaN, with one
        warning that counts them. With "nan", None and NaN among the items count as such
        images; items of a wrong type are errors in any case.
    max_pixels : int, default=178_956_970
        A file with more pixels is not decoded and counts as unreadable: a small file may
        decompress to gigabytes. Nor is a file read that has more than four bytes for each of
        these pixels (716 MB). Pillow has a limit of its own, ``PIL.Image.MAX_IMAGE_PIXELS``, which
        must be raised too for larger images.
    jpeg_draft : bool, default=False
        Whether large JPEG files are decoded at a half, a quarter or an eighth of each side, as fits
        at least twice the side that the model sees: in about a third of the time. Features are
        then not quite those of open_clip's own preprocessing; one minus their cosine is below
        1e-4 in what was measured. See Notes.
    cache_dir : str or Path, default=None
        Folder where features are kept, of images and of texts, for every later call in any
        process; None for none. See Notes.
    cache_limit : int or str, default=None
        The most that the cache may take, in bytes or as "20 GB"; beyond it what was not used
        for longest is removed. None for no limit.
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
    weights_fingerprint_ : str
        Only after :func:`skclip.load`: SHA-256 of the weights that it was saved with. Weights that
        are found in their place are refused.

    See Also
    --------
    skclip.prompts.ClassPrompts : Class names as prototypes, by the text tower of such a model.

    Notes
    -----
    *Input.* Items may be paths (str or Path), PIL images and uint8 arrays of shape (h, w),
    (h, w, 1), (h, w, 3) or (h, w, 4), mixed in one list; a whole array has shape (n, h, w) or
    (n, h, w, channels). A column of pandas, polars, pyarrow or Hugging Face ``datasets`` stands for
    the list of its items; of ``{"bytes": ..., "path": ...}``, as ``datasets`` keeps images that are
    not decoded, the bytes are read if there are any, else the path. EXIF rotation is applied;
    transparency is laid over white; 16-bit greyscale is scaled from [0, 65535]; of an animated file
    the first frame is read; colour profiles are not applied. Arrays of another type are refused
    rather than guessed. Files are read if they are AVIF (with Pillow 11.3), BMP, GIF, HEIF (HEIC;
    with the extra ``skclip[heif]``), ICNS, ICO, JPEG, JPEG 2000, PCX, PNG, PPM, PSD, QOI, SGI, TGA,
    TIFF or WebP, whatever their name is; no document is opened under an image's name. An image that
    the caller has opened with ``PIL.Image.open`` is read from its file and not decoded in the
    caller's object.

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

    *Cache.* Features are found by the content of an image, the weights, the preprocessing and the
    precision; not by names, so that copies, other estimators and held-out data hit. `batch_size`,
    `n_jobs`, `normalize` and `device` make no difference: a row that was computed on a GPU is also
    what a CPU gets. A file is read once, and what is hashed is what is decoded. A file whose
    inode, size, modification time and change time are as they were is not read again, provided
    that it had been left alone for two seconds when it was read; a program cannot set back the
    change time. Any number of processes may share a folder. See :func:`skclip.cache_info` and
    :func:`skclip.clear_cache`.

    *JPEG at a fraction of its size* (`jpeg_draft`, after Pillow's ``Image.draft``) leaves
    frequencies out that the model's resizing would average away. It is done only where the
    fraction divides both sides, since a rounded side stretches the image, and never below twice
    what the model sees. Change of features and time are measured in the documentation of
    embedding. Such features have their own place in the cache. Crops of :meth:`views` are of the
    whole image.

    *Repeated images* go through the model once per call, with or without a cache.

    *Cost.* Memory is two batches of preprocessed images, about 200 bytes per image and the result,
    n x d x 4 bytes. ViT-B-32 takes about 60 ms per image on two CPU cores. The same image in
    another batch or on other hardware gives features that differ by rounding, below 1e-5 in
    float32; the number of jobs changes nothing.

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

    _parameter_constraints: dict[str, list[Any]] = {
        "model": [str, None],
        "pretrained": [str, os.PathLike, None],
        "device": [str, torch.device],
        "precision": [StrOptions(set(PRECISIONS))],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_jobs": [Integral, None],
        "normalize": ["boolean"],
        "on_error": [StrOptions({"raise", "nan"})],
        "max_pixels": [Interval(Integral, 1, None, closed="left")],
        "jpeg_draft": ["boolean"],
        "cache_dir": [str, os.PathLike, None],
        "cache_limit": [Interval(Integral, 0, None, closed="left"), str, None],
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
        batch_size: int | str = "auto",
        n_jobs: int | None = None,
        normalize: bool = True,
        on_error: str = "raise",
        max_pixels: int = MAX_PIXELS,
        jpeg_draft: bool = False,
        cache_dir: str | Path | None = None,
        cache_limit: int | str | None = None,
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
        self.max_pixels = max_pixels
        self.jpeg_draft = jpeg_draft
        self.cache_dir = cache_dir
        self.cache_limit = cache_limit
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

    @fit_context(prefer_skip_nested_validation=False)
    @as_task
    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Embed images, as :meth:`transform` does: there is nothing to fit.

        Parameters
        ----------
        X : sequence of n images
            As for :meth:`transform`.
        y : ignored

        Returns
        -------
        features : ndarray of shape (n, d), float32
        """
        return self.transform(X)

    def transform(self, X: Any) -> np.ndarray:
        """Embed images.

        Parameters
        ----------
        X : sequence of n images
            Paths, bytes of image files (an upload), files opened with mode "rb", PIL images and
            uint8 arrays, mixed; a uint8 array of shape (n, h, w) or (n, h, w, 3); an array of
            paths; a column of pandas, polars, pyarrow or Hugging Face ``datasets``, or a table that
            has no other. An open file is read from its beginning and left at its position.

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
        images, stamps = check_images(
            X, allow_missing=self.on_error == "nan", stamped=self.cache_dir is not None
        )
        backbone = self._backbone()
        cache = None
        if self.cache_dir is not None:
            cache = ImageCache(self.cache_dir, self.cache_limit, backbone, self.jpeg_draft, stamps)
        encoding = encode_images(
            images,
            backbone,
            batch_size=self.batch_size,
            n_jobs=joblib.effective_n_jobs(self.n_jobs),
            on_error=self.on_error,
            verbose=self.verbose,
            max_pixels=self.max_pixels,
            jpeg_draft=self.jpeg_draft,
            cache=cache,
        )
        encoding.warn_of_failures(images, stacklevel=2)
        return scale_to_unit_norm(encoding.features) if self.normalize else encoding.features

    def views(
        self,
        X: Any,
        n_views: int = 10,
        *,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        random_state: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embed several random crops of every image: augmented rows for a support set.

        A view is a random part of the image, resized to what the model sees, and flipped or
        not. It depends on `random_state`, the pixels of the image and the number of the view
        alone: not on the other images, their order, `batch_size` or `n_jobs`.

        Parameters
        ----------
        X : sequence of n images
            As for :meth:`transform`.
        n_views : int, default=10
            Views of every image.
        scale : tuple of float, default=(0.5, 1.0)
            Smallest and largest share of the image's area that a view shows, in (0, 1].
        ratio : tuple of float, default=(3 / 4, 4 / 3)
            Smallest and largest width over height of that part.
        flip : float, default=0.5
            Probability of a horizontal flip, in [0, 1]. Pass 0 where left and right differ,
            for instance for text and digits.
        random_state : int, RandomState or None, default=None
            Pass an int for the same views on every call.

        Returns
        -------
        features : ndarray of shape (n * n_views, d), float32
            The views of an image are consecutive rows.
        groups : ndarray of shape (n * n_views,)
            The position in `X` of the image behind each row.

        Raises
        ------
        ImageError
            As for :meth:`transform`.
        ValueError
            If a parameter is out of its range.

        Notes
        -----
        In `fit` an image should count once, and its views be left out together: pass
        ``sample_weight=1 / n_views`` and ``groups``, as in the example. Views multiply the cost of
        featurizing by `n_views`; what they are worth is measured in the benchmarks.

        Examples
        --------
        >>> import numpy as np
        >>> from skclip import BayesAdapterClassifier, CLIPFeaturizer
        >>> from skclip.datasets import load_digits_images, tiny_clip
        >>> data = load_digits_images()
        >>> images, labels = data.images[:20], data.labels[:20]
        >>> featurizer = CLIPFeaturizer(pretrained=tiny_clip())
        >>> features, groups = featurizer.views(images, 5, flip=0, random_state=0)
        >>> classifier = BayesAdapterClassifier().fit(
        ...     features, labels[groups], groups=groups, sample_weight=np.full(len(groups), 1 / 5)
        ... )
        >>> classifier.predict_proba(featurizer.transform(data.images[20:22])).shape
        (2, 10)
        """
        self._validate_params()
        images, _ = check_images(X, allow_missing=self.on_error == "nan")
        check_view_parameters(n_views, scale, ratio, flip)
        rows = ImageViews(
            images,
            n_views,
            size=self._backbone().image_size,
            seed=integer_seed(random_state),
            scale=scale,
            ratio=ratio,
            flip=flip,
            max_pixels=self.max_pixels,
        )
        return self.transform(rows), np.repeat(np.arange(len(images)), n_views)

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
        embeddings = encode_texts_once(
            self._backbone(), texts, self.cache_dir, self.cache_limit, self.verbose
        )
        if normalize is None:
            normalize = self.normalize
        return scale_to_unit_norm(embeddings) if normalize else embeddings

    def backbone_config(self) -> BackboneConfig:
        """What names the model, its weights, and where and how it runs.

        Returns
        -------
        BackboneConfig
            ``skclip.backbones.get_backbone`` of it is the loaded model.
        """
        return BackboneConfig(
            self.model,
            self.pretrained,
            device=self.device,
            precision=self.precision,
            allow_random_weights=self.allow_random_weights,
            fingerprint=getattr(self, "weights_fingerprint_", None),
        )

    @property
    def embedding_dim_(self) -> int:
        """The number of features; from the model's configuration, without its weights."""
        return get_embedding_dim(self.backbone_config())

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

    def _backbone(self) -> Backbone:
        return get_backbone(self.backbone_config())

    def __dir__(self) -> list[str]:
        # scikit-learn's dir() and HTML display read every attribute they name: completing a
        # name or showing a pipeline must not load a model, nor fail if it cannot be found.
        names = set(object.__dir__(self)) - _LOOKUP_ATTRIBUTES
        return [name for name in names if hasattr(self, name)]

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
