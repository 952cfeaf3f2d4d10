"""What is an average over the posterior good for? Question by question, on development tasks.

Run it as ``SKCLIP_FEATURE_SETS=folder OMP_NUM_THREADS=1 python benchmarks/posterior_use.py``.

A third of the classes of every task of ``tasks.py`` is taken away before the fit. Rows of the other
classes say what predictions are worth (log-loss, AURC), and all rows whether a score tells
classes that were taken away from others (AUROC). Compared are the mode, which is the default, and
averages over Laplace's posterior at several temperatures, each with the temperature of the logits
that left-out rows choose for it. No test split of a data set that is reported on is read. Written
is ``docs/tables/posterior_use.rst``.
"""

import argparse

import numpy as np
from joblib import Parallel, delayed
from result_files import RESULTS, environment, plain_table, write_json, write_table
from sklearn.metrics import log_loss, roc_auc_score
from tasks import many_tasks

from skclip import BayesAdapterClassifier, Laplace, Prototypes
from skclip.benchmark.rendering import list_table
from skclip.metrics import area_under_risk_coverage

WAYS = {"the mode": "map"} | {
    f"average, T = {T:g}": Laplace(temperature=T) for T in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
}
QUESTIONS = {
    "loss 1": "log-loss, 1 shot, relative",
    "loss": "log-loss, 2 and more shots, relative",
    "aurc": "AURC, relative",
    "prediction": "AUROC of unseen classes, entropy of the prediction",
    "entropy": "AUROC of unseen classes, entropy over draws",
    "epistemic": "AUROC of unseen classes, epistemic part",
}
FEWEST = 20
FLOOR = 1e-3


def outcome(task, seed):
    """Way -> question -> value; None where a kind of rows is too rare."""
    X, y, X_test, y_test, text = task.draw()
    c = len(text)
    known = np.sort(np.random.default_rng(seed).permutation(c)[max(2, c // 3) :])
    inside, kept = np.isin(y_test, known), np.isin(y, known)
    if min(inside.sum(), (~inside).sum()) < FEWEST:
        return None
    out = {}
    for way, posterior in WAYS.items():
        classifier = BayesAdapterClassifier(Prototypes(text[known], known), posterior=posterior)
        classifier.fit(X[kept], y[kept])
        proba = classifier.predict_proba(X_test[inside])
        parts = classifier.predict_uncertainty(X_test)
        loss = np.log(log_loss(y_test[inside], proba, labels=known) + FLOOR)
        out[way] = {
            "loss 1" if task.shots == 1 else "loss": loss,
            "aurc": np.log(area_under_risk_coverage(y_test[inside], proba, labels=known) + FLOOR),
            "prediction": roc_auc_score(~inside, classifier.acquisition(X_test, "entropy")),
            "entropy": roc_auc_score(~inside, parts.entropy),
            "epistemic": roc_auc_score(~inside, parts.epistemic),
        }
    return out


def table_rows(outcomes):
    """Ratios are geometric means over tasks, to the mode; AUROC means, in per cent."""
    for way in WAYS:
        cells = [way]
        for question in QUESTIONS:
            values = [o[way][question] for o in outcomes if question in o[way]]
            first = [o["the mode"][question] for o in outcomes if question in o[way]]
            if question in ("prediction", "entropy", "epistemic"):
                cells.append(f"{100 * np.mean(values):.1f}")
            else:
                cells.append(f"{np.exp(np.mean(np.subtract(values, first))):.3f}")
        yield cells


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="3 tasks; nothing is written")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    tasks = [t for t in many_tasks() if t.is_ordinary and 9 <= t.n_classes <= 100]
    order = np.random.default_rng(0).permutation(len(tasks))
    order = order[: 3 if arguments.quick else arguments.tasks]
    jobs = Parallel(n_jobs=1 if arguments.quick else arguments.n_jobs, verbose=1)
    outcomes = jobs(delayed(outcome)(tasks[i], int(i)) for i in order)
    outcomes = [found for found in outcomes if found is not None]
    header, table = ("predictions", *QUESTIONS.values()), list(table_rows(outcomes))
    print(plain_table(header, table))
    if arguments.quick:
        return
    title = f"{len(outcomes)} tasks, a third of whose classes was taken away"
    write_table("posterior_use", "posterior_use.py", list_table(title, header, table))
    write_json(RESULTS / "posterior_use.json", [environment(tasks=len(outcomes))])


if __name__ == "__main__":
    main()
