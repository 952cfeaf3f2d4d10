"""Labels, templates, weights and scales that nobody thought of: a distribution or a typed error."""

import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skclip import (
    BayesAdapterClassifier,
    ClassPrompts,
    GaussianDAClassifier,
    LinearProbeClassifier,
    Prototypes,
    TipAdapterClassifier,
    ZeroShotClassifier,
)
from skclip.metrics import expected_calibration_error

from .conftest import make_task

TASK = make_task(n_classes=3, shots=2, n_test=6)
# Derandomised, so that CI fails for a change and not by chance.
fuzz = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
label = st.one_of(
    st.integers(-3, 3),
    st.sampled_from(["ant", "Ant", "bee", "", "0", "1"]),
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.booleans(),
    st.binary(max_size=2),
    st.dates(),
    st.just(np.datetime64("NaT")),
)
homogeneous = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=6, max_size=6),
    st.lists(st.text(max_size=3), min_size=6, max_size=6),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
labels = st.one_of(homogeneous, st.lists(label, min_size=6, max_size=6))
size = st.one_of(
    st.just(1.0),
    st.floats(-320, 300).map(lambda exponent: 10.0**exponent),
    st.sampled_from([0.0, 5e-324, np.inf, np.nan, -1.0]),
)
CLASSIFIERS = (
    lambda text, **k: BayesAdapterClassifier(text, **k),
    lambda text, **k: LinearProbeClassifier(text, **k),
    lambda text, **k: TipAdapterClassifier(text, **k),
    lambda text, **k: GaussianDAClassifier(text, **k),
)


class Encoder:
    """Counts letters."""

    logit_scale_ = 10.0

    def encode_text(self, texts, *, normalize=None):
        return np.array([[1.0 + t.count(letter) for letter in "abcdefg aeiou.,"] for t in texts])


def predict(make, X, *arguments):
    """Probabilities of a fit, or None where it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            proba = make().fit(X, *arguments).predict_proba(X)
        except ValueError:  # all of the package's are; a TypeError would come from below
            return None
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-5)
    return proba


@fuzz
@given(y=labels, as_array=st.booleans(), text=st.booleans(), which=st.integers(0, 3))
def test_labels(y, as_array, text, which):
    present = len({repr(value) for value in y})
    prototypes = TASK.X[:present] if text else None
    given_y = np.array(y, dtype=object) if as_array else y
    predict(lambda: CLASSIFIERS[which](prototypes), TASK.X, given_y)


@fuzz
@given(y=homogeneous, order=st.permutations(range(6)))
def test_the_order_of_rows_and_of_labelled_prototypes_is_irrelevant(y, order):
    names = list(dict.fromkeys(y))
    if len(names) < 2:
        return
    text = TASK.X[: len(names)]
    order = list(order)
    back = np.argsort(order)
    plain = predict(lambda: ZeroShotClassifier(Prototypes(text, names)), TASK.X, y)
    turned = predict(
        lambda: ZeroShotClassifier(Prototypes(text[::-1], names[::-1])),
        TASK.X[order],
        [y[i] for i in order],
    )
    np.testing.assert_allclose(plain, turned[back], rtol=1e-9)


@fuzz
@given(y=labels, columns=st.permutations(["ant", "bee", "cow"]))
def test_labels_of_metrics(y, columns):
    proba = np.full((6, 3), 1 / 3)
    try:
        value = expected_calibration_error(y, proba, labels=list(columns))
    except ValueError:
        return
    assert np.isfinite(value)


@fuzz
@given(template=st.text("ab{}:!.[]c0_ ", max_size=8), name=st.text(max_size=4))
def test_templates(template, name):
    prompts = ClassPrompts(Encoder(), templates=template)
    try:
        ((prompt,),) = prompts.prompts([name])
    except ValueError:
        return
    assert name.replace("_", " ") in prompt


@fuzz
@given(
    weights=st.lists(size, min_size=6, max_size=6),
    unit=size,
    text_unit=size,
    scale=size,
    normalize=st.sampled_from(["auto", True, False]),
    single=st.booleans(),
    text=st.booleans(),
    which=st.integers(0, 3),
)
def test_weights_and_scales(weights, unit, text_unit, scale, normalize, single, text, which):
    with np.errstate(all="ignore"):
        X = (unit * TASK.X).astype(np.float32 if single else np.float64)
        prototypes = text_unit * TASK.text if text else None
    predict(
        lambda: CLASSIFIERS[which](
            prototypes, normalize=normalize, logit_scale="auto" if scale == 1.0 else scale
        ),
        X,
        TASK.y,
        weights,
    )


@fuzz
@given(
    unit=st.floats(-15, 15).map(lambda exponent: 10.0**exponent),
    weight=st.floats(-10, 10).map(lambda exponent: 10.0**exponent),
    normalize=st.sampled_from(["auto", False]),
    text=st.booleans(),
    which=st.integers(0, 3),
)
def test_weights_and_scales_within_their_ranges(unit, weight, normalize, text, which):
    """Most of what the test above draws is refused at the door; this is not."""
    prototypes = TASK.text if text else None
    make = CLASSIFIERS[which]
    weights = np.full(len(TASK.y), weight)
    predict(lambda: make(prototypes, normalize=normalize), unit * TASK.X, TASK.y, weights)
