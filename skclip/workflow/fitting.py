"""From a folder or table of images to a fitted pipeline, measured on what can be held out."""

import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from skclip.adapters import BayesAdapterClassifier, ZeroShotClassifier
from skclip.backbones import absolute_name
from skclip.datasets import ImageDataset, image_paths_by_folder
from skclip.decisions import SelectiveClassifier
from skclip.decisions.held_out import held_out_rows
from skclip.decisions.risk_control import fewest_rows, rows_for_certificate
from skclip.exceptions import DatasetError, GuaranteeWarning, LeftOutWarning
from skclip.features import CLIPFeaturizer, Embeddings, is_embedded, read_embeddings
from skclip.prompts import ClassPrompts, Prototypes
from skclip.utils.messages import listing
from skclip.utils.rows import are_repeated, equal_rows
from skclip.workflow.check_result import DatasetCheck
from skclip.workflow.checking import check_dataset
from skclip.workflow.fit_report import FitReport, HeldOut

__all__ = ["fit_dataset"]


class _Rows(NamedTuple):
    """Images of a split: paths, labels and features."""

    paths: np.ndarray
    y: np.ndarray
    X: np.ndarray


def fit_dataset(
    source: str | PathLike[str] | DatasetCheck,
    *,
    model: str | None = None,
    pretrained: str | Path | None = None,
    templates: Any = "simple",
    target_risk: float | None = None,
    coverage: float | None = None,
    threshold: float | None = None,
    n_folds: int = 5,
    glob: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    on_error: str = "raise",
    device: str = "auto",
    batch_size: int | str = "auto",
    cache_dir: str | Path | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: int = 0,
) -> FitReport:
    """Fit a classifier to the images of a folder or table, and measure it on what it has not seen.

    It is :class:`skclip.BayesAdapterClassifier` on the features of :class:`skclip.CLIPFeaturizer`,
    started from the text of the class names. The images are checked first
    (:func:`check_dataset`): copies, contradictions and leaks between splits take no part. Of
    embeddings, whose images are not read again, equal rows count as copies.

    Parameters
    ----------
    source : path-like or DatasetCheck
        A folder with one folder of images per class, perhaps in train, val and test; a CSV file
        of paths and labels; a folder that ``skclip embed`` wrote, of images in such folders. Or
        the check of one.
    model, pretrained : str, default=None
        Of the CLIP model, as for :class:`skclip.CLIPFeaturizer`. Those of the embeddings when
        `source` has some, whose `jpeg_draft` the pipeline reads images with, too.
    templates : default="simple"
        Of the prompts, as for :class:`skclip.ClassPrompts`.
    target_risk, coverage, threshold : float, default=None
        At most one: the classifier then abstains, as :class:`skclip.SelectiveClassifier` does.
        `target_risk` and `coverage` are calibrated on the split "val" where there is one, else on
        half of the training images, drawn at random, which are not learned from then.
    n_folds : int, default=5
        Parts in which images without a test split are held out in turn.
    glob, exclude : str or iterable of str, default=None
        Of a folder: patterns of images to take and of files and folders to leave out.
    on_error : {"raise", "skip"}, default="raise"
        What images that cannot be read do: an error that names them, or they are left out.
    device, batch_size, cache_dir
        Of CLIPFeaturizer, here; what is returned has none of them, to run on any machine.
    n_jobs : int, default=None
        Threads that read and decode images.
    random_state : int, default=0
        Of folds and calibration images.
    verbose : int, default=0
        Whether to show progress bars.

    Returns
    -------
    FitReport
        Its `pipeline` can be saved by :func:`skclip.save`; ``print(report.text())`` has accuracy,
        log-loss and calibration error, and for every class whether adapting beat the prompts.

    Raises
    ------
    DatasetError
        If the images are no data set, or have one class only.
    ImageError
        If images cannot be read and `on_error` is "raise".
    ValueError
        If more than one of `target_risk`, `coverage` and `threshold` is given.

    Warns
    -----
    LeftOutWarning
        If rows of embeddings are copies.
    GuaranteeWarning
        If no threshold is certified to keep `target_risk`: the classifier abstains from everything.

    Notes
    -----
    Measured is "test" where there is one, else "val" unless it calibrates a threshold, with the
    classifier that is returned. Without either every image is predicted by a classifier fitted on
    the other folds, where images that look alike are in one fold and classes of one image are
    always learned from. The classifier that is returned is fitted on all images, so that these
    numbers are a little too low; with `target_risk` or `coverage` it learned from half of them,
    so that they may be too high, which the report says. Intervals are over images.

    Examples
    --------
    >>> import tempfile
    >>> from skclip.datasets import save_digits_images, tiny_clip
    >>> from skclip.workflow import fit_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths, labels = save_digits_images(folder, n_per_class=8, shift="rotated")
    ...     report = fit_dataset(folder, pretrained=tiny_clip())
    ...     predicted = report.pipeline.predict(paths[:3])
    >>> print(predicted)
    ['zero' 'one' 'two']
    >>> len(report.measured.y)
    80
    """
    goals = {"target_risk": target_risk, "coverage": coverage, "threshold": threshold}
    goal = {name: value for name, value in goals.items() if value is not None}
    if len(goal) > 1:
        raise ValueError(
            f"At most one of target_risk, coverage and threshold can be given; got {listing(goal)}."
        )
    check, embeddings = _looked_at(source, glob, exclude, n_jobs, verbose)
    if embeddings is not None:
        data = image_paths_by_folder(embeddings.readable, name=embeddings.folder.name)
        model, pretrained = _model_of(embeddings, model, pretrained)
    else:
        assert check is not None
        data = check.usable(on_error)
    names = np.array(sorted(data.class_names.values()))
    if len(names) < 2:
        raise DatasetError(
            f"A classifier needs two classes at least; got {listing(names)} in {data.name}."
        )
    featurizer = CLIPFeaturizer(
        model,
        pretrained,
        device=device,
        batch_size=batch_size,
        cache_dir=cache_dir,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    prototypes = ClassPrompts(featurizer, templates=templates).encode(names)
    rows = {split: _rows(data, split, featurizer, embeddings) for split in data.splits}
    if check is None:
        rows = _without_copies(rows)
    train = rows["train"]
    groups = np.arange(len(train.y)) if check is None else check.groups(train.paths)
    left_out = _cross_validated(train, prototypes, groups, n_folds, random_state)
    calibrated = "threshold" not in goal and bool(goal)
    tested = "test" if "test" in rows else "val" if "val" in rows and not calibrated else None
    learned, calibration = train, rows.get("val", train)
    if calibrated and "val" not in rows:
        learned, calibration = _halves(train, random_state)
    classifier = BayesAdapterClassifier(prototypes).fit(learned.X, learned.y)
    decider, decision = classifier, ""
    if goal:
        decider, decision = _selective(classifier, calibration, goal)
    reader = CLIPFeaturizer(
        absolute_name(model),
        absolute_name(pretrained),
        jpeg_draft=embeddings is not None and embeddings.jpeg_draft,
    )
    return FitReport(
        make_pipeline(reader, decider),
        check,
        learned.paths,
        learned.y,
        measured=left_out if tested is None else _held_out(classifier, prototypes, rows, tested),
        left_out=left_out,
        decision=decision,
    )


def _looked_at(
    source: str | PathLike[str] | DatasetCheck,
    glob: str | Iterable[str] | None,
    exclude: str | Iterable[str] | None,
    n_jobs: int | None,
    verbose: int,
) -> tuple[DatasetCheck | None, Embeddings | None]:
    """The check of images, or embeddings, whose images are not read again."""
    if isinstance(source, DatasetCheck):
        return source, None
    if is_embedded(source):
        return None, read_embeddings(source)
    checked = check_dataset(source, glob=glob, exclude=exclude, n_jobs=n_jobs, verbose=verbose)
    return checked, None


def _model_of(
    embeddings: Embeddings, model: str | None, pretrained: str | Path | None
) -> tuple[str | None, str | None]:
    """The model of embeddings; another one is an error, since rows would mean something else."""
    known = absolute_name(embeddings.model), absolute_name(embeddings.pretrained)
    given = absolute_name(model), absolute_name(pretrained)
    if given not in ((None, None), known):
        raise DatasetError(
            f"The model must be that of the embeddings in {embeddings.folder}, model={known[0]!r} "
            f"and pretrained={known[1]!r}; got model={given[0]!r} and "
            f"pretrained={given[1]!r}. Leave it out."
        )
    return known


def _rows(
    data: ImageDataset, split: str, featurizer: CLIPFeaturizer, embeddings: Embeddings | None
) -> _Rows:
    images = data.splits[split]
    y = np.array([data.class_names[label] for label in images.labels.tolist()])
    read = featurizer.transform if embeddings is None else embeddings.rows_of
    return _Rows(images.paths, y, read(images.paths))


def _without_copies(rows: dict[str, _Rows]) -> dict[str, _Rows]:
    """What :meth:`DatasetCheck.usable` leaves of images, as far as features tell."""
    train = rows["train"]
    group = equal_rows(train.X)
    first_of_group = np.unique(group, return_index=True)[1][group]
    conflict = np.zeros(len(train.y), bool)
    np.logical_or.at(conflict, group, train.y != train.y[first_of_group])
    kept = {split: ~are_repeated(r.X, train.X) for split, r in rows.items() if split != "train"}
    kept["train"] = (first_of_group == np.arange(len(train.y))) & ~conflict[group]
    left_out = sum(int((~keep).sum()) for keep in kept.values())
    if left_out:
        warnings.warn(
            f"Every image should be there once; {left_out} are left out, as their features are "
            "those of another one of their class, of another class, or of one to learn from. "
            "`skclip check` names them from the images.",
            LeftOutWarning,
            stacklevel=3,
        )
    chosen = {s: _Rows(r.paths[kept[s]], r.y[kept[s]], r.X[kept[s]]) for s, r in rows.items()}
    if not len(chosen["train"].y):
        raise DatasetError(
            "A data set must have images to learn from; none is left when copies of two classes "
            "are left out."
        )
    return {split: r for split, r in chosen.items() if len(r.y)}


def _held_out(
    classifier: BayesAdapterClassifier, prototypes: Prototypes, rows: dict[str, _Rows], split: str
) -> HeldOut:
    tested = rows[split]
    return HeldOut(
        tested.paths,
        tested.y,
        _proba(classifier, tested.X),
        _zero_shot(tested, prototypes),
        classifier.classes_,
        f"the split {split}",
    )


def _zero_shot(rows: _Rows, prototypes: Prototypes) -> np.ndarray:
    classifier = ZeroShotClassifier(prototypes).fit(rows.X, rows.y)  # learns nothing from them
    return _proba(classifier, rows.X)


def _proba(classifier: Any, X: np.ndarray) -> np.ndarray:
    """In float64, with rows whose sums are 1 to its precision, as metrics of others ask for."""
    proba = classifier.predict_proba(X).astype(np.float64)
    return np.asarray(proba / proba.sum(axis=1, keepdims=True))


def _cross_validated(
    train: _Rows, prototypes: Prototypes, groups: np.ndarray, n_folds: int, random_state: int
) -> HeldOut | None:
    """Every image by a classifier that has not seen it, nor one that looks like it."""
    names, counts = np.unique(train.y, return_counts=True)
    n_parts = min(n_folds, int(counts.max()))
    rare = np.isin(train.y, names[counts < 2])
    if n_parts < 2:
        return None
    folds = StratifiedGroupKFold(n_parts, shuffle=True, random_state=random_state)
    proba = np.full((len(train.y), len(prototypes.labels)), np.nan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it keeps its text
        for fitted, tested in folds.split(train.X, train.y, groups):
            chosen = np.union1d(fitted, np.flatnonzero(rare))
            asked = tested[~rare[tested]]
            if len(asked) and len(chosen):
                part = BayesAdapterClassifier(prototypes).fit(train.X[chosen], train.y[chosen])
                proba[asked] = _proba(part, train.X[asked])
    known = ~np.isnan(proba).any(axis=1)
    shown = _Rows(train.paths[known], train.y[known], train.X[known])
    if not len(shown.y):
        return None
    how = f"images held out in turn, in {n_parts} parts"
    labels = np.asarray(prototypes.labels)
    return HeldOut(shown.paths, shown.y, proba[known], _zero_shot(shown, prototypes), labels, how)


def _halves(rows: _Rows, random_state: int) -> tuple[_Rows, _Rows]:
    """What is learned from and what chooses the threshold, drawn at random."""
    halves = held_out_rows(rows.X, 0.5, random_state)
    first, second = (_Rows(rows.paths[i], rows.y[i], rows.X[i]) for i in halves)
    return first, second


def _selective(
    classifier: BayesAdapterClassifier, rows: _Rows, goal: dict[str, float]
) -> tuple[SelectiveClassifier, str]:
    """The classifier with a threshold, and what was asked of it."""
    ((name, value),) = goal.items()
    said = {
        "threshold": "as asked for",
        "coverage": f"so that {value:.0%} of such images are accepted",
        "target_risk": f"so that at most {value:.1%} of what is accepted is wrong (with 95 % "
        "confidence)",
    }[name]
    selective = SelectiveClassifier(FrozenEstimator(classifier)).set_params(**goal)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No threshold keeps a risk", GuaranteeWarning)
        selective.fit(rows.X, rows.y)
    if np.isinf(selective.threshold_):
        said = _nothing_accepted(selective, rows, value)
        warnings.warn(f"The classifier abstains from everything: {said}", GuaranteeWarning, 3)
    return selective, said


def _nothing_accepted(selective: SelectiveClassifier, rows: _Rows, target_risk: float) -> str:
    """Why, and what would help, in words that are those of the command line, too."""
    proba = _proba(selective, rows.X)
    wrong = selective.classes_[proba.argmax(axis=1)] != rows.y
    delta = 1 - selective.confidence_level
    least = fewest_rows(target_risk, delta)
    likely = rows_for_certificate(proba.max(axis=1), wrong, target_risk, delta)
    advice = "Ask for a larger risk, or improve the classifier: more images alone will not do."
    if likely is not None:
        advice = f"Ask for a larger risk, or have about {max(likely, least)} images choose."
    return (
        f"no threshold is certain (at {selective.confidence_level:.0%}) to leave at most "
        f"{target_risk:.1%} of what is accepted wrong. {len(wrong)} images choose it, "
        f"{int(wrong.sum())} of them classified wrongly; at least {least}, all classified rightly, "
        f"are needed. {advice}"
    )
