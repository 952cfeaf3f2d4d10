"""Prototypes from class names, by a CLIP text encoder."""

import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skclip.backbones import BackboneConfig, encode_texts_once, get_backbone
from skclip.exceptions import PrototypeWarning
from skclip.prompts.labelled_prototypes import Prototypes
from skclip.prompts.templates import Template, fill, resolve
from skclip.utils.documentation import DocumentationLinkMixin
from skclip.utils.labels import as_labels, encoding_hint
from skclip.utils.messages import listing
from skclip.utils.rows import unit_rows

__all__ = ["ClassPrompts"]


class ClassPrompts(DocumentationLinkMixin, BaseEstimator):
    r"""Class names and prompt templates, encoded when a classifier is fitted.

    The prototype of a class is the mean over templates of its unit-norm prompt
    embeddings, scaled to unit norm again:

    .. math::
        t_c = \frac{\bar e_c}{\|\bar e_c\|}, \qquad
        \bar e_c = \frac{1}{M} \sum_{m=1}^M \frac{e_{cm}}{\|e_{cm}\|}

    as in Radford et al. [1]_ and open_clip's ``build_zero_shot_classifier``. It is not a
    classifier itself: pass it as `prototypes` to one. Its parameters are searchable
    there, for instance ``prototypes__templates`` in a grid search.

    Parameters
    ----------
    model : str or object with ``encode_text`` and ``logit_scale_``
        Name of the architecture, as for :class:`skclip.CLIPFeaturizer`; or a text encoder,
        for instance a CLIPFeaturizer, in which case `pretrained`, `device` and
        `precision` are not used.
    pretrained : str or path, default=None
        Weights, as for :class:`skclip.CLIPFeaturizer`.
    templates : str, callable or list of them, default="simple"
        Name of a set (:func:`skclip.prompts.list_template_sets`), one template, or a list.
        A template is a string with ``{}`` for the class name (``{name}`` and the like will do, also
        several times), or a function of the name.
    class_names : dict, Series or None, default=None
        From label to the name that is put into the templates, or to a list of names (the
        prompts of all of them are averaged). Labels that are missing stand for
        themselves if they are strings. When given for integer labels, every label needs
        an entry. A key that no label has becomes a class without images, which is predicted by
        its text alone; fit warns of it.
    replace_underscores : bool, default=True
        Write "golden_retriever" as "golden retriever" in prompts.
    normalize : bool, default=True
        When False, prototypes are the mean of the raw embeddings, with the norm that the
        text tower gives them (7 to 11 for OpenAI's ViT-B/32). The paper recipe of
        BayesAdapterClassifier uses this scale.
    device : str, default="auto"
        Where the text tower runs.
    precision : str, default="fp32"
        Of the weights, as for :class:`skclip.CLIPFeaturizer`.
    cache_dir : str or Path, default=None
        Folder where the embeddings of prompts are kept for every later process; the same as for
        :class:`skclip.CLIPFeaturizer` will do. They are found by the tokens of the prompt and the
        weights. A text encoder given as `model` has a cache of its own.

    Attributes
    ----------
    weights_fingerprint_ : str
        Only after :func:`skclip.load`: SHA-256 of the weights that it was saved with. Weights that
        are found in their place are refused.

    See Also
    --------
    Prototypes : Labelled vectors that were computed elsewhere.

    References
    ----------
    .. [1] A. Radford et al., "Learning transferable visual models from natural language
       supervision", ICML 2021.

    Examples
    --------
    >>> from skclip import ClassPrompts
    >>> from skclip.datasets import tiny_clip
    >>> prompts = ClassPrompts(pretrained=tiny_clip(), templates="a photo of the digit {}.")
    >>> prompts.encode(["one", "seven"])
    Prototypes(2 classes of 64 features: 'one', 'seven')
    """

    def __init__(
        self,
        model: Any = None,
        pretrained: str | Path | None = None,
        *,
        templates: Template | Iterable[Template] = "simple",
        class_names: Mapping[Any, str | list[str]] | None = None,
        replace_underscores: bool = True,
        normalize: bool = True,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        cache_dir: str | Path | None = None,
    ) -> None:
        self.model = model
        self.pretrained = pretrained
        self.templates = templates
        self.class_names = class_names
        self.replace_underscores = replace_underscores
        self.normalize = normalize
        self.device = device
        self.precision = precision
        self.cache_dir = cache_dir

    def prompts(self, labels: ArrayLike) -> list[list[str]]:
        """Prompts of every class.

        Parameters
        ----------
        labels : array-like of shape (n_classes,)

        Returns
        -------
        list of list of str
            One list per label, in the order given.

        Raises
        ------
        ValueError
            If a label has no name: it is not a string and `class_names` does not name it.
        """
        templates = resolve(self.templates)
        return [
            [fill(template, name) for name in names for template in templates]
            for names in self._names(labels)
        ]

    def encode(self, labels: ArrayLike) -> Prototypes:
        """Prototypes of the given labels.

        Parameters
        ----------
        labels : array-like of shape (n_classes,)
            Distinct labels, strings or integers.

        Returns
        -------
        Prototypes
            Of the sorted labels, with the model's logit scale.
        """
        embeddings, counts, logit_scale = self._encode_each(labels)
        ends = np.cumsum(counts)
        vectors = np.stack([rows.mean(axis=0) for rows in np.split(embeddings, ends[:-1])])
        if self.normalize:
            vectors = unit_rows(vectors, "the prototypes")
        return Prototypes(vectors, labels, logit_scale=logit_scale)

    def encode_prompts(self, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Embedding of every prompt, of which a prototype is the mean over those of its class.

        Parameters
        ----------
        labels : array-like of shape (n_classes,)
            As for :meth:`encode`.

        Returns
        -------
        embeddings : ndarray of shape (n_prompts, n_features)
            Rows in the order of :meth:`prompts`, of unit norm with ``normalize=True``.
        prompt_labels : ndarray of shape (n_prompts,)
            The label of each row.
        """
        embeddings, counts, _ = self._encode_each(labels)
        return embeddings, np.repeat(as_labels(labels, "labels"), counts)

    def backbone_config(self) -> BackboneConfig | None:
        """What names the model, its weights, and where and how it runs.

        Returns
        -------
        BackboneConfig or None
            None where `model` is a text encoder.
        """
        if hasattr(self.model, "encode_text"):
            return None
        return BackboneConfig(
            self.model,
            self.pretrained,
            device=self.device,
            precision=self.precision,
            fingerprint=getattr(self, "weights_fingerprint_", None),
        )

    def _check_encoder(self) -> None:
        if isinstance(self.model, type) or not hasattr(self.model, "logit_scale_"):
            got = f"{self.model!r}"[:80]
            raise ValueError(
                "model must be a name, or an object with encode_text(texts, normalize=False) -> "
                f"array and logit_scale_; got {got}. Pass CLIPFeaturizer(...), or the name of a "
                "model of open_clip."
            )

    def _encode_each(self, labels: ArrayLike) -> tuple[np.ndarray, list[int], float | None]:
        """Embeddings of all prompts, their number per label, and the logit scale."""
        prompts = self.prompts(labels)
        texts = [text for row in prompts for text in row]
        embeddings, logit_scale = self._encode_texts(texts)
        owners = np.repeat(np.arange(len(prompts)), [len(row) for row in prompts])
        cut = np.unique(owners[self._cut_off(texts)])
        if len(cut):
            warnings.warn(
                "Prompts must end before the model's context does; of "
                f"{listing(as_labels(labels, 'labels')[cut])} the model sees the beginning alone. "
                "Shorten the names or the templates.",
                PrototypeWarning,
                stacklevel=2,
            )
        if self.normalize:
            embeddings = unit_rows(embeddings, "the prompt embeddings")
        return embeddings, [len(row) for row in prompts], logit_scale

    def _names(self, labels: ArrayLike) -> list[list[str]]:
        given = self._names_by_label()
        names, missing = [], []
        labels = as_labels(labels, "labels")
        for label in labels.tolist():
            name = given.get(label, label)
            several = list(name) if isinstance(name, (list, tuple)) else [name]
            if not several or not all(isinstance(one, str) and one.strip() for one in several):
                missing.append(label)
            names.append([str(one) for one in several])
        if missing:
            raise ValueError(
                "Every class needs a name to be put into the templates; got no name for the "
                f"label(s) {listing(missing)}. Pass class_names={{label: name, ...}}, or use class "
                "names as labels." + encoding_hint(labels)
            )
        if self.replace_underscores:
            names = [[one.replace("_", " ") for one in several] for several in names]
        return names

    def _names_by_label(self) -> dict[Any, Any]:
        """`class_names` as a dictionary; a Series is one from its index."""
        given = self.class_names
        if given is None:
            return {}
        if hasattr(given, "items") and not hasattr(given, "columns"):
            return dict(given.items())
        listed = isinstance(given, list | tuple | np.ndarray)
        remedy = " Pass dict(enumerate(class_names))." if listed else ""
        raise ValueError(
            "class_names must be a dictionary from label to name, such as {0: 'cat'}; got "
            f"{type(given).__name__}.{remedy}"
        )

    def _encode_texts(self, texts: list[str]) -> tuple[np.ndarray, float]:
        """Raw embeddings (n, d) and the logit scale."""
        config = self.backbone_config()
        if config is None:
            self._check_encoder()
            return self.model.encode_text(texts, normalize=False), self.model.logit_scale_
        backbone = get_backbone(config)
        embeddings = _encode_once(config, backbone.fingerprint, tuple(texts), self.cache_dir)
        return embeddings, backbone.logit_scale

    def _cut_off(self, texts: list[str]) -> list[int]:
        """Positions of texts that exceed the context, where the model is one of open_clip's."""
        config = self.backbone_config()
        if config is None and hasattr(self.model, "backbone_config"):
            config = self.model.backbone_config()
        if config is None:
            return []
        return _cut_off(config, get_backbone(config).fingerprint, tuple(texts))


# Both are asked for by every fold of a search; the fingerprint is that of the weights as loaded,
# since a name may stand for other weights later.


@lru_cache(maxsize=16)
def _encode_once(
    config: BackboneConfig, fingerprint: str, texts: tuple[str, ...], cache_dir: str | Path | None
) -> np.ndarray:
    embeddings = encode_texts_once(get_backbone(config), texts, cache_dir)
    embeddings.flags.writeable = False
    return embeddings


@lru_cache(maxsize=16)
def _cut_off(config: BackboneConfig, fingerprint: str, texts: tuple[str, ...]) -> list[int]:
    return get_backbone(config).cut_off(texts)
