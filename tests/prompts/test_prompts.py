"""Prototypes, templates, and prompts encoded by an object with `encode_text`."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone

from skclip import BayesAdapterClassifier, ClassPrompts, Prototypes, ZeroShotClassifier
from skclip.exceptions import PrototypeMismatchError, PrototypeWarning
from skclip.prompts import get_templates, list_template_sets


class LetterEncoder:
    """Counts letters: a text encoder whose answers can be checked by hand."""

    logit_scale_ = 42.0

    def __init__(self):
        self.texts = []

    def encode_text(self, texts, *, normalize=None):
        assert normalize is False
        self.texts.extend(texts)
        return np.array([[t.count("a") + 1.0, t.count("b") + 1.0, len(t)] for t in texts])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


# -- Prototypes -----------------------------------------------------------------------


def test_rows_are_sorted_by_label():
    prototypes = Prototypes([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], ["c", "a", "b"])
    assert prototypes.labels.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(prototypes.vectors, [[3, 4], [5, 6], [1, 2]])
    assert len(prototypes) == 3


def test_prototypes_are_immutable():
    prototypes = Prototypes(np.eye(2), ["a", "b"])
    with pytest.raises(AttributeError, match="Prototypes are immutable; cannot set 'labels'"):
        prototypes.labels = ["c", "d"]
    with pytest.raises(AttributeError, match="Prototypes are immutable; cannot delete 'labels'"):
        del prototypes.labels
    with pytest.raises(ValueError, match="read-only"):
        prototypes.vectors[0, 0] = 2.0


def test_the_given_array_is_not_shared():
    array = np.eye(2)
    prototypes = Prototypes(array, ["a", "b"])
    array[0, 0] = 7.0
    assert prototypes.vectors[0, 0] == 1.0


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_are_equal(duplicate):
    prototypes = Prototypes(np.eye(2), [3, 1], logit_scale=50)
    twin = duplicate(prototypes)
    np.testing.assert_array_equal(twin.vectors, prototypes.vectors)
    np.testing.assert_array_equal(twin.labels, prototypes.labels)
    assert twin.logit_scale == 50.0


def test_repr_is_short():
    prototypes = Prototypes(np.eye(8), range(8))
    assert repr(prototypes) == ("Prototypes(8 classes of 8 features: 0, 1, 2, 3, 4 and 3 more)")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.eye(2), ["a"]), PrototypeMismatchError, r"got \(2, 2\) and \(1,\)"),
        ((np.ones(2), ["a", "b"]), PrototypeMismatchError, r"got \(2,\) and \(2,\)"),
        ((np.eye(3), ["a", "b", "a"]), PrototypeMismatchError, "labels must be distinct; got 'a'"),
        (([[np.nan, 1.0]], ["a"]), ValueError, "vectors must be finite"),
    ],
)
def test_malformed_prototypes_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Prototypes(*arguments)


@pytest.mark.parametrize("logit_scale", [0.0, -1.0, np.inf])
def test_a_logit_scale_that_is_not_positive_is_refused(logit_scale):
    with pytest.raises(ValueError, match="logit_scale must be a positive number or None"):
        Prototypes(np.eye(2), ["a", "b"], logit_scale=logit_scale)


# -- templates ------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_template_sets())
def test_every_set_fills_a_name_in(name):
    for template in get_templates(name):
        prompt = template("zebra") if callable(template) else template.format("zebra")
        assert prompt.count("zebra") == 1
        assert "{" not in prompt


def test_the_sets_have_the_published_sizes():
    assert len(get_templates("openai-imagenet")) == 80
    assert len(get_templates("imagenet-select")) == 8
    assert get_templates("simple") == ("a photo of a {}.",)


def test_an_unknown_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="got 'simpel'. The sets are: caltech101, dtd, eurosat"):
        get_templates("simpel")


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ([], "templates must hold at least one template"),
        (["a {}", "a photo"], r"a string with a '\{\}' .*; got 'a photo': it has no place for it"),
        ("{{}} a", "it has no place for it"),
        ("a {} and a {}", r"it has several places; write '\{name\}' in each"),
        ("a {c} of {d}", "it has several places"),
        ("a {:>10}", "it asks for a format"),
        ("a {!r}", "it asks for a format"),
        ("a {0.__class__}", "it looks into the name"),
        ("a {0[0]}", "it looks into the name"),
        ("a {", "Single '{' encountered|expected '}'"),
        ("a }", "Single '}' encountered"),
        ([3], "got 3: it "),
        (3, "got a int"),
        (None, "got a NoneType"),
        (b"a {}", "got a bytes"),
        ({"a {}": 1}, "got a dict"),
        (lambda name: None, "function must return a string; got NoneType for 'x'"),
        ("a photo", "or the name of a set; got 'a photo'"),
    ],
)
def test_templates_without_a_place_for_the_name_are_refused(templates, message):
    with pytest.raises(ValueError, match=message):
        ClassPrompts(LetterEncoder(), templates=templates).encode(["x"])


@pytest.mark.parametrize("template", ["a {c}.", "a {name}.", "a {0}.", "a {}.", "a {class_name}."])
def test_one_field_of_any_name_is_the_place_for_the_name(template):
    """The rest of the string is taken as it is: names with braces, and doubled braces."""
    prompts = ClassPrompts(LetterEncoder(), templates=template)
    assert prompts.prompts(["big cat", "{x}"]) == [["a big cat."], ["a {x}."]]
    twice = ClassPrompts(LetterEncoder(), templates="{name}, {{a}} {name}")
    assert twice.prompts(["cat"]) == [["cat, {a} cat"]]


# -- ClassPrompts ---------------------------------------------------------------------


def test_a_prototype_is_the_unit_mean_of_unit_embeddings():
    encoder = LetterEncoder()
    templates = ["a {}", "bb {}", lambda name: f"{name}!"]
    prototypes = ClassPrompts(encoder, templates=templates).encode(["x", "aba"])
    raw = encoder.encode_text(["a aba", "bb aba", "aba!"], normalize=False)
    np.testing.assert_allclose(prototypes.vectors[0], unit(unit(raw).mean(axis=0)))
    assert prototypes.labels.tolist() == ["aba", "x"]
    assert prototypes.logit_scale == 42.0


def test_raw_prototypes_are_the_plain_mean():
    encoder = LetterEncoder()
    prototypes = ClassPrompts(encoder, templates=["a {}", "bb {}"], normalize=False).encode(["x"])
    raw = encoder.encode_text(["a x", "bb x"], normalize=False)
    np.testing.assert_allclose(prototypes.vectors, raw.mean(axis=0, keepdims=True))


@pytest.mark.parametrize("normalize", [True, False])
def test_prototypes_are_means_over_the_prompts_of_a_class(normalize):
    """In the order of the prompts, also where classes have several names."""
    prompts = ClassPrompts(
        LetterEncoder(),
        templates=["a {}", "bb {}"],
        class_names={"x": ["x", "aab"]},
        normalize=normalize,
    )
    rows, labels = prompts.encode_prompts(["x", "c"])
    assert labels.tolist() == ["x"] * 4 + ["c"] * 2
    means = [rows[labels == name].mean(axis=0) for name in ("c", "x")]
    expected = unit(np.array(means)) if normalize else np.array(means)
    np.testing.assert_allclose(prompts.encode(["x", "c"]).vectors, expected)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0) == normalize


def test_integer_labels_take_their_names_from_class_names():
    prompts = ClassPrompts(LetterEncoder(), class_names={0: "cat", 1: "big_dog"})
    assert prompts.prompts(np.array([1, 0])) == [["a photo of a big dog."], ["a photo of a cat."]]


def test_a_class_may_have_several_names():
    prompts = ClassPrompts(
        LetterEncoder(), templates=["a {}", "the {}"], class_names={"x": ["cat", "kitten"]}
    )
    assert prompts.prompts(["x"]) == [["a cat", "the cat", "a kitten", "the kitten"]]


def test_underscores_can_be_kept():
    prompts = ClassPrompts(LetterEncoder(), templates="{}", replace_underscores=False)
    assert prompts.prompts(["big_dog"]) == [["big_dog"]]


def test_a_label_without_a_name_is_refused():
    message = r"Every class needs a name .* got no name for the label\(s\) 1, 2\. Pass class_names"
    with pytest.raises(ValueError, match=message):
        ClassPrompts(LetterEncoder(), class_names={0: "cat", 1: "", 2: " "}).prompts([0, 1, 2])
    with pytest.raises(ValueError, match=message):
        ClassPrompts(LetterEncoder(), class_names={0: "cat"}).prompts([0, 1, 2])


def test_class_names_must_be_a_dictionary():
    with pytest.raises(ValueError, match="class_names must be a dictionary .*; got list"):
        ClassPrompts(LetterEncoder(), class_names=["cat"]).prompts([0])
    with pytest.raises(ValueError, match=r"got list\. Pass dict\(enumerate\(class_names\)\)\."):
        ZeroShotClassifier(ClassPrompts(LetterEncoder(), class_names=["cat", "dog"])).fit(
            np.eye(3)[[0, 1]], [0, 1]
        )


def test_a_table_of_class_names_is_refused():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"name": ["cat", "dog"]})
    with pytest.raises(ValueError, match="class_names must be a dictionary .*; got DataFrame"):
        ZeroShotClassifier(ClassPrompts(LetterEncoder(), class_names=table)).fit(
            np.eye(3)[[0, 1]], [0, 1]
        )


def test_a_series_of_class_names_is_taken_by_its_index():
    pd = pytest.importorskip("pandas")
    series = pd.Series({1: "dog", 0: "cat"})
    prompts = ClassPrompts(LetterEncoder(), templates="a {}", class_names=series)
    assert prompts.prompts([0, 1]) == [["a cat"], ["a dog"]]
    classifier = ZeroShotClassifier(prompts).fit(np.eye(3)[[0, 1]], [0, 1])
    assert classifier.classes_.tolist() == [0, 1]


def test_a_key_of_class_names_that_no_label_has_is_said():
    """It would be a class of its own, and the label would stand for itself."""
    X, y = np.eye(3)[[0, 1]], ["cat", "dog"]
    typo = ClassPrompts(LetterEncoder(), class_names={"cat": "cat", "dgo": "a dog"})
    with pytest.warns(PrototypeWarning, match="got 'dgo', of which y has no .* 'dog' has no entry"):
        ZeroShotClassifier(typo).fit(X, y)
    case = ClassPrompts(LetterEncoder(), class_names={"cat": "cat", "Dog": "a dog"})
    with pytest.raises(PrototypeMismatchError, match="spelled as in y; got 'Dog' for 'dog'"):
        ZeroShotClassifier(case).fit(X, y)


MISTYPED = [("Persain", "Persian"), ("persian", "Persian"), ("Persiann", "Persian")]


@pytest.mark.parametrize(("key", "label"), MISTYPED)
def test_a_class_without_images_beside_one_of_almost_its_name_is_said(key, label):
    """Whether its label has an entry of its own or not, and however prototypes are labelled."""
    X, y = np.eye(3)[[0, 1]], ["Birman", label]
    names = {"Birman": "a Birman", key: "cba", label: "aab"}
    message = f"must be those of y, or of classes without images; got '{key}' beside 'Persian'"
    with pytest.warns(PrototypeWarning, match=message):
        ZeroShotClassifier(ClassPrompts(LetterEncoder(), class_names=names)).fit(X, y)
    with pytest.warns(PrototypeWarning, match=message):
        ZeroShotClassifier(dict(zip(names, np.eye(3), strict=True))).fit(X, y)
    if key != "persian":  # a key that differs in case from a label without an entry is an error
        del names[label]
        with pytest.warns(PrototypeWarning, match=message):
            ZeroShotClassifier(ClassPrompts(LetterEncoder(), class_names=names)).fit(X, y)


@pytest.mark.parametrize("other", ["class 11", "Sphynx", "cats", "dogs", "Siamese cat"])
def test_a_class_without_images_of_another_name_is_nothing_to_say(other):
    X, labels = np.eye(4)[:3], ["class 1", "cat", "dog"]
    classifier = ZeroShotClassifier(Prototypes(np.eye(4), [*labels, other])).fit(X, labels)
    assert other in classifier.classes_


def test_a_classifier_encodes_its_labels_at_fit():
    encoder = LetterEncoder()
    prompts = ClassPrompts(encoder, templates="{}")
    X = np.eye(3)[[0, 1]]
    classifier = ZeroShotClassifier(prompts).fit(X, ["aaaa", "bbbb"])
    assert encoder.texts == ["aaaa", "bbbb"]
    assert classifier.logit_scale_ == 42.0
    assert classifier.predict(X).tolist() == ["aaaa", "bbbb"]


def test_classes_that_only_class_names_know_keep_their_prior():
    """A cross-validation fold without one of the classes still predicts it, and it is said."""
    names = {"c": "ab", "b": "bb", "aaaa": "aaaa"}
    prompts = ClassPrompts(LetterEncoder(), templates="{}", class_names=names)
    with pytest.warns(PrototypeWarning, match="got 'c', of which y has no row. Each becomes a cla"):
        classifier = ZeroShotClassifier(prompts).fit(np.eye(3)[[0, 1]], ["aaaa", "b"])
    assert classifier.classes_.tolist() == ["aaaa", "b", "c"]


def test_classes_without_a_row_that_are_encoded_by_the_user_are_meant():
    prompts = ClassPrompts(LetterEncoder(), templates="{}", class_names={"c": "ab"})
    known = prompts.encode(["aaaa", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = ZeroShotClassifier(known).fit(np.eye(3)[[0, 1]], ["aaaa", "b"])
    assert classifier.classes_.tolist() == ["aaaa", "b", "c"]


def test_names_and_labels_of_different_types_are_refused():
    prompts = ClassPrompts(LetterEncoder(), class_names={"0": "cat", "1": "dog"})
    with pytest.raises(PrototypeMismatchError, match="must be of one type; got '0', '1' and 0, 1"):
        ZeroShotClassifier(prompts).fit(np.eye(3)[[0, 1]], [0, 1])


def test_templates_are_searchable_through_the_classifier():
    classifier = BayesAdapterClassifier(ClassPrompts("ViT-B-32"))
    classifier.set_params(prototypes__templates="oxford-pets")
    assert classifier.prototypes.templates == "oxford-pets"
    assert clone(classifier).get_params()["prototypes__templates"] == "oxford-pets"


def test_the_paper_recipe_asks_for_raw_embeddings():
    prompts = ClassPrompts(LetterEncoder())
    recipe = BayesAdapterClassifier.from_recipe("paper", prompts)
    assert recipe.prototypes.normalize is False
    assert prompts.normalize is True


def test_an_embedding_of_zeros_is_an_error_and_not_nan():
    """A text tower that fails quietly must not become prototypes of NaN."""

    class Zeros:
        logit_scale_ = 100.0

        def encode_text(self, texts, normalize):
            return np.zeros((len(texts), 4), dtype=np.float32)

    with pytest.raises(ValueError, match="Rows of the prompt embeddings must not be zero"):
        ClassPrompts(Zeros()).encode(["cat", "dog"])


def test_class_prompts_say_which_model_they_name():
    config = ClassPrompts("ViT-B-32", pretrained="openai", device="cpu").backbone_config()
    assert (config.model, config.pretrained, config.device) == ("ViT-B-32", "openai", "cpu")
    assert (
        ClassPrompts(object.__new__(type("E", (), {"encode_text": None}))).backbone_config() is None
    )


@pytest.mark.parametrize("model", [LetterEncoder, type("E", (), {"encode_text": None})()])
def test_what_is_no_text_encoder_is_refused(model):
    """A class, or a model of another library."""
    with pytest.raises(ValueError, match=r"model must be a name, or an object with encode_text"):
        ClassPrompts(model).encode(["a", "b"])
