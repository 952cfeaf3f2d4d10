"""The question mark of scikit-learn's HTML display opens the page of the estimator."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import skclip
from skclip.utils import documentation
from tests.persistence.conftest import NAMES, make_classifier

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = {
    name: value
    for name in skclip.__all__
    if isinstance(value := getattr(skclip, name), type) and issubclass(value, BaseEstimator)
}


def pages():
    """Names of the pages that autosummary makes of docs/api.rst."""
    text = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    assert ".. currentmodule:: skclip\n" in text
    return {f"skclip.{name}" for name in re.findall(r"^   (\w[\w.]*)$", text, re.MULTILINE)}


def fitted(name):
    """The estimator on 24 rows of four classes, if it learns from rows."""
    if not issubclass(PUBLIC[name], ClassifierMixin):
        return PUBLIC[name]()
    text = np.eye(4, 6)
    codes = np.arange(24) % 4
    X = text[codes] + 0.1 * np.random.default_rng(0).normal(size=(24, 6))
    return make_classifier(name, skclip.Prototypes(text, NAMES)).fit(X, NAMES[codes])


@pytest.fixture
def published(monkeypatch):
    monkeypatch.setenv("SKCLIP_DOCS", "https://docs.example.org/skclip/")


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_estimator_links_to_its_page(name, published):
    """As it is shown in a notebook, fitted; the page is one that the documentation has."""
    html = unescape(estimator_html_repr(fitted(name)))
    page = f"https://docs.example.org/skclip/generated/skclip.{name}.html"
    assert f'href="{page}"' in html
    assert f"skclip.{name}" in pages()


def test_every_link_of_a_classifier_leads_to_its_page(published):
    """The question mark, and from scikit-learn 1.9 on every parameter, too."""
    html = estimator_html_repr(skclip.BayesAdapterClassifier())
    links = re.findall('href="([^"]+)"', unescape(html))
    page = "https://docs.example.org/skclip/generated/skclip.BayesAdapterClassifier.html"
    assert page in links
    assert {link.split("#")[0] for link in links} == {page}


def test_steps_of_others_link_to_their_own_documentation(published):
    html = estimator_html_repr(make_pipeline(StandardScaler(), skclip.BayesAdapterClassifier()))
    assert "https://scikit-learn.org/" in html
    assert "https://docs.example.org/skclip/generated/skclip.BayesAdapterClassifier.html" in html


def test_without_pages_there_is_no_link(monkeypatch, tmp_path):
    """An installed package does not know of any; a link into nowhere helps nobody."""
    monkeypatch.delenv("SKCLIP_DOCS", raising=False)
    monkeypatch.setattr(documentation, "_BUILT", tmp_path)
    html = estimator_html_repr(skclip.BayesAdapterClassifier())
    assert "generated/" not in html
    (tmp_path / "generated").mkdir()
    html = estimator_html_repr(skclip.BayesAdapterClassifier())
    page = (tmp_path / "generated" / "skclip.BayesAdapterClassifier.html").as_uri()
    assert f'href="{page}"' in html


def test_classes_of_users_do_not_link_into_our_documentation(published):
    class Own(skclip.BayesAdapterClassifier):
        pass

    assert "docs.example.org" not in estimator_html_repr(Own())
