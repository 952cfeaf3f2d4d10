"""Which method, how many shots: the short answer that results give."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skclip.benchmark.recommended_code import code_of
from skclip.benchmark.study import Interval, Study, interval

__all__ = ["Guessing", "Recommendation", "SmallestLoss", "recommend"]

# Log-losses that differ by less are printed alike.
_AS_PRINTED = 5e-4


@dataclass(frozen=True)
class Guessing:
    """What is right by chance: a class at random, every class with the same probability.

    Means over data sets, NaN where the results do not say it. `largest_class` is the share of the
    test rows that naming their commonest class gets right.
    """

    accuracy: float
    nll: float
    largest_class: float

    def is_beaten_by(self, accuracy: float, nll: float) -> bool:
        """Whether both are better; where chance is not known, they are."""
        return not (accuracy <= self.accuracy or nll >= self.nll)

    def lines(self, accuracy: float) -> list[str]:
        """What to say beside an accuracy."""
        if np.isnan(self.accuracy):
            return []
        said = [f"Guessing: accuracy {100 * self.accuracy:.1f} %, log-loss {self.nll:.3f}"]
        if accuracy <= self.largest_class:
            said.append(
                f"  always naming the commonest class is right for {100 * self.largest_class:.1f} "
                "% of the test rows"
            )
        return said


class SmallestLoss(NamedTuple):
    """The method, and its backbone, whose mean log-loss at the most shots is the smallest."""

    method: str
    backbone: str
    label: str
    log_loss: float


@dataclass(frozen=True, eq=False)
class Recommendation:
    """A method for these data, and what to expect of it.

    Parameters
    ----------
    method, label : str
        By its name among METHODS, and in words; with the calibrator after a "+". Where no method
        is better than guessing, the one that came closest.
    backbone : str
    n_datasets, n_draws : int
        What the numbers are means of.
    shots_needed : int
        The fewest shots per class whose accuracy is within `tolerance` of that at the most.
    tolerance : float
    curve : dict
        Shots -> {"accuracy", "ece", "nll"} -> (mean, half width of its 95 % interval).
    last_gain : tuple
        What the last step of shots added to the accuracy, paired by draw: mean, half width.
    as_good : tuple of str
        Methods whose log-loss at the most shots cannot be told from that of `method`.
    smallest_loss : SmallestLoss
        What the method was compared with; other than itself where it is the simplest of a tie.
    guessing : Guessing
    better_than_guessing : bool
        Whether log-loss and accuracy at the most shots are better than those of `guessing`.
    code : str
        Three lines that use it.
    """

    method: str
    label: str
    backbone: str
    n_datasets: int
    n_draws: int
    shots_needed: int
    tolerance: float
    curve: dict[int, dict[str, Interval]]
    last_gain: Interval
    as_good: tuple[str, ...]
    smallest_loss: SmallestLoss
    guessing: Guessing
    better_than_guessing: bool
    code: str

    def sentences(self) -> list[str]:
        """The answer for who decides, without a term of the field.

        Returns
        -------
        list of str
        """
        most, now = max(self.curve), self.curve[self.shots_needed]
        if not self.better_than_guessing:
            return [
                f"No method is better than guessing, with up to {most} labelled images per class: "
                "labels and class names do not seem to fit the images."
            ]
        accuracy, ece = now["accuracy"], now["ece"]
        images = "image" if self.shots_needed == 1 else "images"
        said = [
            f"{self.label} with {self.shots_needed} labelled {images} per class recognises "
            f"{100 * accuracy.mean:.0f} of 100 new images, and the confidence it states is off by "
            f"{100 * ece.mean:.0f} points on average."
        ]
        outlook = self._ten_more()
        return [*said, outlook] if outlook else said

    def _ten_more(self) -> str:
        """What ten more labels per class could bring, from what the last step did.

        The same for every doubling of the labels: a guess, which no data set promises.
        """
        if len(self.curve) < 2 or np.isnan(self.last_gain.mean):
            return ""
        before, most = sorted(self.curve)[-2:]
        doublings = np.log2(1 + 10 / most) / np.log2(most / before)
        step = f"Ten more labels per class ({most + 10} instead of {most})"
        if self.last_gain.high <= 0 or self.last_gain.mean <= 0:
            return f"{step} would bring nothing: the last ones did not."
        gain = min(self.last_gain.mean * doublings, 1 - self.curve[most]["accuracy"].mean)
        certain = np.isfinite(self.last_gain.low) and self.last_gain.low > 0
        doubt = "" if certain else ", if anything: the draws differ by more than that"
        return (
            f"{step} would bring about {100 * gain:.1f} more of 100, as the step from "
            f"{before} to {most} brought {100 * self.last_gain.mean:.1f}{doubt}."
        )

    def text(self) -> str:
        """What the command line prints.

        Returns
        -------
        str
        """
        most = max(self.curve)
        expected = self.curve[self.shots_needed]
        over = f" over {self.n_datasets} data sets" if self.n_datasets > 1 else ""
        draws = f"mean of {self.n_draws} draw{'s' if self.n_draws > 1 else ''}"
        on = f" on {self.backbone}" if _is_named(self.backbone) else ""
        if self.better_than_guessing:
            lines = [
                f"Method: {self.label}{on}",
                f"  {self._reason(f'log-loss at {most} shots per class{over}')}, {draws}",
            ]
            if self.as_good:
                lines.append(f"  not to be told apart from it: {', '.join(self.as_good)}")
            lines += [
                f"Shots needed: {self.shots_needed} per class, for an accuracy within "
                f"{_points(self.tolerance)} of that at {most}",
                f"Expect: accuracy {_percent(expected['accuracy'])} %, "
                f"ECE {_percent(expected['ece'])} % (mean of draws ± half of its 95 % interval)",
            ]
        else:
            lines = [
                f"Method: none. At {most} shots per class{over} no method is better than guessing.",
                f"  The closest is {self.label}{on}, {draws}. Do labels and class names fit the "
                "images?",
            ]
        lines += [
            *self.guessing.lines(expected["accuracy"].mean),
            "",
            "Labelling more:",
            "  shots   accuracy %     ECE %        log-loss",
        ]
        lines += [
            f"  {shots:>5}   {_percent(v['accuracy']):<12}   {_percent(v['ece']):<10}   "
            f"{v['nll'].text(3)}"
            for shots, v in self.curve.items()
        ]
        lines += self._outlook()
        if self.better_than_guessing:
            lines += ["", *self.code.splitlines()]
        return "\n".join(lines)

    def _reason(self, what: str) -> str:
        if (self.method, self.backbone) == self.smallest_loss[:2]:
            return f"the smallest {what}"
        _, backbone, label, loss = self.smallest_loss
        on = f" on {backbone}" if backbone != self.backbone else ""
        own = self.curve[max(self.curve)]["nll"].mean
        return (
            f"the simplest within one standard error (0.0005 at least) of the smallest {what}: "
            f"its own is {own:.3f}, the smallest {loss:.3f} of {label}{on}"
        )

    def _outlook(self):
        if len(self.curve) < 2:
            return []
        before, most = sorted(self.curve)[-2:]
        gain = self.last_gain
        size = Interval(abs(gain.mean), gain.half_width)
        verb = "rose" if gain.mean > 0 else "fell"
        step = f"From {before} to {most} shots the accuracy {verb} by {_percent(size)} points."
        if abs(gain.mean) < 5e-4:  # 0.0 as it is printed
            step = f"From {before} to {most} shots the accuracy stayed the same."
        if np.isnan(gain.half_width):
            return [f"  {step} One draw does not say how certain that is."]
        if gain.high < 0:
            return [f"  {step} More labels of this kind do not help."]
        if gain.low <= 0:
            return [f"  {step} More labels of this kind are not certain to help."]
        return [f"  {step} Gains shrink: expect less of the next step of this size."]


def recommend(
    results: str | PathLike[str],
    *,
    tolerance: float = 0.01,
    model: str | None = None,
    pretrained: str | Path | None = None,
    templates: Any = None,
) -> Recommendation:
    """Which method to use on these data, with how many labelled images.

    Parameters
    ----------
    results : path-like
        Folder that :func:`run` wrote.
    tolerance : float, default=0.01
        Accuracy that one is ready to lose to label less, a fraction.
    model, pretrained : str, default=None
        For the lines of code, as CLIPFeaturizer takes them; what the results say when None.
    templates : default=None
        Likewise, as ClassPrompts takes them.

    Returns
    -------
    Recommendation
        ``print(recommendation.text())``.

    Raises
    ------
    ValueError
        If no method has results for every data set at the most shots.

    Notes
    -----
    The method, and the backbone where there are several, is the one of the smallest mean
    log-loss at the most shots: it asks for accuracy and for honest probabilities at once. Of those
    within one standard error of it (of the difference, paired by draw) it is the simplest: the
    first in METHODS. What is not better than guessing is not recommended. The
    choice and the expected numbers come from the same test rows, which makes the numbers of
    close winners a little too good. Intervals are over draws of the labelled images from one
    pool; they do not contain the chance in the test rows.
    """
    study = Study(results)
    given = {"model": model, "pretrained": pretrained, "templates": templates}
    most = study.shots[-1]
    losses = {
        (method, backbone): values.droplevel("method")
        for backbone in study.backbones
        for method, values in _at(study, "nll", study.of_backbone(backbone), most).groupby("method")
    }
    if not losses:
        raise ValueError(
            f"At least one method must have results for every data set at {most} shots; got none "
            f"in {results}. Run the benchmark again: it computes what is missing."
        )
    guessing = {backbone: _guessing(study, backbone) for backbone in study.backbones}
    better = {
        key: values
        for key, values in losses.items()
        if guessing[key[1]].is_beaten_by(_accuracy(study, *key, most), values.mean())
    }
    method, backbone = _simplest_of_the_best(better or losses, study)
    smallest = min(better or losses, key=lambda key: losses[key].mean())
    if losses[smallest].mean() == losses[method, backbone].mean():
        smallest = method, backbone
    settings = study.of_backbone(backbone)
    found = {metric: study.intervals(metric, settings) for metric in ("accuracy", "ece", "nll")}
    curve = {
        shots: {metric: table.at[method, shots] for metric, table in found.items()}
        for shots in study.shots
        if not np.isnan(found["nll"].at[method, shots].mean)
    }
    enough = curve[most]["accuracy"].mean - tolerance
    return Recommendation(
        method=method,
        label=study.label_of(method),
        backbone=backbone,
        n_datasets=len(settings),
        n_draws=len(losses[method, backbone]),
        shots_needed=min(s for s, v in curve.items() if v["accuracy"].mean >= enough),
        tolerance=tolerance,
        curve=curve,
        last_gain=_last_gain(study, method, settings, sorted(curve)[-2:]),
        as_good=tuple(_as_good(study, losses, method, backbone)),
        smallest_loss=SmallestLoss(
            *smallest, study.label_of(smallest[0]), float(losses[smallest].mean())
        ),
        guessing=guessing[backbone],
        better_than_guessing=bool(better),
        code=code_of(study, method, settings, given),
    )


def _guessing(study, backbone):
    rows = study.rows_of(study.of_backbone(backbone)).groupby("setting")
    classes, largest = (rows[name].first() for name in ("n_classes", "largest_class"))
    with np.errstate(divide="ignore"):
        chance, nll = 1 / classes, np.log(classes)
    return Guessing(*(float(values.mean(skipna=False)) for values in (chance, nll, largest)))


def _accuracy(study, method, backbone, shots):
    return _at(study, "accuracy", study.of_backbone(backbone), shots)[method].mean()


def _simplest_of_the_best(losses, study):
    """The first method within one standard error of the smallest mean, or equal as printed."""
    best = min(losses.values(), key=lambda values: values.mean())

    def is_tied(key):
        difference = (losses[key] - best).dropna()
        error = difference.std() / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
        return len(difference) == len(best) and difference.mean() <= max(error, _AS_PRINTED)

    return min(filter(is_tied, losses), key=lambda key: (study.methods.index(key[0]), key[1]))


def _at(study, metric, settings, shots):
    """By method and seed, of one number of shots."""
    draws = study.draws(metric, settings)
    return draws[draws.index.get_level_values("shots") == shots].droplevel("shots")


def _last_gain(study, method, settings, steps):
    if len(steps) < 2:
        return Interval(np.nan, np.nan)
    before, after = (_at(study, "accuracy", settings, shots)[method] for shots in steps)
    return interval((after - before).dropna())


def _as_good(study, losses, method, backbone):
    """Labels of methods whose paired difference over draws has an interval that holds 0."""
    best = losses[method, backbone]
    for other in study.methods:
        values = losses.get((other, backbone))
        if other != method and values is not None and len(values) == len(best) > 1:
            difference = interval((values - best).dropna())
            if difference.low <= 0:
                yield study.label_of(other)


def _points(fraction):
    points = f"{100 * fraction:g}"
    return f"{points} percentage point{'' if points == '1' else 's'}"


def _is_named(backbone):
    return backbone != "precomputed"


def _percent(value):
    return value.text(1, 100)
