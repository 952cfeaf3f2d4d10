"""The pipeline in a file, as `skclip fit` writes it."""

from os import PathLike

from sklearn.pipeline import Pipeline

from skclip.exceptions import PersistenceError
from skclip.features import CLIPFeaturizer
from skclip.persistence import load

__all__ = ["load_pipeline"]


def load_pipeline(path: str | PathLike[str], device: str | None = None) -> Pipeline:
    """The pipeline, which must begin with CLIPFeaturizer.

    Raises
    ------
    PersistenceError
        If the file holds something else.
    """
    pipeline = load(str(path), device=device)
    if not isinstance(pipeline, Pipeline) or not isinstance(pipeline[0], CLIPFeaturizer):
        raise PersistenceError(
            "The classifier must be a pipeline that begins with CLIPFeaturizer, as skclip fit "
            f"writes it; {str(path)!r} holds {type(pipeline).__name__}."
        )
    return pipeline
