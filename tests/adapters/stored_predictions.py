"""Fits whose float64 predictions are stored, and the command that stores them again.

``python tests/adapters/stored_predictions.py [PREFIX]`` writes the file, or the cases whose name
begins with PREFIX in it; do that only where a change of the numbers is intended, and say so in
CHANGES.rst.
"""

import inspect
import sys
from pathlib import Path

import numpy as np

import skclip
from skclip import Laplace, Prototypes, Variational
from skclip.datasets import make_clip_features

FILE = Path(__file__).with_suffix(".npz")
# Predictions of all test rows; what draws are needed for, of the first few.
N_ROWS, N_FEW = 300, 40

DATA = make_clip_features(
    5, 6, n_features=24, n_informative=12, prior_quality=0.7, n_test_per_class=50, random_state=0
)
TEXT = DATA.prototypes.vectors if isinstance(DATA.prototypes, Prototypes) else DATA.prototypes
# Single precision would store float32 rounding, and hide a change of precision.
ORDER = np.argsort(DATA.y, kind="stable")
X, y, X_TEST = (
    DATA.X[ORDER].astype(np.float64),
    DATA.y[ORDER],
    DATA.X_test.astype(np.float64)[:N_ROWS],
)
TEXT = np.asarray(TEXT, np.float64)
# Classes have 3 to 5 images.
UNEVEN = np.sort(np.random.default_rng(1).permutation(len(y))[: len(y) - 5])
WEIGHT = np.random.default_rng(0).uniform(0.2, 3.0, len(y))
GROUPS = np.repeat(np.arange(len(y)), 2)
VIEWS = X.repeat(2, axis=0) + 0.02 * np.random.default_rng(2).standard_normal((2 * len(y), 24))
ORDINARY = X * np.geomspace(0.5, 5.0, 24) + 1.0  # features that are no unit rows
ORDINARY_TEST = X_TEST * np.geomspace(0.5, 5.0, 24) + 1.0


def make(name, *args, **parameters):
    """The estimator, solved so far that the way to the optimum does not show in 1e-10."""
    cls = getattr(skclip, name)
    if "tol" in inspect.signature(cls).parameters:
        parameters.setdefault("tol", 1e-10)
    return cls(*args, **parameters)


def fitted(name, **parameters):
    """A fit on all rows with text."""
    return lambda: make(name, TEXT, **parameters).fit(X, y)


def weighted(name, **parameters):
    return lambda: make(name, TEXT, **parameters).fit(X, y, sample_weight=WEIGHT)


def without_text(name, **parameters):
    return lambda: make(name, **parameters).fit(ORDINARY, y)


def grouped(name, **parameters):
    def fit():
        weight = np.full(len(GROUPS), 0.5)
        classifier = make(name, TEXT, **parameters)
        return classifier.fit(VIEWS, y.repeat(2), sample_weight=weight, groups=GROUPS)

    return fit


def in_batches(**parameters):
    """Half the rows of four classes, then all others with two classes more."""

    def fit():
        first = (y < 4) & (np.arange(len(y)) % 2 == 0)
        text = Prototypes(TEXT[:4], np.arange(4))
        classifier = make("BayesAdapterClassifier", text, random_state=0, **parameters)
        classifier.partial_fit(X[first], y[first])
        classifier.set_params(prototypes=Prototypes(TEXT, np.arange(6)))
        rest = np.flatnonzero(~first)
        classifier.partial_fit(X[rest[::2]], y[rest[::2]])
        return classifier.partial_fit(X[rest[1::2]], y[rest[1::2]])

    return fit


SGD = {"max_iter": 20, "random_state": 0}


def laplace(covariance="full", **parameters):
    return {"posterior": Laplace(covariance, **parameters), "random_state": 0}


def variational(covariance="full", **parameters):
    return {"posterior": Variational(covariance, **parameters), "random_state": 0}


CASES = {
    "zero-shot": fitted("ZeroShotClassifier"),
    "zero-shot, scale 20": fitted("ZeroShotClassifier", logit_scale=20.0),
    # Linear probes.
    "linear probe": fitted("LinearProbeClassifier"),
    "linear probe, without text": without_text("LinearProbeClassifier"),
    "linear probe, weights": weighted("LinearProbeClassifier", class_weight="balanced"),
    "linear probe, from text": fitted("LinearProbeClassifier", init="prototypes", **SGD),
    "linear probe, random": fitted("LinearProbeClassifier", init="random", **SGD),
    "linear probe, from text, optimum": fitted(
        "LinearProbeClassifier", init="prototypes", solver="newton-cg"
    ),
    # Near the text.
    "clap": fitted("CLAPClassifier"),
    "clap, weights": weighted("CLAPClassifier", multipliers="corrected", solver="newton-cg"),
    "clap, recipe": fitted("CLAPClassifier", solver="sgd", **SGD),
    "clap, adaptive": fitted("CLAPClassifier", solver="sgd", multipliers="adaptive", **SGD),
    "task res": fitted("TaskResClassifier"),
    "task res, weights": weighted("TaskResClassifier", solver="newton-cg"),
    "task res, adam": fitted("TaskResClassifier", solver="adam", **SGD),
    "task res, recipe": fitted("TaskResClassifier", solver="sgd", **SGD),
    "cross-modal": fitted("CrossModalClassifier"),
    "cross-modal, weights": weighted("CrossModalClassifier"),
    "cross-modal, adamw": fitted("CrossModalClassifier", solver="adamw", **SGD),
    "zero-shot range": fitted("ZeroShotRangeClassifier", **SGD),
    "zero-shot range, norm": fitted("ZeroShotRangeClassifier", method="norm", **SGD),
    "zero-shot range, optimum": fitted("ZeroShotRangeClassifier", solver="lbfgs"),
    "lp++": fitted("LPPlusPlusClassifier"),
    "lp++, weights": weighted("LPPlusPlusClassifier", solver="newton-cg"),
    "lp++, descent": fitted("LPPlusPlusClassifier", solver="mm"),
    # Features, caches, closed forms.
    "clip-adapter": fitted("CLIPAdapterClassifier", **SGD),
    "clip-adapter, dropout": fitted("CLIPAdapterClassifier", dropout=0.3, **SGD),
    "tip-adapter": fitted("TipAdapterClassifier"),
    "tip-adapter, without text": without_text("TipAdapterClassifier"),
    "tip-adapter, groups": grouped("TipAdapterClassifier"),
    "tip-adapter, trained keys": fitted("TipAdapterClassifier", fine_tune=True, random_state=0),
    "gda": fitted("GaussianDAClassifier"),
    "gda, without text": without_text("GaussianDAClassifier"),
    "gda, weights": weighted("GaussianDAClassifier", priors="uniform"),
    "gda, groups": grouped("GaussianDAClassifier"),
    "proker": fitted("ProKeRClassifier"),
    "proker, without text": without_text("ProKeRClassifier"),
    "proker, weights": weighted("ProKeRClassifier"),
    "proker, groups": grouped("ProKeRClassifier"),
    # Other posteriors.
    "laplace probe": fitted("LaplaceProbeClassifier", random_state=0),
    "laplace probe, full": fitted("LaplaceProbeClassifier", covariance="full", random_state=0),
    "laplace probe, probit": fitted("LaplaceProbeClassifier", predictive="probit", random_state=0),
    "laplace probe, recipe": fitted("LaplaceProbeClassifier", solver="sgd", **SGD),
    "ensemble": lambda: skclip.DeepEnsembleClassifier(
        make("LinearProbeClassifier", TEXT, init="random", solver="sgd", max_iter=20),
        n_members=3,
        random_state=0,
    ).fit(X, y),
    "sample scaling": lambda: skclip.SampleAdaptiveScaling(
        make("LinearProbeClassifier", TEXT), TEXT
    ).fit(X, y),
    # The Bayesian adapter.
    "bayes": fitted("BayesAdapterClassifier"),
    "bayes, uneven": lambda: make("BayesAdapterClassifier", TEXT).fit(X[UNEVEN], y[UNEVEN]),
    "bayes, one shot": lambda: make("BayesAdapterClassifier", TEXT).fit(X[::5], y[::5]),
    "bayes, absent class": lambda: make(
        "BayesAdapterClassifier", Prototypes(TEXT, np.arange(6))
    ).fit(X[y < 5], y[y < 5]),
    "bayes, two classes": lambda: make("BayesAdapterClassifier", TEXT[:2]).fit(X[y < 2], y[y < 2]),
    "bayes, without text": without_text("BayesAdapterClassifier"),
    "bayes, weights": weighted("BayesAdapterClassifier", class_weight="balanced"),
    "bayes, groups": grouped("BayesAdapterClassifier"),
    "bayes, isotropic": fitted("BayesAdapterClassifier", prior_shape="isotropic"),
    "bayes, precision 30": fitted("BayesAdapterClassifier", prior_precision=30.0, temperature=1.0),
    "bayes, precisions": fitted(
        "BayesAdapterClassifier", prior_precision=np.geomspace(10, 100, 6), fit_intercept=True
    ),
    "bayes, clap": fitted("BayesAdapterClassifier", prior_precision="clap"),
    "bayes, lbfgs": fitted("BayesAdapterClassifier", solver="lbfgs", fit_intercept=False),
    "bayes, laplace": fitted("BayesAdapterClassifier", **laplace()),
    "bayes, laplace, weights": weighted("BayesAdapterClassifier", **laplace()),
    "bayes, laplace, groups": grouped("BayesAdapterClassifier", **laplace()),
    "bayes, laplace, without text": without_text("BayesAdapterClassifier", **laplace()),
    "bayes, laplace, diagonal": fitted("BayesAdapterClassifier", **laplace("diagonal")),
    "bayes, laplace, isotropic": fitted(
        "BayesAdapterClassifier", prior_shape="isotropic", **laplace("isotropic")
    ),
    "bayes, laplace, temperature 0.3": fitted(
        "BayesAdapterClassifier", **laplace(temperature=0.3, average="logits")
    ),
    "bayes, variational": fitted("BayesAdapterClassifier", **variational()),
    "bayes, variational, groups": grouped("BayesAdapterClassifier", **variational()),
    "bayes, variational, diagonal": fitted(
        "BayesAdapterClassifier", **variational("diagonal", temperature=0.1)
    ),
    "bayes, variational, paper's temperature": fitted(
        "BayesAdapterClassifier", **variational("isotropic", temperature="paper", n_samples=10)
    ),
    "bayes, in batches": in_batches(),
    "bayes, in batches, laplace": in_batches(posterior=Laplace(temperature=0.1)),
    "bayes, in batches, variational": in_batches(posterior=Variational(temperature=0.1)),
    "bayes, paper": lambda: skclip.BayesAdapterClassifier.from_recipe("paper", TEXT, **SGD).fit(
        X, y
    ),
    "bayes, cosine": lambda: skclip.CosineBayesAdapterClassifier(
        8.8 * TEXT,
        temperature=1.3,
        kl_weight=0.01,
        n_samples=32,
        **SGD,
    ).fit(X, y, sample_weight=WEIGHT),
}


def predictions(name):
    """Everything that a fitted classifier says about probabilities, by what it is called."""
    classifier = CASES[name]()
    rows = ORDINARY_TEST if "without text" in name else X_TEST
    out = {"proba": classifier.predict_proba(rows)}
    if hasattr(classifier, "predict_uncertainty"):
        out["uncertainty"] = np.stack(classifier.predict_uncertainty(rows[:N_FEW]))
    if hasattr(classifier, "acquisition") and not name.startswith("clip-adapter"):
        out["bald"] = classifier.acquisition(rows[:N_FEW], kind="bald")
    if hasattr(classifier, "sample_proba") and "ensemble" not in name:
        out["draws"] = classifier.sample_proba(rows[:N_FEW], n_samples=3, random_state=7)
    return out


def write(prefix=""):
    """Store anew what cases whose name begins with `prefix` predict; the rest stays."""
    arrays = {}
    if FILE.exists():
        with np.load(FILE) as old:
            arrays = {key: old[key] for key in old.files if not key.startswith(prefix)}
    for name in CASES:
        if name.startswith(prefix):
            arrays |= {f"{name}: {what}": v for what, v in predictions(name).items()}
    np.savez_compressed(FILE, **arrays)
    return arrays


if __name__ == "__main__":
    write(*sys.argv[1:])
