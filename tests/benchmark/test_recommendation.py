"""The short answer, on results whose answer is known."""

import re

import numpy as np
import pytest

from skclip.benchmark import METHODS, recommend, run

from .result_rows import row, write_results

SHOTS = (1, 2, 4, 8)


def known(noise=0.0, methods=(("bayes", 0.2), ("gda", 0.5), ("zero-shot", 0.9)), **where):
    """Accuracies 0.80, 0.88, 0.895, 0.90 over shots for all, and a log-loss per method."""
    rng = np.random.default_rng(0)
    accuracy = dict(zip(SHOTS, (0.80, 0.88, 0.895, 0.90), strict=True))
    return [
        row(
            method,
            shots,
            seed,
            nll=max(0.001, nll + noise * rng.normal()),
            accuracy=accuracy[shots] + 0.001 * seed,
            ece=0.05,
            **where,
        )
        for method, nll in methods
        for shots in SHOTS
        for seed in (1, 2, 3, 4)
    ]


def test_the_method_has_the_smallest_log_loss_at_the_most_shots(tmp_path):
    found = recommend(write_results(tmp_path, known()))
    assert (found.method, found.label) == ("bayes", "BayesAdapter")
    assert found.as_good == ()
    assert found.n_draws == 4


def test_methods_that_draws_cannot_tell_apart_are_named(tmp_path):
    methods = (("bayes", 0.2), ("gda", 0.21), ("zero-shot", 5.0))
    found = recommend(write_results(tmp_path, known(noise=0.1, methods=methods)))
    assert len(found.as_good) == 1
    assert "Zero-shot" not in found.as_good


@pytest.mark.parametrize(("tolerance", "shots"), [(0.001, 8), (0.01, 4), (0.03, 2), (0.2, 1)])
def test_shots_needed_follow_the_tolerance(tmp_path, tolerance, shots):
    found = recommend(write_results(tmp_path, known()), tolerance=tolerance)
    assert found.shots_needed == shots


def test_expectation_is_the_interval_over_draws(tmp_path):
    found = recommend(write_results(tmp_path, known()))
    accuracy = found.curve[8]["accuracy"]
    assert accuracy.mean == pytest.approx(0.9025)
    # Standard error of 1, 2, 3, 4 thousandths, times t = 3.1824.
    assert accuracy.half_width == pytest.approx(3.18245 * 1.2909944e-3 / 2, rel=1e-5)
    assert found.last_gain == pytest.approx((0.005, 0.0), abs=1e-12)
    assert "Expect: accuracy 89.8 ± 0.2 %, ECE 5.0 ± 0.0 %" in found.text()
    assert "From 4 to 8 shots the accuracy rose by 0.5 ± 0.0 points." in found.text()


def test_a_gain_that_may_be_none_is_called_so(tmp_path):
    rows = [
        row("bayes", s, seed, accuracy=0.8 + 0.01 * (s == seed)) for s in (1, 2) for seed in (1, 2)
    ]
    text = recommend(write_results(tmp_path, rows)).text()
    assert "More labels of this kind are not certain to help." in text


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ((0.019, 0.019), "rose by 1.9 ± 0.0 points. Gains shrink"),
        ((-0.019, -0.019), "fell by 1.9 ± 0.0 points. More labels of this kind do not help."),
        ((-0.03, 0.02), "fell by 0.5 ± 31.8 points. More labels of this kind are not certain"),
        ((0.0002, 0.0002), "stayed the same."),
        ((0.0, 0.0), "stayed the same. More labels of this kind are not certain"),
        ((-0.1,), "fell by 10.0 points. One draw does not say"),
    ],
)
def test_a_change_is_called_by_its_direction(tmp_path, gains, said):
    rows = [
        row("bayes", shots, seed, accuracy=0.8 + gain * (shots == 2))
        for shots in (1, 2)
        for seed, gain in enumerate(gains)
    ]
    text = recommend(write_results(tmp_path, rows)).text()
    assert f"From 1 to 2 shots the accuracy {said}" in text
    assert "by -" not in text


@pytest.mark.parametrize(
    ("methods", "best"),
    [
        ((("bayes", 0.2), ("gda", 0.2), ("zero-shot", 0.2)), "zero-shot"),
        ((("bayes", 0.2), ("gda", 0.2003), ("zero-shot", 0.9)), "gda"),
        ((("bayes", 0.2), ("gda", 0.21)), "bayes"),
        ((("mine", 0.2), ("bayes", 0.2)), "bayes"),
        ((("tip-adapter-f", 0.2), ("tip-adapter", 0.2)), "tip-adapter"),
    ],
)
def test_of_tied_methods_the_simplest_is_recommended(tmp_path, methods, best):
    """Those that are printed alike; the draws have no noise here."""
    assert recommend(write_results(tmp_path, known(methods=methods))).method == best


@pytest.mark.parametrize(("last", "best"), [(0.009, "gda"), (0.014, "bayes")])
def test_a_tie_is_within_one_standard_error_of_the_paired_differences(tmp_path, last, best):
    """Means 0.0048 and 0.0060; standard errors 0.0049 and 0.0054."""
    rows = [row("bayes", seed=seed, nll=0.2) for seed in range(4)]
    rows += [row("gda", seed=s, nll=0.2 + d) for s, d in enumerate((0.01, 0.01, -0.01, last))]
    found = recommend(write_results(tmp_path, rows))
    assert found.method == best
    if best == "bayes":
        assert "  the smallest log-loss at 1 shots per class, mean of 4 draws" in found.text()
    else:
        own = f"{0.2 + (0.01 + last) / 4:.3f}"  # as its draws have it
        assert (
            "  the simplest within one standard error (0.0005 at least) of the smallest log-loss "
            f"at 1 shots per class: its own is {own}, the smallest 0.200 of BayesAdapter, mean of 4"
        ) in found.text()


def test_what_ten_more_labels_bring_is_no_bound(tmp_path):
    """Nothing promises that gains do not grow."""
    said = recommend(write_results(tmp_path, known())).sentences()[-1]
    assert "would bring about" in said
    assert "at most" not in said


CHANCE = {"n_classes": 4, "largest_class": 0.25, "n_test": 100}


def test_what_is_not_better_than_guessing_is_not_recommended(tmp_path):
    """By log-loss, or by accuracy; chance with four classes is log 4 and a quarter."""
    rows = [row("bayes", nll=1.2, accuracy=0.2, **CHANCE)]
    rows += [row("gda", nll=1.4, accuracy=0.6, **CHANCE)]
    found = recommend(write_results(tmp_path, rows))
    assert not found.better_than_guessing
    assert "Method: none. At 1 shots per class no method is better than guessing." in found.text()
    assert "Guessing: accuracy 25.0 %, log-loss 1.386" in found.text()
    assert "fit(" not in found.text()
    rows += [row("clap", nll=1.3, accuracy=0.3, **CHANCE)]
    found = recommend(write_results(tmp_path, rows))
    assert (found.method, found.better_than_guessing) == ("clap", True)


def test_the_commonest_class_is_named_where_it_is_as_good(tmp_path):
    rows = [row("bayes", nll=0.3, accuracy=0.88, n_classes=2, largest_class=0.9, n_test=100)]
    text = recommend(write_results(tmp_path, rows)).text()
    assert "Method: BayesAdapter" in text
    assert "always naming the commonest class is right for 90.0 % of the test rows" in text


def test_labels_without_meaning_are_not_recommended_for(tmp_path):
    """Texts and rows that know nothing of each other."""
    rng = np.random.default_rng(0)
    arrays = {"text_features": rng.normal(size=(4, 16))}
    for split in ("train", "test"):
        arrays[f"{split}_features"] = rng.normal(size=(200, 16))
        arrays[f"{split}_labels"] = rng.integers(4, size=200)
    np.savez(tmp_path / "noise.npz", **arrays, logit_scale=100.0)
    methods = ("zero-shot", "tip-adapter", "gda")
    table = {"features": str(tmp_path / "noise.npz")}
    run([table], tmp_path / "out", methods=methods, shots=(1, 2), seeds=(1, 2), verbose=0)
    assert "no method is better than guessing" in recommend(tmp_path / "out").text()


def test_one_draw_says_nothing_about_certainty(tmp_path):
    rows = [row("bayes", shots, accuracy=0.8) for shots in (1, 2)]
    text = recommend(write_results(tmp_path, rows)).text()
    assert "One draw does not say how certain that is." in text
    assert "±" not in text.replace("mean of draws ± half of its 95 % interval", "")


def test_a_method_that_lacks_a_data_set_is_not_recommended(tmp_path):
    rows = known() + [r for r in known(dataset="bees", support="train") if r["method"] != "bayes"]
    found = recommend(write_results(tmp_path, rows))
    assert (found.method, found.n_datasets) == ("gda", 2)


def test_the_better_backbone_is_recommended(tmp_path):
    rows = known(backbone="RN50 openai") + known(
        backbone="ViT-B-16 openai", methods=(("gda", 0.1), ("bayes", 0.15))
    )
    found = recommend(write_results(tmp_path, rows))
    assert (found.method, found.backbone) == ("gda", "ViT-B-16 openai")
    assert 'CLIPFeaturizer("ViT-B-16", pretrained="openai")' in found.code
    assert "GaussianDAClassifier(ClassPrompts(clip))" in found.code


@pytest.mark.parametrize("method", METHODS)
def test_the_code_is_three_lines_of_python(tmp_path, method):
    write_results(tmp_path, [row(method)])
    for given in ({}, {"pretrained": "local-dir:x", "templates": "a {}."}):
        code = recommend(tmp_path, **given).code
        compile(code, "code", "exec")
        assert len(code.splitlines()) == 3
        assert METHODS[method].estimator in code


def test_a_method_of_the_users_own_is_said_to_be_so(tmp_path):
    found = recommend(write_results(tmp_path, [row("mine")]))
    assert re.match("# mine is a method of your own", found.code)
