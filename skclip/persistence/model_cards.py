"""What a saved classifier is, in words: the card that lies beside its file."""

import json
from collections.abc import Iterator
from typing import Any

from sklearn.base import BaseEstimator

from skclip.features import CLIPFeaturizer
from skclip.persistence.estimators import fingerprint_of
from skclip.prompts import ClassPrompts

__all__ = ["MODEL_FILE", "clip_models", "model_card"]

MODEL_FILE = "classifier.safetensors"
_MOST_CLASSES = 100

_CARD = """\
---
library_name: skclip
pipeline_tag: image-classification
tags:
- clip
- few-shot
- calibration
---

# {title}

{sentence} Saved by skclip {version}; the file holds arrays and JSON, no code.

```python
import skclip

classifier = skclip.load("{file}")
probabilities = classifier.predict_proba({X})
```
"""


def model_card(estimator: BaseEstimator, *, about: str = "") -> str:
    """A model card in Markdown, with the front matter that the Hugging Face hub reads.

    Parameters
    ----------
    estimator : estimator
        A classifier, or a pipeline that ends with one.
    about : str, default=""
        What the estimator cannot know, in Markdown: where the images come from, how good it is on
        images that it has not seen, what it must not be used for. It is taken as it is.

    Returns
    -------
    str
        What it is and how to use it, `about`, its classes (the first hundred), the CLIP models that
        it needs with the fingerprints of their weights, and its parameters. It names no licence:
        that is yours to choose.

    Examples
    --------
    >>> import skclip
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(3, 4, random_state=0)
    >>> classifier = skclip.BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    >>> card = skclip.persistence.model_card(classifier, about="Made-up features.")
    >>> print(card.splitlines()[9])
    # BayesAdapterClassifier of 4 classes
    """
    from skclip import __version__  # the package is not complete while this module is imported

    steps = getattr(estimator, "steps", None) or [("", estimator)]
    classes = getattr(estimator, "classes_", None)
    reads_images = isinstance(steps[0][1], CLIPFeaturizer)
    count = "" if classes is None else f" of {len(classes)} classes"
    card = _CARD.format(
        title=f"{type(steps[-1][1]).__name__}{count}",
        sentence="Images in, probabilities out." if reads_images else "A classifier of features.",
        version=__version__,
        file=MODEL_FILE,
        X='["photograph.jpg"]' if reads_images else "features",
    )
    return "\n".join([card, *([f"{about.strip()}\n"] if about else []), *_sections(estimator)])


def clip_models(estimator: BaseEstimator) -> list[CLIPFeaturizer | ClassPrompts]:
    """The parts of an estimator that refer to a CLIP model by name."""
    parts = [estimator, *estimator.get_params(deep=True).values()]
    named = [part for part in parts if isinstance(part, CLIPFeaturizer | ClassPrompts)]
    return [part for part in named if isinstance(part.model, str) or part.pretrained is not None]


def _sections(estimator: BaseEstimator) -> Iterator[str]:
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        shown = [json.dumps(label, ensure_ascii=False) for label in classes.tolist()]
        rest = [f"and {len(shown) - _MOST_CLASSES} more"] if len(shown) > _MOST_CLASSES else []
        yield _section("Classes", [*shown[:_MOST_CLASSES], *rest])
    models = {
        f"{' '.join(str(name) for name in (part.model, part.pretrained) if name)}, weights with "
        f"SHA-256 {fingerprint_of(part) or 'unknown'}": None
        for part in clip_models(estimator)
    }
    if models:
        yield _section("CLIP models, which are not in the file", models)
    yield _section("Parameters", repr(estimator).splitlines())


def _section(title: str, lines: Any) -> str:
    """Indented lines are shown as they are, whatever marks of Markdown are in them."""
    return f"## {title}\n\n" + "".join(f"    {line}\n" for line in lines)
