"""Sphinx configuration; `make docs` builds with warnings as errors."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TQDM_DISABLE", "1")

import skclip

project = "skclip"
author = "The skclip developers"
copyright = "2026, The skclip developers"
release = skclip.__version__
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.doctest",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/**/*.ipynb"]
templates_path = ["_templates"]
default_role = "py:obj"

autosummary_generate = True
# Types are in the docstrings, in words.
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_validation_checks = {"GL03", "GL08", "PR01", "PR02", "PR03", "RT01", "SS03"}
# Methods that scikit-learn writes: their docstrings are not ours to check.
numpydoc_validation_exclude = {
    r"\.set_(fit|predict|score|partial_fit|transform)_request$",
    r"\.(get_metadata_routing|get_params|set_params|score|set_output|fit_transform)$",
    r"^sklearn\.",
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"demo\.py",
    "download_all_examples": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "show_memory": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skclip {release}"
html_static_path = ["_static"]
html_css_files = ["site.css", "tables.css"]
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
html_sidebars = {"index": [], "decide": []}


def skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out what scikit-learn writes: its docstrings link into its own documentation."""
    module = getattr(obj, "__module__", None) or ""
    foreign = module.startswith("sklearn.") or name.endswith("_request")
    return True if foreign else None


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign_members)
