"""Which method, how many shots: the short answer that results give."""

import inspect
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from skclip.benchmark.method_registry import METHODS, estimator_class
from skclip.benchmark.study import Interval, Study, interval, label_of
from skclip.prompts import RAW_TEXT_NORM

__all__ = ["Recommendation", "recommend"]


@dataclass(frozen=True, eq=False)
class Recommendation:
    """A method for these data, and what to expect of it.

    Parameters
    ----------
    method, label : str
        By its name among METHODS, and in words; with the calibrator after a "+".
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
    code: str

    def text(self) -> str:
        """What the command line prints.

        Returns
        -------
        str
        """
        most = max(self.curve)
        expected = self.curve[self.shots_needed]
        over = f" over {self.n_datasets} data sets" if self.n_datasets > 1 else ""
        lines = [
            f"Method: {self.label}" + (f" on {self.backbone}" if _is_named(self.backbone) else ""),
            f"  the smallest log-loss at {most} shots per class{over}, "
            f"mean of {self.n_draws} draw{'s' if self.n_draws > 1 else ''}",
        ]
        if self.as_good:
            lines.append(f"  not to be told apart from it: {', '.join(self.as_good)}")
        lines += [
            f"Shots needed: {self.shots_needed} per class, for an accuracy within "
            f"{_points(self.tolerance)} of that at {most}",
            f"Expect: accuracy {_percent(expected['accuracy'])} %, "
            f"ECE {_percent(expected['ece'])} % (mean of draws ± half of its 95 % interval)",
            "",
            "Labelling more:",
            "  shots   accuracy %     ECE %        log-loss",
        ]
        lines += [
            f"  {shots:>5}   {_percent(v['accuracy']):<12}   {_percent(v['ece']):<10}   "
            f"{v['nll'].text(3)}"
            for shots, v in self.curve.items()
        ]
        lines += [*self._outlook(), "", *self.code.splitlines()]
        return "\n".join(lines)

    def _outlook(self):
        if len(self.curve) < 2:
            return []
        before, most = sorted(self.curve)[-2:]
        gain = self.last_gain
        step = f"From {before} to {most} shots the accuracy rose by {_percent(gain)} points."
        if np.isnan(gain.half_width):
            return [f"  {step} One draw does not say how certain that is."]
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
    log-loss at the most shots: it asks for accuracy and for honest probabilities at once. The
    choice and the expected numbers come from the same test rows, which makes the numbers of
    close winners a little too good. Intervals are over draws of the labelled images from one
    pool; they do not contain the chance in the test rows.
    """
    study = Study(results)
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
    method, backbone = min(losses, key=lambda key: losses[key].mean())
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
        label=label_of(method),
        backbone=backbone,
        n_datasets=len(settings),
        n_draws=len(losses[method, backbone]),
        shots_needed=min(s for s, v in curve.items() if v["accuracy"].mean >= enough),
        tolerance=tolerance,
        curve=curve,
        last_gain=_last_gain(study, method, settings, sorted(curve)[-2:]),
        as_good=tuple(_as_good(study, losses, method, backbone)),
        code=_code(method, backbone, model, pretrained, templates),
    )


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
                yield label_of(other)


def _code(method, backbone, model, pretrained, templates):
    name = method.partition(" + ")[0]
    known = METHODS.get(name)
    if known is None:
        return f"# {name} is a method of your own: build it as the study does."
    if pretrained is None and _is_named(backbone):
        model, _, pretrained = backbone.rpartition(" ")
    prototypes = "prototypes"
    if pretrained is not None:
        prototypes = f"ClassPrompts(clip{f', templates={templates!r}' if templates else ''})"
    first = _expression(known, prototypes)
    if pretrained is None:
        lines = [f"classifier = {first}", "classifier.fit(X, y)"]
        lines.append("probabilities = classifier.predict_proba(X_new)")
        return "\n".join(lines)
    named = f'"{model}", pretrained="{pretrained}"' if model else f'pretrained="{pretrained}"'
    return "\n".join(
        [
            f"clip = CLIPFeaturizer({named})",
            f"pipe = make_pipeline(clip, {first}).fit(image_paths, class_names)",
            "probabilities = pipe.predict_proba(new_image_paths)",
        ]
    )


def _expression(method, prototypes):
    """What builds a method, with `prototypes` as the expression of its text prototypes."""
    given = dict(method.parameters)
    arguments = []
    if "estimator" in given:
        arguments.append(_expression(METHODS[given.pop("estimator")], prototypes))
    if "prototypes" in inspect.signature(estimator_class(method.estimator)).parameters:
        arguments.append(prototypes)
    if given.get("prototype_norm") == "raw":
        given["prototype_norm"] = RAW_TEXT_NORM
    arguments += [f"{name}={value!r}" for name, value in given.items()]
    if method.recipe is not None:
        return f'{method.estimator}.from_recipe("{method.recipe}", {", ".join(arguments)})'
    return f"{method.estimator}({', '.join(arguments)})"


def _points(fraction):
    points = f"{100 * fraction:g}"
    return f"{points} percentage point{'' if points == '1' else 's'}"


def _is_named(backbone):
    return backbone != "precomputed"


def _percent(value):
    return value.text(1, 100)
