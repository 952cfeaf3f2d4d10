"""Time the default fit against scikit-learn's LogisticRegression and the paper recipe.

Run it as ``OMP_NUM_THREADS=1 python benchmarks/fit_speed.py``. All methods fit the same synthetic
features in this process, by turns, so that what else the machine does is shared; the numbers are
medians of seconds of the processor, which a busy machine disturbs least, and ratios are medians of
the ratios of the turns. With one thread these are seconds on an idle machine.

- BayesAdapterClassifier as it comes, and with precision and temperature given, which leaves the
  same convex problem that LogisticRegression solves;
- ``LogisticRegression(C=100, max_iter=300)``, with its own tolerance of 1e-4 and, where that is met
  by zero coefficients already (of 1000 classes; 0 iterations), with 1e-6: both bound the entries
  of the gradient of the mean loss, which shrink with the number of classes;
- ``LogisticRegressionCV(Cs=8, cv=3, scoring="neg_log_loss")``, which also chooses its penalty,
  once, at all sizes but the last, where each of its 25 fits takes longer than all others here;
- the paper recipe, 300 epochs of stochastic gradients, extrapolated from a few (``--paper``).

"Products" are multiplications of the default's matrix products over those of one product of rows
and weights, n d c; an evaluation of the loss with its gradient has two.

Then two processes fit side by side, ``predict_proba`` of 50,000 rows and 1000 classes is timed
against a bare matrix product and softmax in torch, and the adapters of closed form at many classes.
The results go to ``benchmarks/results/fit_speed.json`` (with the device in its name where that is
not the CPU) and ``docs/tables/fit_speed.rst``.
"""

import argparse
import gc
import math
import multiprocessing
import statistics
import time
import warnings

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
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

import skclip
from skclip import BayesAdapterClassifier
from skclip.benchmark import PeakMemory
from skclip.benchmark.rendering import list_table
from skclip.datasets import make_clip_features

# (rows, features, classes): 16 images of 25 classes, 4 and 16 of 196, 4 of 1000.
SIZES = ((400, 512, 25), (784, 512, 196), (3136, 512, 196), (4000, 512, 1000))
QUICK_SIZES = ((80, 64, 5),)
SIDE_BY_SIDE = (784, 512, 196)
PREDICTED = (50_000, 512, 1000)
MANY_CLASSES = {"GaussianDAClassifier": 1000, "ProKeRClassifier": 250}
PAPER_EPOCHS = 300
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


def clock():
    """Seconds of the processor, or of the clock where a GPU works."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def by_turns(functions, repeat):
    """Name -> (last result, seconds of every turn) of functions called one after the other."""
    results, seconds = {}, {name: [] for name in functions}
    for _ in range(repeat):
        for name, function in functions.items():
            gc.collect()
            start = clock()
            results[name] = function()
            seconds[name].append(clock() - start)
    return results, seconds


def ratio(seconds, ours, theirs):
    """Median over turns."""
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))


def products(function, size):
    """Multiplications of a call's matrix products over n d c."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / (2 * math.prod(size))


def time_fits(size, arguments):
    """All methods on the arrays of one size."""
    data = make_data(*size, arguments.dtype)

    def bayes(**parameters):
        estimator = BayesAdapterClassifier(data.prototypes, device=arguments.device, **parameters)
        return estimator.fit(data.X, data.y)

    first = bayes()
    given = {"prior_precision": float(first.prior_precision_[0]), "temperature": 1.0}
    peer = LogisticRegression(C=100, max_iter=300)
    if max(LogisticRegression(C=100, max_iter=300).fit(data.X, data.y).n_iter_) == 0:
        peer.set_params(tol=1e-6)
    functions = {
        "default": bayes,
        "given": lambda: bayes(**given),
        "peer": lambda: peer.fit(data.X, data.y),
    }
    fitted, seconds = by_turns(functions, arguments.repeat)
    result = {
        "size": list(size),
        "seconds": {name: statistics.median(times) for name, times in seconds.items()},
        "default_over_peer": ratio(seconds, "default", "peer"),
        "given_over_peer": ratio(seconds, "given", "peer"),
        "products": products(bayes, size),
        "n_iter": fitted["default"].n_iter_,
        "peer_tol": peer.tol,
        "peer_n_iter": int(max(fitted["peer"].n_iter_)),
        "test": _quality(fitted["default"], data),
        "peer_test": _quality(fitted["peer"], data),
    }
    with PeakMemory() as peak:
        bayes()
    result["peak_mib"] = peak.mib
    if arguments.paper:
        result["paper_seconds"] = time_paper(data, arguments)
        result["paper_over_default"] = result["paper_seconds"] / result["seconds"]["default"]
    return result


def _quality(estimator, data):
    # In float64, so that rows sum to one for scikit-learn's metrics.
    proba = estimator.predict_proba(data.X_test.astype(float))
    values = measure(data.y_test, proba, estimator.classes_)
    return {name: round(values[name], 4) for name in ("acc", "nll", "ece10")}


def time_paper(data, arguments):
    """Seconds of the paper recipe, from those of a few epochs."""

    def fit(epochs):
        recipe = BayesAdapterClassifier.from_recipe(
            "paper", data.prototypes, max_iter=epochs, random_state=0, device=arguments.device
        )
        start = clock()
        recipe.fit(data.X, data.y)
        return clock() - start

    few, more = 1, 6
    start = fit(few)
    return start + (PAPER_EPOCHS - few) * (fit(more) - start) / (more - few)


def time_search(size, arguments):
    """The default over LogisticRegressionCV, which chooses its penalty too."""
    data = make_data(*size, arguments.dtype)
    search = LogisticRegressionCV(Cs=8, cv=3, scoring="neg_log_loss", max_iter=300)
    default = BayesAdapterClassifier(data.prototypes, device=arguments.device)
    functions = {
        "default": lambda: default.fit(data.X, data.y),
        "search": lambda: search.fit(data.X, data.y),
    }
    _, seconds = by_turns(functions, 1)
    return {"size": list(size), "seconds": seconds, "ratio": ratio(seconds, "default", "search")}


def _fit_when_told(size, dtype, start, seconds):
    data = make_data(*size, dtype)
    estimator = BayesAdapterClassifier(data.prototypes)
    estimator.fit(data.X, data.y)
    start.wait()
    before = time.perf_counter()
    estimator.fit(data.X, data.y)
    seconds.put(time.perf_counter() - before)


def time_side_by_side(size, arguments):
    """Seconds by the clock of a fit alone, and of the slower of two at once."""
    context = multiprocessing.get_context("spawn")

    def slowest(n):
        start, seconds = context.Barrier(n), context.Queue()
        jobs = [
            context.Process(target=_fit_when_told, args=(size, arguments.dtype, start, seconds))
            for _ in range(n)
        ]
        for job in jobs:
            job.start()
        found = [seconds.get() for _ in jobs]
        for job in jobs:
            job.join()
        return max(found)

    alone, both = zip(*((slowest(1), slowest(2)) for _ in range(arguments.repeat)), strict=True)
    return {
        "size": list(size),
        "alone": statistics.median(alone),
        "side_by_side": statistics.median(both),
        "ratio": statistics.median(b / a for a, b in zip(alone, both, strict=True)),
    }


def time_prediction(arguments):
    """predict_proba of many rows against what it cannot do without."""
    n, d, c = PREDICTED
    data = make_data(2 * c, d, c, arguments.dtype)
    estimator = BayesAdapterClassifier(
        data.prototypes, prior_precision=100.0, temperature=1.0, device=arguments.device
    ).fit(data.X, data.y)
    X = np.resize(data.X_test, (n, d))
    W = torch.tensor(estimator.prototypes_.astype(arguments.dtype))
    functions = {
        "predict": lambda: estimator.predict_proba(X),
        "bare": lambda: torch.softmax(100.0 * (torch.from_numpy(X) @ W.T), dim=1).numpy(),
    }
    by_turns(functions, 1)
    _, seconds = by_turns(functions, max(arguments.repeat, 3))
    return {
        "size": list(PREDICTED),
        "seconds": statistics.median(seconds["predict"]),
        "bare_seconds": statistics.median(seconds["bare"]),
        "ratio": ratio(seconds, "predict", "bare"),
    }


def time_many_classes(arguments):
    """Name -> seconds of a fit with 16 images of each of many classes."""
    found = {}
    for name, c in MANY_CLASSES.items():
        data = make_data(16 * c, 512, c, arguments.dtype)
        start = clock()
        getattr(skclip, name)(data.prototypes, device=arguments.device).fit(data.X, data.y)
        found[name] = {"classes": c, "seconds": clock() - start}
    return found


# -- report -------------------------------------------------------------------------

HEADER = (
    *("n, d, c", "default s", "products", "peak MiB", "test NLL"),
    *("LogisticRegression s", "tol", "iterations", "test NLL"),
    *("default / it", "like for like / it", "paper recipe / default"),
)


def fit_row(result):
    over = result.get("paper_over_default")
    return (
        ", ".join(map(str, result["size"])),
        f"{result['seconds']['default']:.2f}",
        f"{result['products']:.0f}",
        f"{result['peak_mib']:.0f}",
        f"{result['test']['nll']:.3f}",
        f"{result['seconds']['peer']:.2f}",
        f"{result['peer_tol']:g}",
        result["peer_n_iter"],
        f"{result['peer_test']['nll']:.3f}",
        f"{result['default_over_peer']:.2f}",
        f"{result['given_over_peer']:.2f}",
        "" if over is None else f"about {over:.0f}",
    )


def report(fits, settings, device, *, others=None, write=True):
    """Print the table so far, and write it to the documentation and the results."""
    rows = [fit_row(result) for result in fits]
    print(f"\n{plain_table(HEADER, rows)}")
    sentences = [
        f"{settings['processor']}, {settings['torch_threads']} thread(s), device {device}, "
        f"{settings['dtype']} arrays; torch {settings['torch']}, "
        f"scikit-learn {settings['scikit-learn']}, NumPy {settings['numpy']}; "
        f"medians of {settings['repeat']} turns."
    ]
    if (settings["load_average"] or 0) > _BUSY:
        sentences.append(
            f"The machine was busy (load average {settings['load_average']} at the start): "
            "seconds of the processor are longer than on an idle one, ratios hold roughly."
        )
    sentences += [describe(others)] if others else []
    print("\n".join(sentences))
    if not write:
        return
    suffix = "" if device == "cpu" else f"_{device}"
    table = list_table("Seconds of the processor to fit, and the ratios", HEADER, rows)
    write_table(f"fit_speed{suffix}", "fit_speed.py", table, *(f"{s}\n" for s in sentences))
    content = {"environment": settings, "fits": fits, **(others or {})}
    write_json(RESULTS / f"fit_speed{suffix}.json", content)


def describe(others):
    search, beside, prediction = (
        others["search"],
        others["side_by_side"],
        others["predict_proba"],
    )
    classes = ", ".join(
        f"{name} fits 16 images of {one['classes']} classes in {one['seconds']:.1f} s"
        for name, one in others["many_classes"].items()
    )
    searches = ", ".join(f"{one['ratio']:.3f} at {tuple(one['size'])}" for one in search)
    return (
        "The default over ``LogisticRegressionCV(Cs=8, cv=3)``, which chooses its penalty, too: "
        f"{searches}. Two default fits of {tuple(beside['size'])} side by "
        f"side take {beside['ratio']:.1f} times as long as one alone, by the clock. "
        f"``predict_proba`` of {prediction['size'][0]:,} rows and {prediction['size'][2]} classes "
        f"takes {prediction['ratio']:.2f} times as long as a bare matrix product and softmax in "
        f"torch. {classes}."
    )


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
    parser.add_argument("--repeat", type=int, default=5, help="turns, of which the median counts")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="one small size, no file")
    parser.add_argument("--paper", action="store_true", help="a few epochs of the recipe, too")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.quick:
        arguments.sizes, arguments.repeat, arguments.paper = QUICK_SIZES, 1, True
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", FutureWarning)
    # The first fit loads libraries and starts threads: outside the clock.
    small = make_data(20, 64, 2, arguments.dtype)
    BayesAdapterClassifier(small.prototypes, device=arguments.device).fit(small.X, small.y)
    LogisticRegression().fit(small.X, small.y)
    settings = environment(
        torch_threads=torch.get_num_threads(), dtype=arguments.dtype, repeat=arguments.repeat
    )
    fits, write = [], not arguments.quick
    for size in tqdm(arguments.sizes, unit="size", disable=None):
        fits.append(time_fits(size, arguments))
        # Keep what there is: the last size takes longest.
        report(fits, settings, arguments.device, write=write)
    if arguments.quick:
        return
    searched = arguments.sizes[:-1] or arguments.sizes
    others = {
        "search": [time_search(size, arguments) for size in searched],
        "side_by_side": time_side_by_side(SIDE_BY_SIDE, arguments),
        "predict_proba": time_prediction(arguments),
        "many_classes": time_many_classes(arguments),
    }
    report(fits, settings, arguments.device, others=others, write=write)


if __name__ == "__main__":
    main()
