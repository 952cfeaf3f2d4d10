"""Links from scikit-learn's HTML display of an estimator to its page in the documentation."""

import os
from pathlib import Path

__all__ = ["DocumentationLinkMixin"]

# `make docs` writes it into a checkout, beside the package.
_BUILT = Path(__file__).resolve().parents[2] / "docs" / "_build" / "html"


def _address() -> str:
    """Where the pages are: the variable SKCLIP_DOCS, else the checkout; empty for nowhere."""
    named = os.environ.get("SKCLIP_DOCS", "")
    if named or not (_BUILT / "generated").is_dir():
        return named.rstrip("/")
    return _BUILT.as_uri()


class DocumentationLinkMixin:
    """For public estimators of the package: the question mark in a notebook opens their page.

    Where the pages are nowhere there is no question mark. It must stand before scikit-learn's
    BaseEstimator among the bases.
    """

    _doc_link_module = "skclip"
    _doc_link_template = "{page}"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        address = _address()
        page = f"{address}/generated/skclip.{type(self).__name__}.html"
        return {"page": page if address else ""}
