"""From images to a fitted pipeline: what is learned from, what is measured, what is said."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.metrics import accuracy_score, log_loss

from skclip import (
    BayesAdapterClassifier,
    ClassPrompts,
    CLIPFeaturizer,
    SelectiveClassifier,
    load,
    save,
)
from skclip.cli import main
from skclip.datasets import save_digits_images, tiny_clip
from skclip.exceptions import DatasetError, GuaranteeWarning, ImageError, LeftOutWarning
from skclip.features import read_embeddings
from skclip.metrics import expected_calibration_error
from skclip.persistence import model_card
from skclip.workflow import check_dataset, fit_dataset, write_page

MODEL = {"pretrained": tiny_clip(), "device": "cpu"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Ten classes of twelve turned digits; some of each as test in another folder."""
    folder = tmp_path_factory.mktemp("digits")
    paths, _ = save_digits_images(folder / "plain", n_per_class=12, shift="rotated")
    for i, path in enumerate(paths):
        target = folder / "split" / ("test" if i // 10 % 2 else "train") / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


@pytest.fixture(scope="module")
def fitted(digits):
    return fit_dataset(digits / "split", **MODEL)


def test_a_test_split_is_measured_and_not_learned_from(digits, fitted):
    """By what the estimators say when they are called one by one."""
    assert fitted.measured.how == "the split test"
    assert all("/train/" in path for path in fitted.train)
    assert all("/test/" in path for path in fitted.measured.paths)
    clip = CLIPFeaturizer(**MODEL)
    classifier = BayesAdapterClassifier(ClassPrompts(clip))
    classifier.fit(clip.transform(fitted.train), fitted.y_train)
    proba = classifier.predict_proba(clip.transform(fitted.measured.paths))
    np.testing.assert_allclose(fitted.measured.proba, proba, atol=1e-6)
    np.testing.assert_allclose(
        fitted.pipeline.predict_proba(list(fitted.measured.paths)), proba, atol=1e-4
    )


def test_metrics_are_those_of_the_predictions_with_intervals(fitted):
    measured = fitted.measured
    found = measured.metrics["adapted"]
    predicted = measured.labels[measured.proba.argmax(axis=1)]
    assert found["accuracy"].value == accuracy_score(measured.y, predicted)
    assert found["log_loss"].value == pytest.approx(log_loss(measured.y, measured.proba))
    ece = expected_calibration_error(measured.y, measured.proba)
    assert found["expected_calibration_error"].value == pytest.approx(ece)
    assert all(value.low < value.value < value.high for value in found.values())
    text = fitted.text()
    assert f"{100 * found['accuracy'].value:.1f} [" in text
    assert "On the split test (60 images):" in text
    assert "class names do not help" not in text


def test_every_class_is_told_whether_adapting_beat_the_prompts(fitted):
    measured = fitted.measured
    codes = np.searchsorted(measured.labels, measured.y)
    every = np.arange(len(codes))
    logs = np.log(measured.proba[every, codes]) - np.log(measured.zero_shot_proba[every, codes])
    for code, gain in enumerate(measured.gains):
        assert gain.log_gain == pytest.approx(logs[codes == code].mean(), abs=1e-9)
        assert gain.n_images == np.count_nonzero(codes == code)
        expected = "better" if gain.log_gain > 0 else "worse"
        if abs(gain.log_gain) <= gain.half_width:
            expected = "not to be told apart"
        if gain.n_images < 5:
            expected = "too few to tell"
        assert gain.verdict == expected
    assert f"by class: {sum(g.verdict == 'better' for g in measured.gains)} better" in fitted.text()


def test_without_a_test_split_every_image_is_predicted_by_folds_that_have_not_seen_it(digits):
    """Probabilities of its label are lower than of a classifier that was fitted on it."""
    report = fit_dataset(digits / "plain", **MODEL)
    assert len(report.measured.y) == 120
    assert report.measured is report.left_out
    assert len(report.train) == 120
    codes = np.searchsorted(report.measured.labels, report.measured.y)
    seen = report.pipeline.predict_proba(list(report.measured.paths))
    every = np.arange(120)
    assert np.log(report.measured.proba[every, codes]).mean() < np.log(seen[every, codes]).mean()
    assert "held out in turn, in 5 parts" in report.text()


def test_copies_do_not_make_numbers_better(digits, tmp_path):
    """Every image is there twice, the second time saved anew: both are in one fold."""
    from PIL import Image

    shutil.copytree(digits / "plain", tmp_path / "twice")
    for path in sorted((tmp_path / "twice").glob("*/*.png")):
        with Image.open(path) as image:
            image.save(path.with_name(f"again {path.name}"), compress_level=1)
    check = check_dataset(tmp_path / "twice")
    groups = check.groups(check.usable().train.paths)
    assert len(set(groups)) <= 120
    once = fit_dataset(digits / "plain", **MODEL).measured.metrics["adapted"]["log_loss"]
    twice = fit_dataset(check, **MODEL).measured.metrics["adapted"]["log_loss"]
    assert twice.value > once.value - 0.05


def test_a_wrong_label_is_found_in_the_support(digits, tmp_path):
    shutil.copytree(digits / "plain", tmp_path / "wrong")
    moved = sorted((tmp_path / "wrong" / "seven").iterdir())[0]
    moved.rename(tmp_path / "wrong" / "zero" / moved.name)
    report = fit_dataset(tmp_path / "wrong", **MODEL)
    found = {path.split("/")[-1]: taken for path, _, taken, _ in report.label_errors}
    assert found[moved.name] == "seven"
    assert "Labels that the classifier doubts, the" in report.text()


def test_a_classifier_that_is_often_wrong_lists_no_labels(digits, tmp_path):
    """Names in which the model does not know its digits, and labels that mean nothing."""
    rng = np.random.default_rng(0)
    paths = sorted((digits / "plain").glob("*/*.png"))
    labels = rng.choice(["oak", "beech", "ash"], len(paths))
    rows = [f"{path},{label}" for path, label in zip(paths, labels, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *rows]))
    report = fit_dataset(tmp_path / "table.csv", **MODEL)
    text, page = report.text(), write_page(report, tmp_path / "page.html").read_text()
    assert report.label_errors == []
    for said in (text, page):
        assert "The class names do not help this model" in said
        assert "Labels that the classifier doubts are not listed" in said


@pytest.mark.parametrize("goal", [{"target_risk": 0.3}, {"coverage": 0.8}, {"threshold": 0.7}])
def test_a_threshold_is_chosen_on_images_that_were_not_learned_from(digits, goal):
    report = fit_dataset(digits / "plain", **MODEL, **goal)
    last = report.pipeline[-1]
    assert isinstance(last, SelectiveClassifier)
    assert last.n_calibration_ == (0 if "threshold" in goal else 60)
    assert f"It abstains below a confidence of {last.threshold_:.3f}" in report.text()
    if "coverage" in goal:
        assert 0.75 < last.calibration_score_.coverage <= 0.9


def test_what_is_said_is_true_of_the_classifier_that_is_saved(digits, tmp_path):
    """Half of the images choose the threshold: it learned from the others, and they are counted."""
    report = fit_dataset(digits / "plain", **MODEL, coverage=0.8)
    saved = report.pipeline[-1].estimator_
    assert len(report.train) == len(set(report.train)) == 60
    again = BayesAdapterClassifier(saved.prototypes)
    again.fit(CLIPFeaturizer(**MODEL).transform(report.train), report.y_train)
    np.testing.assert_allclose(saved.coef_, again.coef_, atol=1e-4)
    said = "Fitted on 60 images of 10 classes. 60 others chose the threshold"
    assert report.text().startswith(said)
    page = write_page(report, tmp_path / "page.html").read_text()
    assert said in page
    assert "A classifier of more of these images recognises" in page
    assert "classifiers that learned from images of both kinds" in report.text()
    whole = fit_dataset(digits / "plain", **MODEL, threshold=0.5)
    assert whole.text().startswith("Fitted on 120 images of 10 classes.\n")


def test_where_no_threshold_is_certified_this_is_said_in_words_of_the_command(digits):
    with pytest.warns(GuaranteeWarning) as caught:
        report = fit_dataset(digits / "plain", **MODEL, target_risk=0.01)
    said = [str(warning.message) for warning in caught]
    assert len(said) == 1
    assert said[0].startswith("The classifier abstains from everything: no threshold is certain")
    text = report.text()
    assert "It abstains from everything: no threshold is certain (at 95%) to leave" in text
    assert "at least 299, all classified rightly, are needed" in text
    assert not any(word in text + said[0] for word in ("inf", "confidence_level", "target_risk"))


def test_on_a_test_split_numbers_are_those_of_the_classifier_that_is_saved(digits, fitted):
    report = fit_dataset(digits / "split", **MODEL, coverage=0.8)
    proba = report.pipeline.predict_proba(list(report.measured.paths))
    np.testing.assert_allclose(report.measured.proba, proba, atol=1e-4)
    assert np.abs(report.measured.proba - fitted.measured.proba).max() > 0.01
    assert "of both kinds" not in report.text()


def test_a_class_without_images_keeps_its_text(digits, tmp_path):
    shutil.copytree(digits / "plain", tmp_path / "lacking")
    shutil.rmtree(tmp_path / "lacking" / "nine")
    (tmp_path / "lacking" / "nine").mkdir()
    report = fit_dataset(tmp_path / "lacking", **MODEL)
    assert list(report.pipeline.classes_) == sorted(report.pipeline.classes_)
    nines = sorted((digits / "plain" / "nine").iterdir())
    assert (report.pipeline.predict(nines) == "nine").mean() > 0.3


def test_one_image_of_each_class_is_fitted_and_not_measured(tmp_path):
    save_digits_images(tmp_path, n_per_class=1)
    report = fit_dataset(tmp_path, **MODEL)
    assert report.measured is None
    assert "Nothing could be held out" in report.text()


def test_what_cannot_be_fitted_is_an_error(digits, tmp_path):
    (tmp_path / "one" / "zero").mkdir(parents=True)
    path = sorted((digits / "plain" / "zero").iterdir())[0]
    shutil.copy(path, tmp_path / "one" / "zero")
    with pytest.raises(DatasetError, match="needs two classes at least; got 'zero'"):
        fit_dataset(tmp_path / "one", **MODEL)
    with pytest.raises(ValueError, match="At most one of target_risk, coverage and threshold"):
        fit_dataset(digits / "plain", **MODEL, coverage=0.5, threshold=0.5)
    shutil.copytree(digits / "plain", tmp_path / "broken")
    (tmp_path / "broken" / "zero" / "x.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1 are not: zero/x.png"):
        fit_dataset(tmp_path / "broken", **MODEL)
    assert len(fit_dataset(tmp_path / "broken", **MODEL, on_error="skip").train) == 120


def test_embedded_images_are_fitted_without_reading_them_again(digits, tmp_path, monkeypatch):
    """Labels are the folders of the paths; the model is that of the embeddings."""
    command = ["embed", str(digits / "split"), "--pretrained", tiny_clip(), "--quiet"]
    assert main([*command, "--out", str(tmp_path / "features")]) == 0
    expected = fit_dataset(digits / "split", **MODEL)

    def refuse(*arguments):
        raise AssertionError("an image was read")

    monkeypatch.setattr(CLIPFeaturizer, "transform", refuse)
    report = fit_dataset(tmp_path / "features")
    monkeypatch.undo()
    # Features differ by their rounding, and fits end within 1e-5 nats a row of the optimum.
    np.testing.assert_allclose(report.measured.proba, expected.measured.proba, atol=2e-3)
    with pytest.raises(DatasetError, match="The model must be that of the embeddings"):
        fit_dataset(tmp_path / "features", model="ViT-B-32", pretrained="openai")
    lines = (tmp_path / "features" / "paths.txt").read_text().splitlines()
    (tmp_path / "features" / "paths.txt").write_text("\n".join([*lines[::-1], ""]))
    with pytest.raises(ValueError, match=r"paths.txt must name the image of every row"):
        fit_dataset(tmp_path / "features")


@pytest.mark.parametrize("draft", [True, False])
def test_images_are_predicted_as_embedded_ones_were_decoded(draft, tmp_path):
    """At a fraction of their size or whole; the saved pipeline and its card say which."""
    for name, picture in zip("ab", load_sample_images().images, strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for x in range(0, 320, 40):
            crop = Image.fromarray(picture[:320, x : x + 320])
            crop.save(tmp_path / "photos" / name / f"{x:03d}.jpg", quality=95)
    command = ["embed", str(tmp_path / "photos"), "--pretrained", tiny_clip(), "--quiet"]
    command += ["--jpeg-draft"] * draft
    assert main([*command, "--out", str(tmp_path / "features")]) == 0
    pipeline = fit_dataset(tmp_path / "features").pipeline
    embeddings = read_embeddings(tmp_path / "features")
    save(pipeline, tmp_path / "classifier.safetensors")
    loaded = load(tmp_path / "classifier.safetensors")
    for found in (pipeline, loaded):
        features = found[0].set_params(device="cpu").transform(embeddings.paths)
        np.testing.assert_allclose(features, embeddings.features, rtol=0, atol=5e-6)
    assert ("jpeg_draft=True" in model_card(loaded)) == draft


def test_copies_among_embedded_images_take_no_part(digits, tmp_path):
    """In one class, in two classes, and of what is learned from in what is measured."""
    photos = tmp_path / "photos"
    shutil.copytree(digits / "split", photos)
    first, second = (sorted((photos / "train" / c).iterdir())[0] for c in ("zero", "one"))
    shutil.copy(first, photos / "train" / "zero" / "again.png")
    shutil.copy(second, photos / "train" / "two" / "another.png")
    shutil.copy(first, photos / "test" / "zero" / "leak.png")
    command = ["embed", str(photos), "--pretrained", tiny_clip(), "--quiet"]
    assert main([*command, "--out", str(tmp_path / "features")]) == 0
    with pytest.warns(LeftOutWarning, match="should be there once; 4 are left out"):
        report = fit_dataset(tmp_path / "features")
    checked = fit_dataset(photos, **MODEL)
    assert {Path(p).name for p in report.train} == {Path(p).name for p in checked.train}
    names = [f"{Path(p).parent.name}/{Path(p).name}" for p in report.measured.paths]
    assert "zero/leak.png" not in names
    assert len(names) == len(checked.measured.paths)
