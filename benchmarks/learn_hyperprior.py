"""Learn the hyperprior of BayesAdapterClassifier's precision and temperature over many tasks.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/learn_hyperprior.py``.

For every task of ``tasks.py`` the mode is found for seven precisions; its test rows say what
each precision and temperature is worth (log-loss, confidence minus accuracy), its support rows
what leave-one-out would say. The coefficients and the weight of lone rows minimise the mean over
tasks of

    log((loss + 0.1) / (best + 0.1)) + 0.01 gap²,

loss being the test loss of what the *whole* rule chooses, best the smallest on the grid, and
gap = 100 (confidence - accuracy), at most 10; ordinary tasks count three times. Small
coefficients are preferred. The width of the temperature is the spread of the best temperatures
around what is expected of them by coefficients that were learned without their data set: what
new data are like, not what was learned from. Written are

- ``skclip/_core/linear/learned_hyperprior.py``, from all tasks: what the package reads;
- ``docs/tables/hyperprior.rst``: the coefficients, and the error on the tasks of each data set
  with coefficients that were learned *without* that data set, beside simpler rules.
"""

import argparse
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from result_files import RESULTS, environment, plain_table, write_json, write_table
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import minimize
from tasks import many_tasks

import skclip
from skclip._core.linear.hyperprior import describe
from skclip._core.linear.leave_one_out import left_out_logits, left_out_weight
from skclip._core.linear.objective import logits, solve_map
from skclip._core.linear.prior import with_prior
from skclip._core.linear.span import Span
from skclip._core.linear.temperature_scaling import weighted_log_loss
from skclip._core.problem import Problem
from skclip.benchmark.rendering import list_table
from skclip.utils.files import write_text

TARGET = Path(skclip.__file__).parent / "_core" / "linear" / "learned_hyperprior.py"
TAU = 100.0

OF_PRECISION = ("intercept", "log_classes", "log_text_loss")
OF_TEMPERATURE = ("intercept", "log_text_loss", "log_shots", "log_views")
FIRST_WIDTH = 0.2
FLOOR, GAP_COST, LARGEST_GAP, ORDINARY_WEIGHT = 0.1, 0.01, 10.0, 3.0


@dataclass(frozen=True)
class Grid:
    """Logarithms of the precisions and temperatures that a task is measured at."""

    log_precisions: np.ndarray
    log_temperatures: np.ndarray

    @property
    def fine(self):
        """What is interpolated."""
        return (
            np.linspace(self.log_precisions[0], self.log_precisions[-1], 65),
            np.linspace(self.log_temperatures[0], self.log_temperatures[-1], 97),
        )


WITH_TEXT = Grid(np.log(10.0) * np.linspace(0.5, 3.5, 7), np.linspace(-1.2, 1.2, 25))
# Precisions over the number of features.
WITHOUT_TEXT = Grid(np.log(10.0) * np.linspace(-2, 1, 7), np.linspace(-4.0, 1.0, 51))


# -- what every task says -------------------------------------------------------------


def measure(task, plain):
    """Curves of a task over precisions and temperatures, and what is known of it beforehand."""
    torch.set_num_threads(1)
    grid = WITHOUT_TEXT if plain else WITH_TEXT
    X, y, X_test, y_test, text = (torch.from_numpy(part) for part in task.draw())
    if X.shape[0] * len(text) > 40_000:
        X, X_test, text = X.float(), X_test.float(), text.float()
    rows = Problem(X=X, y=y, sample_weight=X.new_ones(len(X)), prior_mean=text, logit_scale=TAU)
    d, unit = X.shape[1], 1.0
    if plain:
        tau = 1.0 / float((X - X.mean(dim=0)).square().mean().sqrt())
        rows = replace(rows, prior_mean=0 * text, logit_scale=tau, has_text=False)
        unit = d
    problem = with_prior(rows, "auto", adaptive=True, fit_intercept=None)
    span = Span.of(problem)
    shared = left_out_weight(problem, None)
    lone = (torch.bincount(y, minlength=len(text))[y] == 1).to(X.dtype)
    ones = X_test.new_ones(len(X_test))
    curves = {name: [] for name in ("loss", "gap", "left_out", "lone")}
    start = None
    for precision in unit * np.exp(grid.log_precisions[::-1]):
        firmer = replace(
            problem, prior_precision=torch.full_like(problem.prior_precision, float(precision))
        )
        mode = solve_map(firmer, tol=1e-6, max_iter=100, span=span, start=start, relative_tol=0.005)
        start = mode.coordinates
        scores, fitted = (logits(Z, mode.W, mode.b, rows.logit_scale) for Z in (X_test, X))
        left_out = left_out_logits(firmer, span, fitted)
        accuracy = float((scores.argmax(1) == y_test).double().mean())
        scaled = [(scores / math.exp(t), left_out / math.exp(t)) for t in grid.log_temperatures]
        curves["loss"].append([float(weighted_log_loss(z, y_test, ones)) for z, _ in scaled])
        curves["gap"].append(
            [100 * (float(torch.softmax(z, 1).amax(1).mean()) - accuracy) for z, _ in scaled]
        )
        curves["left_out"].append([float(weighted_log_loss(z, y, shared)) for _, z in scaled])
        curves["lone"].append([float(weighted_log_loss(z, y, lone)) for _, z in scaled])
    curves = {name: np.array(values)[::-1] for name, values in curves.items()}
    curves["loss"] = np.log(curves["loss"] / len(y_test) + FLOOR)
    if not plain:
        known = describe(problem, task.n_views)
    else:
        known = {"intercept": 1.0, "sharpening": d / (d + len(X) / len(text))}
    refined = {
        name: RectBivariateSpline(grid.log_precisions, grid.log_temperatures, values)(*grid.fine)
        for name, values in curves.items()
    }
    return known, {name: values.astype(np.float32) for name, values in refined.items()}


class Tasks:
    """All tasks, as arrays over tasks, precisions and temperatures."""

    def __init__(self, tasks, measured, grid):
        self.precisions, self.temperatures = grid.fine
        known, curves = zip(*measured, strict=True)
        self.data = np.array([task.data for task in tasks])
        self.shots = np.array([task.shots for task in tasks])
        self.ordinary = np.array([task.is_ordinary for task in tasks])
        self.known = {name: np.array([one[name] for one in known]) for name in known[0]}
        self.curves = {name: np.stack([one[name] for one in curves]) for name in curves[0]}
        self.regret = self.curves["loss"] - self.curves["loss"].min(axis=(1, 2), keepdims=True)

    def by_data_set(self):
        """Which tasks are of a data set, for each."""
        return [self.data == name for name in np.unique(self.data)]

    def at(self, values, which, log_precision):
        """Rows of `values` (tasks, temperatures) at a precision, linearly between grid points."""
        place = np.interp(log_precision, self.precisions, np.arange(len(self.precisions)))
        low = np.minimum(place.astype(int), len(self.precisions) - 2)
        share = (place - low)[:, None]
        return (1 - share) * values[which, low] + share * values[which, low + 1]


# -- rules ------------------------------------------------------------------------------


class Rule:
    """Linear centres of log precision and log temperature, and leave-one-out for the latter.

    Numbers are in one vector: the coefficients and log weight of lone rows. `width` is that of
    the log temperature, :meth:`spread` says what it should be.
    """

    def __init__(
        self,
        of_precision=OF_PRECISION,
        of_temperature=OF_TEMPERATURE,
        leaves_out=True,
        counts_lone_rows=True,
    ):
        self.of_precision, self.of_temperature = of_precision, of_temperature
        self.leaves_out, self.counts_lone_rows = leaves_out, counts_lone_rows
        self.width = FIRST_WIDTH

    def split(self, numbers):
        p, q = len(self.of_precision), len(self.of_temperature)
        return numbers[:p], numbers[p : p + q], math.exp(np.clip(numbers[-1], -4.0, 1.0))

    def centres(self, numbers, tasks, which):
        """Expected log precision and log temperature."""
        of_precision, of_temperature, _ = self.split(numbers)
        log_precision = _linear(of_precision, self.of_precision, tasks, which)
        log_precision = np.clip(log_precision, tasks.precisions[0], tasks.precisions[-1])
        return log_precision, _linear(of_temperature, self.of_temperature, tasks, which)

    def outcome(self, numbers, tasks, which):
        """(regret, gap) of tasks `which` under what the rule chooses."""
        _, _, lone = self.split(numbers)
        log_precision, centre = self.centres(numbers, tasks, which)
        score = 0.5 * ((tasks.temperatures - centre[:, None]) / self.width) ** 2
        if self.leaves_out:
            score += tasks.at(tasks.curves["left_out"], which, log_precision)
            if self.counts_lone_rows:
                score += lone * tasks.at(tasks.curves["lone"], which, log_precision)
        chosen = _minimum(score)
        return tuple(
            _between(tasks.at(values, which, log_precision), chosen)
            for values in (tasks.regret, tasks.curves["gap"])
        )

    def cost(self, numbers, tasks, which):
        regret, gap = self.outcome(numbers, tasks, which)
        weight = np.where(tasks.ordinary[which], ORDINARY_WEIGHT, 1.0)
        of_precision, of_temperature, lone = self.split(numbers)
        small = 0.001 * np.sum(of_precision[1:] ** 2) + 0.01 * np.sum(of_temperature[1:] ** 2)
        small += 0.001 * (math.log(lone) + 2) ** 2
        gap = np.minimum(np.abs(gap), LARGEST_GAP)
        return np.average(regret + GAP_COST * gap**2, weights=weight) + small

    def fit(self, tasks, which):
        """The numbers that cost least on the tasks `which`."""
        start = np.zeros(len(self.of_precision) + len(self.of_temperature) + 1)
        start[0], start[len(self.of_precision)] = tasks.precisions.mean(), tasks.temperatures.mean()
        start[-1] = math.log(0.1)
        return minimize(self.cost, start, (tasks, which), method="BFGS").x

    def spread(self, tasks):
        """Of best log temperatures around centres learned without their data set.

        The mean is weighted by how much a temperature matters to the task.
        """
        squares, weights = np.empty((2, len(tasks.data)))
        for own in tasks.by_data_set():
            numbers = self.fit(tasks, np.flatnonzero(~own))
            log_precision, centre = self.centres(numbers, tasks, np.flatnonzero(own))
            regret = tasks.at(tasks.regret, np.flatnonzero(own), log_precision)
            best = tasks.temperatures[regret.argmin(axis=1)]
            off = np.abs(tasks.temperatures - best[:, None])
            near = np.where((off > 0.1) & (off < 0.4), regret - regret.min(axis=1)[:, None], 0.0)
            squares[own], weights[own] = (best - centre) ** 2, near.sum(axis=1)
        return math.sqrt(np.average(squares, weights=weights * tasks.ordinary))


def _linear(coefficients, names, tasks, which):
    return sum(a * tasks.known[name][which] for a, name in zip(coefficients, names, strict=True))


def _minimum(score):
    """Fractional positions of the smallest entries of rows, by a parabola through three."""
    i = np.clip(score.argmin(axis=1), 1, score.shape[1] - 2)
    rows = np.arange(len(score))
    left, middle, right = (score[rows, i + step] for step in (-1, 0, 1))
    curvature = np.maximum(left - 2 * middle + right, 1e-12)
    return np.clip(i + 0.5 * (left - right) / curvature, 0, score.shape[1] - 1.001)


def _between(values, positions):
    low, rows = positions.astype(int), np.arange(len(values))
    share = positions - low
    return (1 - share) * values[rows, low] + share * values[rows, low + 1]


RULES = {
    "constants": Rule(("intercept",), ("intercept",), leaves_out=False),
    "constants, leave-one-out": Rule(("intercept",), ("intercept",)),
    "regression": Rule(leaves_out=False),
    "regression, leave-one-out": Rule(),
    "the same without the number of views": Rule(of_temperature=OF_TEMPERATURE[:-1]),
}
CHOSEN = "regression, leave-one-out"
# Without a text a left-out lone row leaves its class with nothing.
PLAIN_RULES = {
    "the formula": Rule(("intercept",), ("sharpening",), leaves_out=False),
    "the formula, leave-one-out": Rule(("intercept",), ("sharpening",), counts_lone_rows=False),
}
PLAIN_CHOSEN = "the formula, leave-one-out"


# -- the report ---------------------------------------------------------------------------

HEADER = (
    "rule",
    "tasks of",
    "number",
    "excess of log-loss, %",
    "confidence - accuracy",
    "its size",
)


def left_out_data_sets(rule, tasks):
    """(regret, gap) of every task under numbers learned without its data set."""
    regret, gap = np.empty((2, len(tasks.data)))
    for own in tasks.by_data_set():
        numbers = rule.fit(tasks, np.flatnonzero(~own))
        regret[own], gap[own] = rule.outcome(numbers, tasks, np.flatnonzero(own))
    return regret, gap


def rows_of(name, tasks, regret, gap):
    groups = [("all, ordinary", tasks.ordinary), ("all, other texts", ~tasks.ordinary)]
    groups += [(data, tasks.ordinary & (tasks.data == data)) for data in np.unique(tasks.data)]
    groups += [(f"{k} shots", tasks.ordinary & (tasks.shots == k)) for k in np.unique(tasks.shots)]
    for group, own in groups if name in (CHOSEN, PLAIN_CHOSEN) else groups[:2]:
        if not own.any():
            continue
        yield (
            *(name, group, str(own.sum()), f"{100 * np.expm1(regret[own].mean()):.1f}"),
            *(f"{gap[own].mean():+.2f}", f"{np.abs(gap[own]).mean():.2f}"),
        )


LEARNED_HEADER = ("of", "quantity", "coefficient")


def learn(tasks, rules, chosen):
    """The numbers of the chosen rule from all tasks, and rows of both tables."""
    width = rules[chosen].spread(tasks)
    for rule in rules.values():
        rule.width = width
    table = [
        row
        for name, rule in rules.items()
        for row in rows_of(name, tasks, *left_out_data_sets(rule, tasks))
    ]
    rule, everything = rules[chosen], np.arange(len(tasks.data))
    numbers = rule.fit(tasks, everything)
    outcome = rule.outcome(numbers, tasks, everything)
    table += rows_of("learned from all, in sample", tasks, *outcome)
    of_precision, of_temperature, lone = rule.split(numbers)
    learned = [
        ("log precision", *pair) for pair in zip(rule.of_precision, of_precision, strict=True)
    ]
    learned += [
        ("log temperature", *pair) for pair in zip(rule.of_temperature, of_temperature, strict=True)
    ]
    learned.append(("log temperature", "width", width))
    if rule.counts_lone_rows:
        learned.append(("weight", "lone row", lone))
    learned = [(of, quantity, f"{value:.3f}") for of, quantity, value in learned]
    print(plain_table(HEADER, table))
    print(plain_table(LEARNED_HEADER, learned))
    return learned, table


def write_module(with_text, plain):
    """The module that the package reads, its docstring kept."""
    text = TARGET.read_text(encoding="utf-8")

    def put(name, value):
        nonlocal text
        text, count = re.subn(
            rf"^{name} = ({{.*?}}|.*?)$", lambda _: f"{name} = {value}", text, flags=re.M | re.S
        )
        if count != 1:
            raise ValueError(f"{TARGET.name} must assign {name} once; it does {count} times.")

    def coefficients(of):
        chosen = {q: value for kind, q, value in with_text if kind == of and q != "width"}
        return "{\n" + "".join(f'    "{q}": {value},\n' for q, value in chosen.items()) + "}"

    values = {(of, quantity): value for of, quantity, value in with_text}
    plain = {(of, quantity): float(value) for of, quantity, value in plain}
    put("LOG_PRECISION", coefficients("log precision"))
    put("LOG_TEMPERATURE", coefficients("log temperature"))
    put("TEMPERATURE_WIDTH", values["log temperature", "width"])
    put("LONE_ROW_WEIGHT", values["weight", "lone row"])
    put("PLAIN_PRECISION_PER_FEATURE", f"{math.exp(plain['log precision', 'intercept']):.3f}")
    put("PLAIN_LOG_TEMPERATURE", plain["log temperature", "sharpening"])
    put("PLAIN_TEMPERATURE_WIDTH", plain["log temperature", "width"])
    write_text(TARGET, text)


def main():
    parser = argparse.ArgumentParser(description="Learn the hyperprior over many tasks.")
    parser.add_argument("--quick", action="store_true", help="few tasks; nothing is written")
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    tasks = many_tasks(0.05 if arguments.quick else 1.0)
    # Large tasks first, so that the last ones are not waited for.
    tasks.sort(key=lambda task: -task.n_classes * task.shots)
    plain_tasks = [
        task for task in tasks if task.text == "own" and task.n_classes * task.shots <= 1600
    ]

    def measured(tasks, grid):
        jobs = Parallel(n_jobs=1 if arguments.quick else arguments.n_jobs, verbose=1)
        return Tasks(
            tasks, jobs(delayed(measure)(task, grid is WITHOUT_TEXT) for task in tasks), grid
        )

    rules = {CHOSEN: RULES[CHOSEN]} if arguments.quick else RULES
    learned, table = learn(measured(tasks, WITH_TEXT), rules, CHOSEN)
    plain_learned, plain_table_rows = learn(
        measured(plain_tasks, WITHOUT_TEXT), PLAIN_RULES, PLAIN_CHOSEN
    )
    if arguments.quick:
        return
    write_module(learned, plain_learned)
    judged = "numbers learned without the data set that they are judged on"
    write_table(
        "hyperprior",
        "learn_hyperprior.py",
        list_table("With a text: learned from all tasks", LEARNED_HEADER, learned),
        list_table(f"With a text, {len(tasks)} tasks: {judged}", HEADER, table),
        list_table("Without a text: learned from all tasks", LEARNED_HEADER, plain_learned),
        list_table(f"Without a text, {len(plain_tasks)} tasks: {judged}", HEADER, plain_table_rows),
    )
    write_json(RESULTS / "learn_hyperprior.json", [environment(tasks=len(tasks))])


if __name__ == "__main__":
    main()
