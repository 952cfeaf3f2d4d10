"""What `skclip` itself offers, imported when it is first asked for."""

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import skclip


@pytest.mark.parametrize("name", skclip.__all__)
def test_every_name_is_that_of_its_layer(name):
    value = getattr(skclip, name)
    layer = skclip._LAYER_OF.get(name)
    assert value is (
        getattr(importlib.import_module(f"skclip.{layer}"), name)
        if layer
        else importlib.import_module(f"skclip.{name}")
    )


def test_type_checkers_read_the_same_names():
    """They cannot follow the table; what they read instead must not drift from it."""
    tree = ast.parse(Path(skclip.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.asname: node.module for node in block.body for alias in node.names}
    layers = {name: f"skclip.{layer}" for name, layer in skclip._LAYER_OF.items()}
    assert declared == layers | dict.fromkeys(set(skclip.__all__) - set(layers), "skclip")


def test_dir_lists_every_name_before_it_was_used():
    code = "import skclip; print(set(skclip.__all__) <= set(dir(skclip)), 'load' in vars(skclip))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["True", "False"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'skclip' has no attribute 'nothing'$"):
        skclip.nothing  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from skclip import nothing  # noqa: F401


def test_a_pickle_loads_where_nothing_was_imported():
    data = pickle.dumps(skclip.Prototypes([[1.0, 0.0]], ["cat"]))
    code = f"import pickle; print(pickle.loads({data!r}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "Prototypes(1 classes of 2 features: 'cat')"
