"""Sphinx configuration; `make docs` builds with warnings as errors."""

import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TQDM_DISABLE", "1")

sys.path.append(str(Path(__file__).parent / "_extensions"))

import skclip

project = "skclip"
author = "The skclip developers"
copyright = "2026, The skclip developers"
release = skclip.__version__
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "mathml",
    "sphinx.ext.doctest",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# Tables are parts of other pages.
exclude_patterns = ["_build", "tables", "gallery/**/*.ipynb"]
templates_path = ["_templates"]
default_role = "py:obj"

html_math_renderer = "mathml"
autosummary_generate = True
# Methods are listed beside a page of their class by their own names.
toc_object_entries_show_parents = "hide"
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
    "filename_pattern": r"plot_|wise_ft",
    # What draws nothing: the demonstration of `make demo`, and the service, which deploy.rst shows.
    "ignore_pattern": r"demo\.py|service\.py",
    "download_all_examples": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "show_memory": False,
    "write_computation_times": False,
    "ignore_repr_types": r"matplotlib\.",
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
