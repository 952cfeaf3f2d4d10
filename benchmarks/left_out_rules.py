"""Would an exact leave-one-out choose better? On small tasks, where refits are affordable.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/left_out_rules.py``.

Left-out losses of the support rows, for five precisions around the expected one and 25
temperatures, are computed in three ways: by the approximation of the package; by refits without
the row, the metric kept; and by refits whose metric has not seen the row either. Each then chooses
the temperature at the expected precision, or both, within what is expected of them; test rows say
what the choice is worth, as the excess of log-loss over the best of the grid. "Expected" takes both
as expected, without leaving anything out. Written is ``docs/tables/left_out_rules.rst``.
"""

import argparse
import math
from dataclasses import replace

import numpy as np
import torch
from joblib import Parallel, delayed
from learn_hyperprior import FLOOR, TAU
from result_files import RESULTS, environment, plain_table, write_json, write_table
from tasks import many_tasks

from skclip._core.linear.hyperprior import text_hyperprior
from skclip._core.linear.leave_one_out import left_out_logits, left_out_weight
from skclip._core.linear.objective import logits, solve_map
from skclip._core.linear.prior import with_prior
from skclip._core.linear.span import Span
from skclip._core.linear.temperature_scaling import weighted_log_loss
from skclip._core.problem import Problem
from skclip.benchmark.rendering import list_table

STEPS = np.log(10.0) * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])  # from the expected log precision
TEMPERATURES = np.linspace(-1.2, 1.2, 49)
# Of the log precision where it is chosen, too; the temperature has its learned width.
PRECISION_WIDTH = 0.5
MOST_ROWS = 80
WAYS = {
    "approximation": "the package's approximation",
    "refits": "refits without the row, metric kept",
    "refits, metric": "refits without the row, in the metric, too",
}


def mode(problem, precision, **settings):
    lam = torch.full_like(problem.prior_precision, precision)
    problem = replace(problem, prior_precision=lam)
    return problem, solve_map(problem, tol=1e-5, max_iter=100, **settings)


def refitted(problem, metric, precision):
    """Logits of every row by a fit without it; `metric` None computes that again, too."""
    out = torch.empty(len(problem.X), problem.n_classes, dtype=problem.X.dtype)
    for i in range(len(out)):
        stay = torch.arange(len(out)) != i
        rows = Problem.of(problem)
        rows = replace(rows, X=rows.X[stay], y=rows.y[stay], sample_weight=rows.sample_weight[stay])
        without = with_prior(rows, "auto", adaptive=True, fit_intercept=None)
        if metric is not None:
            without = replace(without, metric=metric)
        _, found = mode(without, precision, relative_tol=0.02)
        out[i] = logits(problem.X[i : i + 1], found.W, found.b, TAU)[0]
    return out


def outcome(task):
    """Rule -> excess of log-loss and gap of its choice."""
    torch.set_num_threads(1)
    X, y, X_test, y_test, text = (torch.from_numpy(part) for part in task.draw())
    rows = Problem(X=X, y=y, sample_weight=X.new_ones(len(X)), prior_mean=text, logit_scale=TAU)
    problem = with_prior(rows, "auto", adaptive=True, fit_intercept=None)
    expected, span = text_hyperprior(problem, task.n_views), Span.of(problem)
    weight = left_out_weight(problem, None, expected.lone_row_weight)
    loss, gap, left_out = [], [], {way: [] for way in WAYS}
    for step in STEPS:
        precision = expected.precision * math.exp(step)
        fitted, found = mode(problem, precision, span=span)
        scores = logits(X_test, found.W, found.b, TAU)
        right = float((scores.argmax(1) == y_test).double().mean())
        by_temperature = [scores / math.exp(t) for t in TEMPERATURES]
        ones = torch.ones_like(y_test, dtype=X.dtype)
        loss.append([float(weighted_log_loss(z, y_test, ones)) for z in by_temperature])
        gap.append(
            [100 * (float(torch.softmax(z, 1).amax(1).mean()) - right) for z in by_temperature]
        )
        for way, scores in (
            ("approximation", left_out_logits(fitted, span, logits(X, found.W, found.b, TAU))),
            ("refits", refitted(problem, problem.metric, precision)),
            ("refits, metric", refitted(problem, None, precision)),
        ):
            left_out[way].append(
                [float(weighted_log_loss(scores / math.exp(t), y, weight)) for t in TEMPERATURES]
            )
    loss = np.log(np.array(loss) / len(y_test) + FLOOR)
    loss, gap = loss - loss.min(), np.array(gap)
    off = (TEMPERATURES - expected.log_temperature) / expected.temperature_width
    centre = len(STEPS) // 2
    chosen = {"expected": (centre, np.abs(off).argmin())}
    for way, values in left_out.items():
        score = np.array(values) + 0.5 * off**2
        chosen[way, "temperature"] = (centre, score[centre].argmin())
        score += 0.5 * (STEPS[:, None] / PRECISION_WIDTH) ** 2
        chosen[way, "both"] = np.unravel_index(score.argmin(), score.shape)
    return {rule: (loss[at], gap[at]) for rule, at in chosen.items()}


def main():
    parser = argparse.ArgumentParser(description="Compare leave-one-out with refits.")
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="2 tasks; nothing is written")
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    small = [
        task
        for task in many_tasks()
        if task.shots > 1 and task.n_classes >= 4 and task.n_classes * task.shots <= MOST_ROWS
    ]
    rng = np.random.default_rng(0)
    count = 2 if arguments.quick else min(arguments.tasks, len(small))
    small = [small[i] for i in rng.permutation(len(small))[:count]]
    jobs = Parallel(n_jobs=1 if arguments.quick else arguments.n_jobs, verbose=1)
    outcomes = jobs(delayed(outcome)(task) for task in small)
    table = []
    for rule in outcomes[0]:
        regret, gap = np.array([one[rule] for one in outcomes]).T
        way, what = ("nothing", "") if rule == "expected" else (WAYS[rule[0]], rule[1])
        table.append(
            (
                way,
                what,
                f"{100 * np.expm1(regret.mean()):.1f}",
                f"{gap.mean():+.2f}",
                f"{np.abs(gap).mean():.2f}",
            )
        )
    header = (
        "left out by",
        "chooses",
        "excess of log-loss, %",
        "confidence - accuracy",
        "its size",
    )
    print(plain_table(header, table))
    if arguments.quick:
        return
    title = f"{count} tasks of 2 or more shots and at most {MOST_ROWS} rows"
    write_table("left_out_rules", "left_out_rules.py", list_table(title, header, table))
    write_json(RESULTS / "left_out_rules.json", [environment(tasks=count)])


if __name__ == "__main__":
    main()
