"""save and load."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from sklearn.base import BaseEstimator

from skclip.exceptions import PersistenceError
from skclip.persistence.codec import Codec, known_kinds
from skclip.persistence.file_format import read, write
from skclip.prompts import Prototypes

__all__ = ["load", "save"]


def save(
    obj: BaseEstimator | Prototypes, path: str | Path, *, classes: Iterable[type] = ()
) -> Path:
    """Write an estimator to a file that holds no code.

    The file is in the safetensors format: arrays as arrays, everything else as JSON in its
    metadata. Reading it runs nothing that it says, unlike a pickle. CLIP models are stored by
    reference: what they are called and a fingerprint of their weights, never the weights.

    Parameters
    ----------
    obj : estimator or Prototypes
        Any classifier of skclip, fitted or not; :class:`~skclip.ClassPrompts`,
        :class:`~skclip.CLIPFeaturizer`; a scikit-learn pipeline of these. Of scikit-learn's own
        also LogisticRegression, PCA, SimpleImputer, VarianceThreshold, the scalers and
        FrozenEstimator.
    path : str or Path
        The file, replaced in one step; ".safetensors" is a sensible ending.
    classes : iterable of type, default=()
        Classes of your own that may occur: estimators whose attributes are arrays, numbers,
        strings, lists, dictionaries and estimators, and fitted models. :func:`load` must be
        told the same.

    Returns
    -------
    path : Path
        The file.

    Raises
    ------
    PersistenceError
        If the object holds something else, such as a function or another estimator; the message
        says where. ``skops.io.dump`` can hold more. Also if the file cannot be written.

    Warns
    -----
    UserWarning
        If a CLIP model cannot be loaded, so that its weights have no fingerprint.

    See Also
    --------
    load : The way back.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import skclip
    >>> from skclip.datasets import make_clip_features
    >>> data = make_clip_features(3, 4, random_state=0)
    >>> classifier = skclip.BayesAdapterClassifier(data.prototypes).fit(data.X, data.y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = skclip.save(classifier, Path(folder) / "classifier.safetensors")
    ...     loaded = skclip.load(path)
    >>> bool((loaded.predict_proba(data.X) == classifier.predict_proba(data.X)).all())
    True
    """
    if not isinstance(obj, BaseEstimator | Prototypes):
        raise PersistenceError(
            f"obj must be an estimator or Prototypes; got {type(obj).__name__}. "
            "Use numpy.save for arrays."
        )
    path = Path(path).expanduser()
    codec = Codec(known_kinds(classes), {})
    try:
        tree = codec.encode(obj, type(obj).__name__)
    except RecursionError as exc:
        raise PersistenceError(
            f"An object must not contain itself, nor nest without end; got {type(obj).__name__} "
            "that does. Remove the attribute that refers back."
        ) from exc
    write(path, {"written_by": _own_version(), "object": tree}, codec.arrays)
    return path


def load(
    path: str | Path,
    *,
    expected: type | tuple[type, ...] | None = None,
    device: str | torch.device | None = None,
    classes: Iterable[type] = (),
) -> Any:
    """Read what :func:`save` wrote; no code of the file is run, because there is none.

    A loaded estimator predicts what the saved one predicts, to the last bit on the same kind of
    machine, and can be cloned, fitted again, or taught more where it has ``partial_fit``. CLIP
    models are loaded when they are first needed; weights other than those that the
    estimator was saved with are then an error.

    Parameters
    ----------
    path : str or Path
        The file.
    expected : type or tuple of type, default=None
        What the file must hold, for instance ``BayesAdapterClassifier``.
    device : str or torch.device, default=None
        Where the loaded estimators work. None keeps their `device` where this machine has it,
        and takes "auto" with a warning where it has not: what was fitted on a GPU loads on a CPU.
    classes : iterable of type, default=()
        Classes of your own that may occur.

    Returns
    -------
    obj : estimator or Prototypes

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PersistenceError
        If the file was not written by :func:`save`, has another format version, was changed or
        cut off, names a class that skclip does not know, or does not hold what is `expected`.

    Warns
    -----
    UserWarning
        If a device is not there.
    sklearn.exceptions.InconsistentVersionWarning
        If an estimator of scikit-learn's own was saved with another version of it.

    See Also
    --------
    save : The way there.

    Notes
    -----
    The checksum in the file finds damage. It does not tell who wrote the file: whoever can
    write it can make a model that predicts what they like, though not one that runs their code.
    """
    path = Path(path).expanduser()
    document, arrays = read(path)
    is_current = document["written_by"] == _own_version()
    codec = Codec(known_kinds(classes, device=device, is_current=is_current), arrays)
    try:
        obj = codec.decode(document["object"])
    except PersistenceError:
        raise
    except Exception as exc:  # the document says what is called, so that anything may be raised
        raise PersistenceError(
            f"The file must be one that skclip.save wrote; the content of {str(path)!r} makes no "
            f"object ({type(exc).__name__}: {exc}). Save it again."
        ) from exc
    unused = sorted(set(arrays) - codec.used)
    if unused:
        raise PersistenceError(
            f"Every array must belong to the object; {str(path)!r} holds {len(unused)} that do "
            f"not: {', '.join(unused[:5])}. It was not written by skclip.save."
        )
    if not isinstance(obj, expected or (BaseEstimator, Prototypes)):
        names = expected if isinstance(expected, tuple) else (expected,)
        wanted = " or ".join(cls.__name__ for cls in names if cls) or "an estimator or Prototypes"
        raise PersistenceError(
            f"{str(path)!r} must hold {wanted}; got {type(obj).__name__}. Check the path."
        )
    return obj


def _own_version() -> str:
    from skclip import __version__  # the package is not complete while this module is imported

    return __version__
