"""Everything public says of which type its parameters and its result are."""

import inspect
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import skclip
from skclip import benchmark, exceptions, features, workflow

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def not_annotated_yet():
    """Packages that pyproject.toml exempts from mypy."""
    overrides = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["mypy"]["overrides"]
    patterns = [m for o in overrides if o.get("ignore_errors") for m in o["module"]]
    return {pattern.removesuffix(".*") for pattern in patterns}


def public_objects(module):
    """(dotted name, object) of what a module's `__all__` lists, modules opened in turn."""
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            yield from public_objects(value)
        else:
            yield f"{module.__name__}.{name}", value


def is_ours(function):
    """scikit-learn's methods, which ours inherit, have no annotations."""
    return getattr(function, "__module__", "").split(".")[0] == "skclip"


def signatures(value):
    """The functions behind a public object: itself, or constructor, methods and properties."""
    if not inspect.isclass(value):
        return [value]
    found = [value.__init__] if is_ours(value.__init__) else []
    for name in dir(value):
        member = inspect.getattr_static(value, name)
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            found.append(member.fget)
        else:
            # Through the class, so that class methods and available_if are functions.
            found.append(getattr(value, name))
    return [f for f in found if callable(f) and is_ours(f) and not inspect.isclass(f)]


def unannotated(function):
    """Parameters without a type, and "return"."""
    signature = inspect.signature(function)
    missing = [
        p.name
        for p in signature.parameters.values()
        if p.annotation is p.empty and p.name not in ("self", "cls")
    ]
    if signature.return_annotation is signature.empty and function.__name__ != "__init__":
        missing.append("return")
    return missing


def annotated_public_objects():
    exempt = not_annotated_yet()
    for module in (skclip, features, benchmark, workflow, exceptions):
        for name, value in public_objects(module):
            package = ".".join(getattr(value, "__module__", "").split(".")[:2])
            if callable(value) and package not in exempt:
                yield pytest.param(value, id=name)


@pytest.mark.parametrize("value", list(annotated_public_objects()))
def test_signatures_are_annotated(value):
    """For editors and type checkers, which do not read docstrings."""
    missing = {f.__qualname__: unannotated(f) for f in signatures(value)}
    assert not {name: parameters for name, parameters in missing.items() if parameters}


def test_a_parameter_without_a_type_is_found():
    """Also on methods, properties and constructors."""

    class Example:
        def __init__(self, a: int, b):
            self.b = b

        @property
        def value(self):
            return self.b

        @classmethod
        def make(cls, *args: int, **kwargs) -> "Example":
            return cls(*args, **kwargs)

    for member in (Example.__init__, Example.value.fget, Example.make):
        member = getattr(member, "__func__", member)
        member.__module__ = "skclip.example"
    found = {f.__name__: unannotated(f) for f in signatures(Example)}
    assert found == {"__init__": ["b"], "value": ["return"], "make": ["kwargs"]}
