"""What is exported gives the probabilities of the estimator, in torch and in ONNX Runtime."""

import inspect
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skclip
from skclip import (
    BayesAdapterClassifier,
    ClassPrompts,
    CLIPAdapterClassifier,
    CLIPFeaturizer,
    CosineBayesAdapterClassifier,
    DeepEnsembleClassifier,
    GaussianDAClassifier,
    Laplace,
    LaplaceProbeClassifier,
    LinearProbeClassifier,
    ProKeRClassifier,
    SampleAdaptiveScaling,
    SelectiveClassifier,
    TipAdapterClassifier,
    Variational,
    ZeroShotClassifier,
)
from skclip.adapters.base import FittedModel
from skclip.datasets import load_digits_images, make_clip_features, tiny_clip
from skclip.exceptions import ExportError
from skclip.export import to_onnx, to_torch

TOLERANCE = 1e-5

# One of every kind of model, and of what it may have or lack.
HEADS = {
    "linear": lambda text: LinearProbeClassifier(text),
    "zero-shot": lambda text: ZeroShotClassifier(text),
    "mode": lambda text: BayesAdapterClassifier(text),
    "mode without text": lambda text: BayesAdapterClassifier(),
    "Laplace": lambda text: BayesAdapterClassifier(text, posterior="laplace"),
    "Laplace with bias": lambda text: BayesAdapterClassifier(
        text, posterior=Laplace(covariance="full"), fit_intercept=True
    ),
    "variational": lambda text: BayesAdapterClassifier(
        text, posterior=Variational(covariance="isotropic")
    ),
    "whitened": lambda text: BayesAdapterClassifier(posterior="laplace"),
    "cosine": lambda text: CosineBayesAdapterClassifier(text, max_iter=5, random_state=0),
    "bottleneck": lambda text: CLIPAdapterClassifier(text, max_iter=5, random_state=0),
    "dropout": lambda text: CLIPAdapterClassifier(text, dropout=0.3, max_iter=5, random_state=0),
    "Tip-Adapter": lambda text: TipAdapterClassifier(text),
    "Tip-Adapter without text": lambda text: TipAdapterClassifier(),
    "discriminant analysis": lambda text: GaussianDAClassifier(text),
    "kernel": lambda text: ProKeRClassifier(text),
    "kernel without text": lambda text: ProKeRClassifier(),
    "Kronecker": lambda text: LaplaceProbeClassifier(text, random_state=0),
    "probit": lambda text: LaplaceProbeClassifier(text, predictive="probit"),
    "full probit": lambda text: LaplaceProbeClassifier(
        text, covariance="full", predictive="probit"
    ),
    "rescaled": lambda text: SampleAdaptiveScaling(LinearProbeClassifier(), text),
    "ensemble": lambda text: DeepEnsembleClassifier(
        CLIPAdapterClassifier(text, max_iter=5), n_members=2, random_state=0
    ),
}
# Those whose graphs are of another kind each: an export takes seconds.
IN_ONNX = ["mode", "Laplace with bias", "dropout", "Tip-Adapter", "Kronecker", "rescaled"]


@pytest.fixture(scope="module")
def data():
    return make_clip_features(4, 4, n_features=24, n_informative=16, random_state=0)


def onnx_session(path):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_a_module_gives_the_probabilities_of_every_classifier(data, make):
    classifier = make(data.prototypes).fit(data.X, data.y)
    module = to_torch(classifier)
    assert not module.training
    found = module(torch.tensor(data.X_test, dtype=torch.float32))
    np.testing.assert_allclose(
        found.numpy(), classifier.predict_proba(data.X_test), atol=TOLERANCE, rtol=0
    )
    assert module.classes.tolist() == classifier.classes_.tolist()


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e20, 1e30])
def test_rows_of_any_length_are_those_of_unit_length(data, scale, tmp_path):
    """Their squares leave single precision, in which all classes had one distribution."""
    classifier = HEADS["mode"](data.prototypes).fit(data.X, data.y)
    rows = (scale * data.X_test).astype(np.float32)
    expected = classifier.predict_proba(rows.astype(np.float64))
    found = to_torch(classifier)(torch.tensor(rows))
    np.testing.assert_allclose(found.numpy(), expected, atol=TOLERANCE, rtol=0)
    session = onnx_session(to_onnx(classifier, tmp_path / "head.onnx"))
    (found,) = session.run(None, {"features": rows})
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", IN_ONNX)
def test_onnx_runtime_gives_the_probabilities(data, name, tmp_path):
    classifier = HEADS[name](data.prototypes).fit(data.X, data.y)
    session = onnx_session(to_onnx(classifier, tmp_path / "head.onnx"))
    for n in (1, 2, len(data.X_test)):
        (found,) = session.run(None, {"features": data.X_test[:n].astype(np.float32)})
        expected = classifier.predict_proba(data.X_test[:n])
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(HEADS) - set(IN_ONNX)))
def test_onnx_runtime_gives_the_probabilities_of_every_classifier(data, name, tmp_path):
    test_onnx_runtime_gives_the_probabilities(data, name, tmp_path)


def concrete(kind):
    """Every class of models that a fit may return."""
    # Other tests make classes of their own, in modules that are gone.
    module = kind.__module__
    if not inspect.isabstract(kind) and module.startswith("skclip.") and module in sys.modules:
        yield kind
    for below in kind.__subclasses__():
        yield from concrete(below)


def test_no_model_is_left_out(data):
    """A new one needs a formula of its own, and a case above."""
    tested = set()
    for make in HEADS.values():
        classifier = make(data.prototypes).fit(data.X, data.y)
        members = getattr(classifier, "estimators_", [classifier])
        tested |= {type(member.model_) for member in members}
    assert tested == set(concrete(FittedModel))


def test_predictions_that_are_not_the_models_are_refused(data):
    class Halved(ZeroShotClassifier):
        def predict_log_proba(self, X):
            return super().predict_log_proba(X) / 2

    classifier = Halved(data.prototypes).fit(data.X, data.y)
    with pytest.raises(ExportError, match="got Halved, whose predict_log_proba is its own"):
        to_torch(classifier)


# -- pipelines ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load_digits_images(subset="test", size=48)


@pytest.fixture(scope="module")
def pipeline(digits):
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu")
    prompts = ClassPrompts(featurizer)
    steps = make_pipeline(featurizer, BayesAdapterClassifier(prompts))
    return steps.fit(digits.images[:60], digits.labels[:60])


def preprocessed(pixels, steps):
    """What a program that has the description and Pillow alone makes of an image."""
    image = Image.fromarray(pixels).convert(steps["mode"])
    height, width = steps["size"]
    assert (steps["resize"], steps["interpolation"], steps["crop"]) == (
        *("shortest", "bicubic"),
        "center",
    )
    scale = height / min(image.size)
    size = [round(scale * side) for side in image.size]
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    image = image.crop((left, top, left + width, top + height))
    values = np.asarray(image, np.float32) * steps["scale"]
    values = (values - np.float32(steps["mean"])) / np.float32(steps["std"])
    return values.transpose(2, 0, 1).astype(np.float32)


def test_a_pipeline_is_one_graph_from_pixels_to_probabilities(pipeline, digits, tmp_path):
    """A thousand images, through what the description says and nothing of this package."""
    images = np.concatenate([digits.images] * 2)[:1000]
    expected = pipeline.predict_proba(images)
    session = onnx_session(to_onnx(pipeline, tmp_path / "digits.onnx"))
    described = json.loads((tmp_path / "digits.json").read_text())
    assert described == json.loads(session.get_modelmeta().custom_metadata_map["skclip"])
    assert described["classes"] == pipeline.classes_.tolist()
    assert described["input"]["shape"] == ["n", 3, 32, 32]
    assert described["model"]["weights_sha256"] == (
        skclip.backbones.get_backbone(pipeline[0].backbone_config()).fingerprint
    )
    batch = np.stack([preprocessed(image, described["preprocessing"]) for image in images])
    (found,) = session.run(None, {"images": batch})
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    module = to_torch(pipeline)
    with torch.inference_mode():
        ours = module(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE, rtol=0)


def test_the_module_has_its_own_weights(pipeline, digits):
    """What is done to it does not touch the model of the process."""
    module = to_torch(pipeline)
    before = pipeline.predict_proba(digits.images[:2])
    for values in [*module.parameters(), *module.buffers()]:
        values.data.zero_()
    np.testing.assert_array_equal(pipeline.predict_proba(digits.images[:2]), before)
    assert not any(values.requires_grad for values in module.parameters())
    assert not any("transformer.token" in name for name, _ in module.named_parameters())


def test_raw_features_stay_raw(digits):
    featurizer = CLIPFeaturizer(pretrained=tiny_clip(), device="cpu", normalize=False)
    pipeline = make_pipeline(featurizer, BayesAdapterClassifier())
    pipeline.fit(digits.images[:40], digits.labels[:40])
    module = to_torch(pipeline)
    pictures = [Image.fromarray(image) for image in digits.images[:5]]
    batch = torch.stack([module.backbone.preprocess(picture) for picture in pictures])
    found = module(batch).detach().numpy()
    np.testing.assert_allclose(found, pipeline.predict_proba(digits.images[:5]), atol=TOLERANCE)


# -- errors ---------------------------------------------------------------------------


def test_what_cannot_be_exported_says_what_can(data, tmp_path):
    X, y = data.X, data.y
    with pytest.raises(ExportError, match="Classifiers of skclip can be exported.*; got Logistic"):
        to_torch(LogisticRegression().fit(X, y))
    full = LaplaceProbeClassifier(data.prototypes, covariance="full").fit(X, y)
    with pytest.raises(ExportError, match="Fit with covariance='kronecker', or with predictive="):
        to_torch(full)
    selective = SelectiveClassifier(BayesAdapterClassifier(), threshold=0.5).fit(X, y)
    with pytest.raises(ExportError, match=r"got SelectiveClassifier\. Export its estimator_, and"):
        to_torch(selective)
    scaled = make_pipeline(StandardScaler(), BayesAdapterClassifier()).fit(X, y)
    with pytest.raises(ExportError, match="got the steps StandardScaler, BayesAdapterClassifier"):
        to_torch(scaled)
    with pytest.raises(NotFittedError):
        to_torch(BayesAdapterClassifier())
    classifier = BayesAdapterClassifier().fit(X, y)
    with pytest.raises(ExportError, match=r"path must end in \.onnx; got 'head\.pt'"):
        to_onnx(classifier, "head.pt")
    with pytest.raises(ExportError, match="The folder of path must exist"):
        to_onnx(classifier, tmp_path / "none" / "head.onnx")


def test_an_export_that_fails_leaves_the_old_file(data, tmp_path, monkeypatch):
    classifier = BayesAdapterClassifier().fit(data.X, data.y)
    path = tmp_path / "head.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr("skclip.export.onnx_files._TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="must give the module's probabilities"):
        to_onnx(classifier, path)
    assert [file.name for file in tmp_path.iterdir()] == ["head.onnx"]
    assert path.read_bytes() == b"old"


def test_without_the_extra_its_name_is_said(data, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[onnx\]'"):
        to_onnx(BayesAdapterClassifier().fit(data.X, data.y), tmp_path / "head.onnx")
