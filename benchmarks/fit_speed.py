"""Time the default fit against scikit-learn's LogisticRegression and the paper recipe.

Run it as ``OMP_NUM_THREADS=2 python benchmarks/fit_speed.py`` on an idle machine. All
methods fit the same synthetic features, in this process, one after the other:

- BayesAdapterClassifier as it comes, with precision and temperature chosen from the data;
- ``LogisticRegression(C=100, max_iter=1000)``, with its own tolerance of 1e-4 and with that
  of BayesAdapterClassifier, 1e-6. Both bound the gradient of the mean loss, whose entries
  shrink with the number of classes: of 1000 classes, the default of 1e-4 may be met by zero
  coefficients, which the table shows as 0 iterations;
- the paper recipe, 300 epochs of stochastic gradients. Only where they take less than
  ``--full-below`` seconds are all epochs run; else a few are, and the time of the
  rest follows from the time per epoch, which does not change. The table marks it.

Then ``predict_proba`` of 50,000 rows and 1000 classes is timed against a bare matrix product
and softmax in torch, and a grid search against single fits. The results go to
``benchmarks/results/fit_speed.json`` (with the device in its name where that is not the
CPU) and ``docs/tables/fit_speed.rst``.
"""

import argparse
import gc
import math
import time
import warnings
from functools import partial

import numpy as np
import torch
from result_files import (
    RESULTS,
    environment,
    measure,
    plain_table,
    write_json,
    write_table,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from tqdm.auto import tqdm

from skclip import BayesAdapterClassifier
from skclip.benchmark import PeakMemory
from skclip.benchmark.rendering import list_table
from skclip.datasets import make_clip_features

# (rows, features, classes): 16 images of 25 and 196 classes, 4 and 16 of 1000.
SIZES = ((400, 512, 25), (3136, 512, 196), (4000, 512, 1000), (16000, 512, 1000))
QUICK_SIZES = ((80, 64, 5),)
PREDICTED = (50_000, 512, 1000)
PAPER_EPOCHS = 300
# LogisticRegression's own tolerance, and ours.
PEERS = {"logistic_regression": 1e-4, "logistic_regression_1e6": 1e-6}
# Processes already running at the start, above which times mean little.
_BUSY = 1.0


def make_data(n, d, c, dtype):
    """The same number of rows of every class, and five test rows of each."""
    if n % c:
        raise SystemExit(f"The number of rows must be a multiple of the classes; got {n} and {c}.")
    data = make_clip_features(n // c, c, n_features=d, n_test_per_class=5, random_state=0)
    for name in ("X", "X_test", "prototypes"):
        data[name] = data[name].astype(dtype)
    return data


def timed(function):
    """(result, seconds, peak resident memory in MiB) of a call."""
    gc.collect()
    with PeakMemory() as peak:
        start = time.perf_counter()
        result = function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return result, seconds, peak.mib


def fastest(function, repeat):
    """`timed` of the fastest of some calls, with the largest of the peaks."""
    calls = [timed(function) for _ in range(repeat)]
    result, seconds, _ = min(calls, key=lambda call: call[1])
    return result, seconds, max(peak for _, _, peak in calls)


def time_fits(size, arguments):
    """All methods on the arrays of one size."""
    data = make_data(*size, arguments.dtype)

    def default():
        estimator = BayesAdapterClassifier(data.prototypes, device=arguments.device)
        return estimator.fit(data.X, data.y)

    ours, our_seconds, our_peak = fastest(default, arguments.repeat)
    result = {
        "size": list(size),
        "seconds": our_seconds,
        "peak_mib": our_peak,
        "gradient_norm": ours.gradient_norm_,
        "n_iter": ours.n_iter_,
        "prior_precision": float(np.mean(ours.prior_precision_)),
        "temperature": ours.temperature_,
        "test": _quality(ours, data),
    }
    for name, tol in PEERS.items():
        peer = LogisticRegression(C=100, max_iter=1000, tol=tol)
        theirs, seconds, peak = fastest(partial(peer.fit, data.X, data.y), arguments.repeat)
        result[name] = {
            "tol": tol,
            "seconds": seconds,
            "ratio": our_seconds / seconds,
            "peak_mib": peak,
            "n_iter": int(max(theirs.n_iter_)),
            "test": _quality(theirs, data),
        }
    if not arguments.skip_paper:
        result |= time_paper(data, arguments)
        result["paper_over_default"] = result["paper_seconds"] / our_seconds
    return result


def _quality(estimator, data):
    # In float64, so that rows sum to one for scikit-learn's metrics.
    proba = estimator.predict_proba(data.X_test.astype(float))
    values = measure(data.y_test, proba, estimator.classes_)
    return {name: round(values[name], 4) for name in ("acc", "nll", "ece10")}


def time_paper(data, arguments):
    """Seconds of the paper recipe, and over how many epochs they were measured."""

    def fit(epochs):
        recipe = BayesAdapterClassifier.from_recipe(
            "paper", data.prototypes, max_iter=epochs, random_state=0, device=arguments.device
        )
        return timed(lambda: recipe.fit(data.X, data.y))[1]

    few, more = 1, 4
    start = fit(few)
    per_epoch = (fit(more) - start) / (more - few)
    total = start + (PAPER_EPOCHS - few) * per_epoch
    if total > arguments.full_below:
        return {"paper_seconds": total, "paper_epochs_run": more}
    return {"paper_seconds": fit(PAPER_EPOCHS), "paper_epochs_run": PAPER_EPOCHS}


def time_prediction(arguments):
    """predict_proba of many rows against what it cannot do without."""
    n, d, c = PREDICTED
    data = make_data(2 * c, d, c, arguments.dtype)
    estimator = BayesAdapterClassifier(
        data.prototypes, prior_precision=100.0, temperature=1.0, device=arguments.device
    ).fit(data.X, data.y)
    X = np.resize(data.X_test, (n, d))
    W = torch.tensor(estimator.prototypes_.astype(arguments.dtype))

    def bare():
        return torch.softmax(100.0 * (torch.from_numpy(X) @ W.T), dim=1).numpy()

    _, seconds, peak = fastest(lambda: estimator.predict_proba(X), max(arguments.repeat, 3))
    _, bare_seconds, bare_peak = fastest(bare, max(arguments.repeat, 3))
    return {
        "size": list(PREDICTED),
        "seconds": seconds,
        "bare_seconds": bare_seconds,
        "ratio": seconds / bare_seconds,
        "peak_mib": peak,
        "bare_peak_mib": bare_peak,
    }


def time_grid_search(size, arguments):
    """GridSearchCV over 5 precisions and 5 folds against one default fit, which does the same."""
    data = make_data(*size, arguments.dtype)
    estimator = BayesAdapterClassifier(data.prototypes, device=arguments.device)
    grid = {"prior_precision": [10.0, 30.0, 100.0, 300.0, 1000.0]}
    search = GridSearchCV(estimator, grid, scoring="neg_log_loss", cv=5, refit=False)
    _, single, _ = fastest(lambda: estimator.fit(data.X, data.y), max(arguments.repeat, 3))
    _, seconds, _ = timed(lambda: search.fit(data.X.astype(float), data.y))
    return {"size": list(size), "seconds": seconds, "single_fits": seconds / single}


# -- report -------------------------------------------------------------------------

HEADER = (
    *("n, d, c", "default s", "peak MiB", "test NLL"),
    *("LogisticRegression s", "iterations", "test NLL", "ratio"),
    *("with tol=1e-6 s", "iterations", "test NLL", "ratio", "paper recipe s", "ratio"),
)


def fit_row(result):
    paper, over = "", ""
    if "paper_seconds" in result:
        extrapolated = result["paper_epochs_run"] < PAPER_EPOCHS
        paper = f"{'about ' if extrapolated else ''}{result['paper_seconds']:.1f}"
        over = f"{result['paper_over_default']:.0f}"
    peers = [
        (
            *(f"{peer['seconds']:.2f}", peer["n_iter"], f"{peer['test']['nll']:.3f}"),
            f"{peer['ratio']:.2f}",
        )
        for peer in map(result.get, PEERS)
    ]
    return (
        ", ".join(map(str, result["size"])),
        *(f"{result['seconds']:.2f}", f"{result['peak_mib']:.0f}", f"{result['test']['nll']:.3f}"),
        *(*peers[0], *peers[1], paper, over),
    )


def report(fits, settings, device, *, search=None, prediction=None, write=True):
    """Print the table so far, and write it to the documentation and the results."""
    rows = [fit_row(result) for result in fits]
    print(f"\n{plain_table(HEADER, rows)}")
    machine = (
        f"{settings['processor']}, {settings['torch_threads']} threads, device {device}, "
        f"{settings['dtype']} arrays; torch {settings['torch']}, "
        f"scikit-learn {settings['scikit-learn']}, NumPy {settings['numpy']}; "
        f"the fastest of {settings['repeat']}."
    )
    sentences = [machine]
    if (settings["load_average"] or 0) > _BUSY:
        sentences.append(
            f"**The machine was busy** (load average {settings['load_average']} at the start): "
            "these times show that the script works, no more."
        )
    if search is not None:
        sentences.append(describe_search(search))
    if prediction is not None:
        sentences.append(describe_prediction(prediction, settings["dtype"]))
    print("\n".join(sentences))
    if not write:
        return
    suffix = "" if device == "cpu" else f"_{device}"
    table = list_table("Seconds to fit, and the ratios", HEADER, rows)
    write_table(f"fit_speed{suffix}", "fit_speed.py", table, *(f"{s}\n" for s in sentences))
    content = {
        "environment": settings,
        "fits": fits,
        "predict_proba": prediction,
        "grid_search": search,
    }
    write_json(RESULTS / f"fit_speed{suffix}.json", content)


def describe_search(search):
    size = ", ".join(map(str, search["size"]))
    return (
        f"``GridSearchCV`` over 5 precisions and 5 folds at ({size}) takes "
        f"{search['seconds']:.1f} s, as long as {search['single_fits']:.1f} default fits, each of "
        "which has chosen among precisions by leave-one-out."
    )


def describe_prediction(prediction, dtype):
    n, _, c = prediction["size"]
    return (
        f"``predict_proba`` of {n:,} rows and {c} classes takes {prediction['seconds']:.2f} s, "
        f"{prediction['ratio']:.2f} times a bare matrix product and softmax in torch, at a peak "
        f"of {prediction['peak_mib']:.0f} MiB (bare: {prediction['bare_peak_mib']:.0f} MiB), of "
        f"which rows and result are {_argument_mib(dtype):.0f} MiB."
    )


def _argument_mib(dtype):
    n, d, c = PREDICTED
    return n * (d + c) * np.dtype(dtype).itemsize / 2**20


def parse_size(text):
    size = tuple(int(part) for part in text.split(","))
    if len(size) != 3 or math.prod(size) <= 0:
        raise argparse.ArgumentTypeError(f"a size is n,d,c, as in 400,512,25; got {text!r}")
    return size


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Time the default fit against LogisticRegression and the paper recipe."
    )
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=SIZES, metavar="n,d,c")
    parser.add_argument("--repeat", type=int, default=1, help="the fastest of so many fits counts")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="one small size, no file")
    parser.add_argument("--skip-paper", action="store_true")
    parser.add_argument("--skip-prediction", action="store_true")
    parser.add_argument("--full-below", type=float, default=20.0, metavar="SECONDS")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.quick:
        arguments.sizes, arguments.skip_prediction = QUICK_SIZES, True
    warnings.simplefilter("ignore", ConvergenceWarning)
    # The first fit loads libraries and starts threads: outside the clock.
    small = make_data(20, 64, 2, arguments.dtype)
    BayesAdapterClassifier(small.prototypes, device=arguments.device).fit(small.X, small.y)
    LogisticRegression().fit(small.X, small.y)
    settings = environment(
        torch_threads=torch.get_num_threads(), dtype=arguments.dtype, repeat=arguments.repeat
    )
    fits = []
    for size in tqdm(arguments.sizes, unit="size", disable=None):
        fits.append(time_fits(size, arguments))
        # Keep what there is: the last size takes longest.
        report(fits, settings, arguments.device, write=not arguments.quick)
    search = time_grid_search(arguments.sizes[0], arguments)
    prediction = None if arguments.skip_prediction else time_prediction(arguments)
    report(
        fits,
        settings,
        arguments.device,
        search=search,
        prediction=prediction,
        write=not arguments.quick,
    )


if __name__ == "__main__":
    main()
