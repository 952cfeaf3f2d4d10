"""The contract of CLIPFeaturizer; scikit-learn's common checks test one point of it."""

import pickle
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import open_clip
import pandas as pd
import pytest
import sklearn
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted

from skclip.backbones import BackboneConfig, clear_backbones, get_backbone
from skclip.backbones import registry as registry_module
from skclip.datasets import tiny_clip
from skclip.exceptions import BackboneError, ImageError
from skclip.features import CLIPFeaturizer, image_encoding

# A batch of another size, or weights that record gradients, sum in another order: some units
# in the last place of float32, 1.2e-7, through two layers of sums of up to 192 terms of order 1.
ROUNDING = 5e-6


@pytest.fixture
def featurizer(small_clip):
    return CLIPFeaturizer(small_clip, device="cpu", batch_size=7)


@pytest.fixture
def no_loading(monkeypatch):
    """Loading a model fails the test."""

    def load(*args, **kwargs):
        raise AssertionError("a model was loaded")

    clear_backbones()
    monkeypatch.setattr(registry_module, "load_backbone", load)


def test_sklearn_common_checks():
    """For a transformer of images there is next to none; the rest of this file is the contract."""
    with pytest.warns(SkipTestWarning, match="Can't test estimator CLIPFeaturizer which requires"):
        checks = list(estimator_checks_generator(CLIPFeaturizer()))
    assert checks
    for estimator, check in checks:
        check(estimator)


# The numbers


def test_features_equal_a_loop_over_bare_open_clip(featurizer, pixels, open_clip_loop):
    raw = open_clip_loop([Image.fromarray(image) for image in pixels])
    featurizer.set_params(normalize=False)
    np.testing.assert_allclose(featurizer.transform(pixels), raw, rtol=0, atol=ROUNDING)


def test_features_of_the_shipped_model_equal_a_loop_over_bare_open_clip(pixels):
    from skclip.datasets import tiny_clip

    model, preprocess = open_clip.create_model_from_pretrained(tiny_clip())
    with torch.no_grad():
        batch = torch.stack([preprocess(Image.fromarray(image)) for image in pixels])
        raw = model.eval().encode_image(batch).numpy()
    features = CLIPFeaturizer(tiny_clip(), device="cpu", normalize=False).transform(pixels)
    # Rounding as above, relative to the size of these trained features.
    np.testing.assert_allclose(features, raw, rtol=0, atol=ROUNDING * np.abs(raw).max())


def test_rows_have_unit_length_by_default(featurizer, pixels, open_clip_loop):
    raw = open_clip_loop([Image.fromarray(image) for image in pixels])
    features = featurizer.transform(pixels)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=0, atol=1e-6)
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(features, expected, rtol=0, atol=ROUNDING)


def test_features_are_float32_rows_in_c_order(featurizer, pixels):
    features = featurizer.transform(pixels)
    assert features.dtype == np.float32
    assert features.shape == (40, 16)
    assert features.flags.c_contiguous


def test_all_kinds_of_input_give_the_same_features(featurizer, pixels, paths):
    """PNG files lose nothing, so that equality is exact."""
    expected = featurizer.transform(pixels)
    mixed = [pixels[0], paths[1], str(paths[2]), *map(Image.fromarray, pixels[3:])]
    table = pd.DataFrame({"path": [str(path) for path in paths]})
    for X in (paths, np.array(paths), list(pixels), mixed, table, table["path"]):
        np.testing.assert_array_equal(featurizer.transform(X), expected)


def test_the_number_of_jobs_changes_nothing(featurizer, paths):
    expected = featurizer.transform(paths)
    for n_jobs in (2, 5, -1):
        featurizer.set_params(n_jobs=n_jobs)
        np.testing.assert_array_equal(featurizer.transform(paths), expected)


def test_the_batch_size_changes_rounding_only(featurizer, pixels):
    expected = featurizer.transform(pixels)
    for batch_size in (1, 40, 1000):
        features = featurizer.set_params(batch_size=batch_size).transform(pixels)
        np.testing.assert_allclose(features, expected, rtol=0, atol=ROUNDING)


def test_order_is_kept_when_decoding_finishes_out_of_order(featurizer, pixels, monkeypatch):
    """The first image of each batch takes longest."""
    expected = featurizer.transform(pixels)
    calls, open_item = iter(range(1000)), image_encoding.open_item

    def slow_open(item, max_pixels):
        time.sleep(0.02 if next(calls) % 7 == 0 else 0)
        return open_item(item, max_pixels)

    monkeypatch.setattr(image_encoding, "open_item", slow_open)
    featurizer.set_params(n_jobs=4)
    np.testing.assert_array_equal(featurizer.transform(pixels), expected)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_low_precision_gives_float32_features_in_the_same_direction(featurizer, pixels, precision):
    full = featurizer.transform(pixels)
    low = clone(featurizer).set_params(precision=precision).transform(pixels)
    assert low.dtype == np.float32
    assert (full * low).sum(axis=1).min() > 0.99


# Text, scale and size


TEXTS = ["a photo of a cat.", "a photo of a dog."]


def test_texts_are_encoded_as_open_clip_encodes_them(featurizer, small_clip):
    model, _ = open_clip.create_model_from_pretrained(small_clip)
    with torch.no_grad():
        raw = model.eval().encode_text(open_clip.get_tokenizer(small_clip)(TEXTS)).numpy()
    np.testing.assert_allclose(
        featurizer.encode_text(TEXTS, normalize=False), raw, rtol=0, atol=ROUNDING
    )
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(featurizer.encode_text(TEXTS), unit, rtol=0, atol=ROUNDING)


def test_normalize_none_follows_the_parameter(featurizer):
    raw = featurizer.encode_text(TEXTS, normalize=False)
    unit = featurizer.encode_text(TEXTS, normalize=True)
    assert not np.allclose(raw, unit)
    np.testing.assert_array_equal(featurizer.encode_text(TEXTS), unit)
    featurizer.set_params(normalize=False)
    np.testing.assert_array_equal(featurizer.encode_text(TEXTS), raw)


def test_scale_bias_and_size_come_from_the_model(featurizer):
    """open_clip starts the scale at 1 / 0.07, which the saved model still has."""
    assert featurizer.logit_scale_ == pytest.approx(1 / 0.07, rel=1e-6)
    assert featurizer.logit_bias_ is None
    assert featurizer.embedding_dim_ == 16


def test_an_attribute_that_cannot_be_read_says_why():
    """An AttributeError would be taken for an attribute that does not exist."""
    featurizer = CLIPFeaturizer("local-dir:/nowhere")
    for name in ("logit_scale_", "logit_bias_", "embedding_dim_"):
        with pytest.raises(BackboneError, match="must be followed by an existing folder"):
            getattr(featurizer, name)


# Laziness: a featurizer is a few strings until an image comes


def test_nothing_is_loaded_before_the_first_image(no_loading, small_clip, paths):
    featurizer = CLIPFeaturizer(small_clip)
    featurizer.fit(paths)
    copy = pickle.loads(pickle.dumps(clone(featurizer)))
    assert "CLIPFeaturizer" in repr(make_pipeline(copy, LogisticRegression()))
    check_is_fitted(featurizer)
    assert featurizer.embedding_dim_ == 16
    assert len(featurizer.get_feature_names_out()) == 16
    with pytest.raises(AssertionError, match="a model was loaded"):
        featurizer.transform(paths)


def test_showing_it_in_a_notebook_loads_nothing(no_loading, small_clip):
    """scikit-learn's display reads all properties; after 1.8 it shows the features' names too."""
    shows_names = not sklearn.__version__.startswith("1.8.")
    for shown in (CLIPFeaturizer(small_clip), make_pipeline(CLIPFeaturizer(small_clip))):
        html = estimator_html_repr(shown)
        assert "local-dir:" in html
        assert ("clipfeaturizer15" in html) == shows_names


def test_showing_it_in_a_notebook_works_without_a_model():
    assert "CLIPFeaturizer" in estimator_html_repr(CLIPFeaturizer("local-dir:/nowhere"))


def test_unusable_input_is_refused_before_the_model_is_loaded(no_loading, small_clip):
    featurizer = CLIPFeaturizer(small_clip)
    for X in ("a.png", [], [None], ["nowhere.png"], np.zeros((2, 4, 4))):
        with pytest.raises(ImageError):
            featurizer.transform(X)


def test_a_pickle_holds_parameters_only(featurizer, pixels):
    expected = featurizer.fit_transform(pixels)
    pickled = pickle.dumps(featurizer)
    assert len(pickled) < 2000
    np.testing.assert_array_equal(pickle.loads(pickled).transform(pixels), expected)


def test_clones_and_copies_share_one_backbone(featurizer, pixels):
    featurizer.transform(pixels)
    config = BackboneConfig(featurizer.model, device="cpu")
    backbone = get_backbone(config)
    for copy in (clone(featurizer), pickle.loads(pickle.dumps(featurizer))):
        assert get_backbone(copy.backbone_config()) is backbone


def test_the_model_is_used_in_evaluation_mode_without_gradients(featurizer):
    model = get_backbone(featurizer.backbone_config()).model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


WORKER = """
import pickle, sys
from skclip.features import CLIPFeaturizer
featurizer, X = pickle.load(sys.stdin.buffer)
loaded = [name for name in ("open_clip", "torchvision", "timm") if name in sys.modules]
pickle.dump((loaded, featurizer.transform(X)), sys.stdout.buffer)
"""


def test_a_worker_process_gives_the_same_features(featurizer, pixels):
    """A process that gets the pickle loads the model for itself, and open_clip only then."""
    out = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=pickle.dumps((featurizer, pixels[:3])),
        capture_output=True,
        check=True,
    )
    loaded, features = pickle.loads(out.stdout)
    assert loaded == []
    np.testing.assert_allclose(features, featurizer.transform(pixels[:3]), rtol=0, atol=ROUNDING)


# scikit-learn


def test_transform_works_unfitted_and_fit_changes_nothing(featurizer, pixels):
    expected = featurizer.transform(pixels)
    before = dict(vars(featurizer))
    assert featurizer.fit(pixels, np.zeros(40)) is featurizer
    assert vars(featurizer) == before
    np.testing.assert_array_equal(featurizer.fit_transform(pixels), expected)


def test_it_works_in_a_pipeline(featurizer, paths, kinds):
    """Even random weights tell stripes from rows."""
    pipe = make_pipeline(featurizer, LogisticRegression(C=100))
    pipe.fit(paths[:20], kinds[:20])
    assert pipe.score(paths[20:], kinds[20:]) == 1
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(pipe)).predict(paths), pipe.predict(paths)
    )


def test_an_unfitted_pipeline_is_not_taken_for_fitted(featurizer, paths):
    with pytest.raises(NotFittedError):
        make_pipeline(featurizer, LogisticRegression()).predict(paths)


def test_its_parameters_can_be_searched(featurizer, paths, kinds):
    pipe = make_pipeline(featurizer, LogisticRegression())
    grid = {"clipfeaturizer__normalize": [True, False], "logisticregression__C": [1, 100]}
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(paths, kinds)
    assert search.best_score_ > 0.9


def test_pandas_output_has_names_and_the_index_of_the_input(featurizer, paths):
    featurizer.set_output(transform="pandas")
    table = pd.DataFrame({"path": [str(path) for path in paths]}, index=np.arange(40) + 100)
    features = featurizer.transform(table)
    assert list(features.columns) == [f"clipfeaturizer{i}" for i in range(16)]
    np.testing.assert_array_equal(features.columns, featurizer.get_feature_names_out())
    np.testing.assert_array_equal(features.index, table.index)
    assert (features.dtypes == np.float32).all()
    assert isinstance(featurizer.transform(paths), pd.DataFrame)


def test_joblib_runs_it_in_threads(featurizer, pixels):
    expected = featurizer.transform(pixels)
    halves = joblib.Parallel(n_jobs=2, prefer="threads")(
        joblib.delayed(clone(featurizer).transform)(part) for part in (pixels[:21], pixels[21:])
    )
    np.testing.assert_allclose(np.concatenate(halves), expected, rtol=0, atol=ROUNDING)


def test_n_jobs_follows_the_joblib_context(featurizer, pixels, monkeypatch):
    seen = []

    def spy(*args, n_jobs, **kwargs):
        seen.append(n_jobs)
        yield from ()

    monkeypatch.setattr(image_encoding, "_ordered_map", spy)
    featurizer.transform(pixels)
    with joblib.parallel_config(n_jobs=3):
        featurizer.transform(pixels)
    assert seen == [1, 3]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("model", 3),
        ("pretrained", 3),
        ("precision", "fp64"),
        ("batch_size", 0),
        ("batch_size", "automatic"),
        ("max_pixels", 0),
        ("cache_dir", 3),
        ("cache_limit", -1),
        ("n_jobs", "all"),
        ("normalize", "yes"),
        ("on_error", "skip"),
        ("allow_random_weights", "yes"),
        ("verbose", -1),
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform", "encode_text"])
def test_wrong_parameters_are_named(no_loading, small_clip, parameter, value, method):
    featurizer = CLIPFeaturizer(small_clip).set_params(**{parameter: value})
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of CLIPFeaturizer must be "):
        getattr(featurizer, method)(["a"])


# Models


def test_a_model_must_be_named(pixels):
    with pytest.raises(BackboneError, match="A CLIP model must be named; got model=None and pret"):
        CLIPFeaturizer().transform(pixels)


def test_random_weights_are_refused_unless_asked_for(small_clip, tmp_path, pixels):
    config = Path(small_clip.removeprefix("local-dir:")) / "open_clip_config.json"
    (tmp_path / config.name).write_text(config.read_text())
    featurizer = CLIPFeaturizer(f"local-dir:{tmp_path}")
    with pytest.raises(BackboneError, match="A 'local-dir:' folder must hold trained weights"):
        featurizer.transform(pixels)
    featurizer.set_params(allow_random_weights=True)
    with pytest.warns(UserWarning, match="has random weights: its features carry no meaning."):
        features = featurizer.transform(pixels)
    assert np.isfinite(features).all()


def test_pretrained_may_be_a_path_or_the_folder(small_clip, pixels, monkeypatch):
    config = open_clip.get_model_config(small_clip)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", config)
    file = Path(small_clip.removeprefix("local-dir:")) / "open_clip_model.safetensors"
    expected = CLIPFeaturizer(small_clip).transform(pixels)
    for names in ((None, small_clip), ("small", small_clip)):
        np.testing.assert_array_equal(CLIPFeaturizer(*names).transform(pixels), expected)
    with pytest.raises(BackboneError, match="The preprocessing must be the one that the weights"):
        CLIPFeaturizer("small", file).transform(pixels)


# Images that cannot be read


@pytest.fixture
def broken(paths, tmp_path):
    """Forty items of which the third, the fifth and the last three cannot be read."""
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    items = list(paths)
    items[2], items[4] = text, tmp_path
    items[-3:] = [None, float("nan"), "nowhere.png"]
    return items


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_an_unreadable_file_stops_the_job_and_is_named(featurizer, paths, tmp_path, n_jobs):
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    items = [*paths[:9], text, *paths[10:]]
    with pytest.raises(ImageError) as info:
        featurizer.set_params(n_jobs=n_jobs).transform(items)
    assert str(info.value).startswith(
        f"Every item of X must be readable as an image; item 9 ({str(text)!r}): "
        "UnidentifiedImageError: cannot identify image file"
    )
    assert str(info.value).endswith("or pass on_error='nan' to give them NaN features.")
    assert not [t for t in threading.enumerate() if t.name.startswith("skclip-decode")]


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_unreadable_images_become_rows_of_nan(featurizer, paths, broken, n_jobs):
    expected = featurizer.transform(paths)
    featurizer.set_params(on_error="nan", n_jobs=n_jobs)
    message = "5 of 40 images cannot be read and have NaN features: item 2 .*; item 39 .'nowhere"
    with pytest.warns(UserWarning, match=message):
        features = featurizer.transform(broken)
    bad = np.isin(np.arange(40), [2, 4, 37, 38, 39])
    assert np.isnan(features[bad]).all()
    np.testing.assert_allclose(features[~bad], expected[~bad], rtol=0, atol=ROUNDING)


def test_the_warning_names_at_most_five(featurizer, paths):
    featurizer.set_params(on_error="nan")
    with pytest.warns(UserWarning, match=r"item 4 \(NoneType\): there is no image and 2 more\."):
        features = featurizer.transform([None] * 7)
    assert features.shape == (7, 16)
    assert np.isnan(features).all()


def test_on_error_nan_is_silent_when_all_is_well(featurizer, pixels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        featurizer.set_params(on_error="nan").transform(pixels)


# Scale


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_images_are_decoded_as_they_are_needed(featurizer, n_jobs):
    """A million paths must not be decoded at once: two batches at most are ahead of the model."""

    class Lazy:
        asked, encoded, ahead = 0, 0, 0

        def __len__(self):
            return 200

        def __getitem__(self, i):
            self.asked += 1
            self.ahead = max(self.ahead, self.asked - self.encoded)
            return np.full((8, 8), i, dtype=np.uint8)  # equal images would be encoded once

    images = Lazy()
    backbone = get_backbone(featurizer.backbone_config())

    class Counting:
        embedding_dim, image_size, most = backbone.embedding_dim, backbone.image_size, None
        prepare, stack = staticmethod(backbone.prepare), staticmethod(backbone.stack)

        def encode_images(self, batch):
            rows = backbone.encode_images(batch)
            images.encoded += len(batch)
            return rows

    features = image_encoding.encode_images(
        images, Counting(), batch_size=7, n_jobs=n_jobs, on_error="raise", verbose=0
    ).features
    assert features.shape == (200, 16)
    assert images.asked == 200
    assert images.ahead <= 2 * 7 + n_jobs


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_next_batch_is_decoded_while_the_model_runs(featurizer, pixels, n_jobs, monkeypatch):
    """The model waits for the first image after its batch, which nobody would read in turns."""
    read = threading.Event()

    class Watched(Pairs):
        def __getitem__(self, i):
            if i == 7:
                read.set()
            return self.items[i]

    backbone = get_backbone(featurizer.backbone_config())
    encode, overlaps = backbone.model.encode_image, []

    def wait_and_encode(images, normalize):
        overlaps.append(read.wait(30))
        return encode(images, normalize=normalize)

    monkeypatch.setattr(backbone.model, "encode_image", wait_and_encode)
    featurizer.set_params(batch_size=7, n_jobs=n_jobs).transform(Watched(pixels[:14]))
    assert overlaps == [True, True]


def test_a_batch_size_that_does_not_fit_is_halved_once(featurizer, pixels, monkeypatch, caplog):
    """A GPU that holds two images: after the first batch no other fails."""
    expected = featurizer.transform(pixels)
    backbone = get_backbone(featurizer.backbone_config())
    encode = backbone.model.encode_image

    def small_gpu(images, normalize):
        if len(images) > 2:
            raise torch.OutOfMemoryError("full")
        return encode(images, normalize=normalize)

    monkeypatch.setattr(backbone, "most", None)
    monkeypatch.setattr(backbone.model, "encode_image", small_gpu)
    features = featurizer.transform(pixels)
    np.testing.assert_allclose(features, expected, rtol=0, atol=ROUNDING)
    assert caplog.text.count("out of memory with a batch of 7; trying 3") == 1
    assert backbone.most == 1  # seven, then three and four; three is one and two


def test_progress_is_shown_when_asked_for(featurizer, pixels, capsys):
    featurizer.transform(pixels)
    assert capsys.readouterr().err == ""
    featurizer.set_params(verbose=1).transform(pixels)
    assert "40/40" in capsys.readouterr().err


class Pairs:
    """What torch calls a data set: nothing is read before it is asked for."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("on_error", ["raise", "nan"])
@pytest.mark.parametrize(
    ("item", "remedy"),
    [
        (("a.png", 3), r"got item 2 \(tuple\). Pass paths .* alone, without labels: for pairs "),
        (["a.png", 3], r"got item 2 \(list\). Pass paths .* alone, without labels: for pairs "),
        ({"image": "a.png"}, r"got item 2 \(dict\). Pass the images alone, such as X"),
        (
            np.zeros((3, 8, 8), np.float32),
            r"got item 2 \(float32 array .*\). For values in \[0, 1\]",
        ),
    ],
    ids=["pair", "list", "row", "tensor"],
)
def test_a_lazy_sequence_of_something_else_is_an_error(
    small_clip, paths, item, remedy, on_error, n_jobs
):
    """Not rows of NaN: there is no image that could not be read."""
    featurizer = CLIPFeaturizer(small_clip, device="cpu", on_error=on_error, n_jobs=n_jobs)
    with pytest.raises(ImageError, match=remedy):
        featurizer.transform(Pairs([*paths[:2], item, *paths[2:4]]))
    with pytest.raises(ImageError, match="Every item of X must be"):
        featurizer.views(Pairs([*paths[:2], item]), 2)


def test_a_missing_item_of_a_lazy_sequence_is_an_image_that_is_not_there(small_clip, paths):
    featurizer = CLIPFeaturizer(small_clip, device="cpu", on_error="nan")
    with pytest.warns(UserWarning, match=r"1 of 2 images cannot be read .*there is no image"):
        features = featurizer.transform(Pairs([paths[0], None]))
    assert np.isnan(features).all(axis=1).tolist() == [False, True]


def test_a_service_rejects_the_one_bad_image_and_answers_the_others(paths, kinds, tmp_path):
    """The way of docs/embedding.rst: a classifier refuses NaN, so it gets the readable rows."""
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu", on_error="nan")
    pipeline = make_pipeline(featurizer, LogisticRegression()).fit(paths, kinds)
    batch = [*paths[:2], bad, *paths[2:4]]
    with pytest.warns(UserWarning, match="1 of 5 images cannot be read"):
        features = pipeline[:-1].transform(batch)
    readable = np.isfinite(features).all(axis=1)
    assert readable.tolist() == [True, True, False, True, True]
    proba = np.full((len(batch), 2), np.nan)
    proba[readable] = pipeline[-1].predict_proba(features[readable])
    np.testing.assert_allclose(proba[readable], pipeline.predict_proba(paths[:4]), atol=1e-5)
    with (
        pytest.warns(UserWarning, match="1 of 5 images cannot be read"),
        pytest.raises(ValueError, match="contains NaN"),
    ):
        pipeline.predict(batch)
