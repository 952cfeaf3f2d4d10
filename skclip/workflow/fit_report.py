"""The result of a fit: a pipeline, and what it does on images that it has not seen."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest
from scipy.stats import t as student
from sklearn.pipeline import Pipeline

from skclip.decisions import SelectiveClassifier
from skclip.metrics import (
    ErrorDisplay,
    bootstrap_interval,
    expected_calibration_error,
    probable_label_errors,
)
from skclip.workflow.check_result import DatasetCheck
from skclip.workflow.gains import VERDICTS, ClassGain, gains_by_class

__all__ = ["DOUBTS_MEAN_NOTHING", "NAMES_DO_NOT_HELP", "FitReport", "HeldOut", "Measured"]

NAMES_DO_NOT_HELP = (
    "The class names do not help this model: its prompts alone are not shown to be better than "
    "guessing. Try labels in other words."
)
DOUBTS_MEAN_NOTHING = (
    "Labels that the classifier doubts are not listed: it is not certain to be right about half of "
    "the images that it has not seen, so that its doubts say little about labels."
)
_MOST_CLASSES = 30
_N_RESAMPLES = 500


class Measured(NamedTuple):
    """A metric and its 95 % interval over images."""

    value: float
    low: float
    high: float


def _measure(y: np.ndarray, proba: np.ndarray, labels: np.ndarray) -> dict[str, Measured]:
    """Accuracy (Wilson's interval), log-loss (Student's), calibration error (the bootstrap's)."""
    codes = np.searchsorted(labels, y)
    n, right = len(y), int((proba.argmax(axis=1) == codes).sum())
    ends = binomtest(right, n).proportion_ci(method="wilson")
    losses = -np.log(np.clip(proba[np.arange(n), codes], np.finfo(float).tiny, None))
    loss = losses.mean()
    half = student.ppf(0.975, n - 1) * losses.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    ece = bootstrap_interval(
        expected_calibration_error,
        y,
        proba,
        labels=labels,
        n_resamples=_N_RESAMPLES,
        random_state=0,
    )
    return {
        "accuracy": Measured(right / n, ends.low, ends.high),
        "log_loss": Measured(float(loss), max(0.0, float(loss - half)), float(loss + half)),
        "expected_calibration_error": Measured(ece.value, max(0.0, ece.low), min(1.0, ece.high)),
    }


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images that a classifier was not fitted on, and what it says of them.

    Parameters
    ----------
    paths : ndarray of shape (n,)
    y : ndarray of shape (n,)
        Their labels.
    proba, zero_shot_proba : ndarray of shape (n, n_classes)
        Probabilities after adapting to the images, and of the prompts alone.
    labels : ndarray of shape (n_classes,)
        Label of each column.
    how : str
        In words.
    """

    paths: np.ndarray
    y: np.ndarray
    proba: np.ndarray = field(repr=False)
    zero_shot_proba: np.ndarray = field(repr=False)
    labels: np.ndarray
    how: str

    @cached_property
    def metrics(self) -> dict[str, dict[str, Measured]]:
        """Of "adapted" and of the "prompts" alone: value, low and high of each metric.

        They are "accuracy", "log_loss" in nats and "expected_calibration_error", with 95 %
        intervals over the images.
        """
        given = {"adapted": self.proba, "prompts": self.zero_shot_proba}
        return {name: _measure(self.y, proba, self.labels) for name, proba in given.items()}

    @cached_property
    def gains(self) -> list[ClassGain]:
        """For every class, whether adapting beat the prompts."""
        codes = np.searchsorted(self.labels, self.y)
        return gains_by_class(codes, self.proba, self.zero_shot_proba, self.labels)

    def errors(self, y_train: Any = None) -> ErrorDisplay:
        """Which classes are confused, and the worst mistakes.

        Parameters
        ----------
        y_train : array-like, default=None
            Labels of the support set, to count shots.

        Returns
        -------
        ErrorDisplay
            Not drawn yet: call its methods.
        """
        return ErrorDisplay.of(self.y, self.proba, labels=self.labels, y_train=y_train)


@dataclass(frozen=True, eq=False)
class FitReport:
    """What :func:`fit_dataset` made.

    Parameters
    ----------
    pipeline : Pipeline
        Images in, probabilities out; fitted on `train`.
    check : DatasetCheck or None
        What was found in the images before; None where it was not looked for.
    train, y_train : ndarray of shape (n,)
        Paths and labels that the classifier learned from. Images that chose a threshold are none
        of them.
    measured : HeldOut or None
        What the numbers are of; None where nothing could be held out. They are those of
        `pipeline` on a split, and of classifiers of other folds where it is `left_out`.
    left_out : HeldOut or None
        Images of the split "train", each predicted by a classifier that has not seen it.
    decision : str
        What was asked of an abstention threshold, or why there is none that does it, in words;
        empty where nothing was asked.
    """

    pipeline: Pipeline
    check: DatasetCheck | None
    train: np.ndarray
    y_train: np.ndarray
    measured: HeldOut | None
    left_out: HeldOut | None
    decision: str = ""

    @cached_property
    def label_errors(self) -> list[tuple[str, str, str, float]]:
        """Images whose label the classifier doubts, the least believable first.

        (path, label, what it is taken for, left-out probability of the label) of each. Empty where
        doubts are not to be trusted (`can_doubt`).
        """
        left_out = self.left_out
        if left_out is None or not self.can_doubt:
            return []
        rows = probable_label_errors(left_out.y, left_out.proba, labels=left_out.labels)
        codes = np.searchsorted(left_out.labels, left_out.y)
        return [
            (
                str(left_out.paths[row]),
                str(left_out.y[row]),
                str(left_out.labels[left_out.proba[row].argmax()]),
                float(left_out.proba[row, codes[row]]),
            )
            for row in rows.tolist()
        ]

    @property
    def can_doubt(self) -> bool:
        """Whether doubts about labels mean something: most held-out images are classified rightly.

        The lower end of the interval of that accuracy is above one half. Below it, a label that
        the classifier does not believe is more likely its own mistake.
        """
        left_out = self.left_out
        return left_out is not None and left_out.metrics["adapted"]["accuracy"].low > 0.5

    @property
    def names_help(self) -> bool:
        """Whether the prompts alone are better than guessing, as far as images tell."""
        measured = self.measured
        if measured is None:
            return True  # nothing was shown
        return measured.metrics["prompts"]["accuracy"].low > 1 / len(measured.labels)

    @cached_property
    def learned_from(self) -> str:
        """In words: of how many images the classifier knows, and what the others did."""
        said = f"Fitted on {len(self.train)} images of {len(self.pipeline.classes_)} classes."
        n_calibration = getattr(self.pipeline[-1], "n_calibration_", 0)
        if n_calibration:
            said += f" {n_calibration} others chose the threshold below which it abstains."
        if n_calibration and self.is_measured_on_more:
            said += (
                " Accuracy, errors and numbers by class are those of classifiers that learned from "
                "images of both kinds, so that they may be too good for this one."
            )
        return said

    @property
    def is_measured_on_more(self) -> bool:
        """Whether classifiers of folds saw images that the saved one did not learn from."""
        left_out = self.left_out
        return (
            left_out is not None
            and self.measured is left_out
            and not np.isin(left_out.paths, self.train).all()
        )

    def text(self) -> str:
        """What `skclip fit` prints.

        Returns
        -------
        str
        """
        lines = [self.learned_from]
        if self.measured is None:
            lines.append("Nothing could be held out: no number says how good it is. Add images.")
            return "\n".join([*lines, *self._decision()])
        lines += ["", f"On {self.measured.how} ({len(self.measured.y)} images):"]
        lines += [*self._metrics(self.measured)]
        if not self.names_help:
            lines += ["", NAMES_DO_NOT_HELP]
        lines += ["", *self._by_class(self.measured)]
        if self.left_out is not None and not self.can_doubt:
            lines += ["", DOUBTS_MEAN_NOTHING]
        if self.label_errors:
            lines += ["", "Labels that the classifier doubts, the least believable first:"]
            lines += [
                f"  {path}: is it {taken!r}, not {label!r}? (probability of the label {p:.1%})"
                for path, label, taken, p in self.label_errors[:5]
            ]
            if len(self.label_errors) > 5:
                lines.append(f"  and {len(self.label_errors) - 5} more")
        return "\n".join([*lines, *self._decision()])

    def _metrics(self, measured: HeldOut) -> Iterator[str]:
        named = (
            ("accuracy", "accuracy %", 100, 1),
            ("expected_calibration_error", "ECE %", 100, 1),
            ("log_loss", "log-loss", 1, 3),
        )
        yield f"  {'':<12}{'adapted':<26}prompts alone"
        for metric, title, factor, digits in named:
            texts = []
            for name in ("adapted", "prompts"):
                value, low, high = measured.metrics[name][metric]
                texts.append(
                    f"{factor * value:.{digits}f} [{factor * low:.{digits}f}, "
                    f"{factor * high:.{digits}f}]"
                )
            yield f"  {title:<12}{texts[0]:<26}{texts[1]}"
        yield "  (in brackets 95 % intervals over the images)"

    def _by_class(self, measured: HeldOut) -> Iterator[str]:
        gains = measured.gains
        counts = {verdict: sum(gain.verdict == verdict for gain in gains) for verdict in VERDICTS}
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        yield f"Against the prompts alone, by class: {said}"
        width = max(5, *(len(str(gain.label)) for gain in gains))
        yield f"  {'class':<{width}}  images  accuracy  prompts  adapting is"
        shown = gains
        if len(gains) > _MOST_CLASSES:
            shown = sorted(gains, key=lambda gain: gain.log_gain)[:_MOST_CLASSES]
        for gain in shown:
            yield (
                f"  {gain.label!s:<{width}}  {gain.n_images:>6}  {gain.accuracy:>8.0%}  "
                f"{gain.zero_shot_accuracy:>7.0%}  {gain.verdict}"
            )
        if len(shown) < len(gains):
            yield f"  and {len(gains) - len(shown)} more that gained more"

    def _decision(self) -> Iterator[str]:
        last = self.pipeline[-1]
        if not isinstance(last, SelectiveClassifier):
            return
        yield ""
        if np.isinf(last.threshold_):
            yield f"It abstains from everything: {self.decision}"
            return
        yield f"It abstains below a confidence of {last.threshold_:.3f}: {self.decision}"
        if last.n_calibration_:
            risk, coverage, *_ = last.calibration_score_
            yield (
                f"  chosen on {last.n_calibration_} images that it was not fitted on, of which it "
                f"accepts {coverage:.0%}, {'none' if np.isnan(risk) else f'{risk:.1%}'} wrong"
            )
