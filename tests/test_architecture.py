"""The layers and habits of docs/architecture.rst, enforced on the source."""

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import skclip

ROOT = Path(skclip.__file__).parent

# layer -> what it imports beside the foundation and itself.
FOUNDATION = {"exceptions", "utils"}
ALLOWED = {
    "exceptions": set(),
    "utils": set(),
    "_core": set(),
    # Rows on disk by digest: of images (features) and of texts (backbones, for prompts).
    "store": set(),
    "metrics": set(),
    "datasets": set(),
    "backbones": {"store"},
    "features": {"backbones", "store"},
    "prompts": {"backbones"},
    # HTML for people, with thumbnails of images.
    "pages": {"features"},
    "adapters": {"_core", "prompts"},
    # Prediction sets label a bare array of prototypes, so that a fold may miss a class.
    "decisions": {"adapters", "prompts"},
    "persistence": {"_core", "backbones", "features", "prompts", "adapters", "decisions"},
    "export": {"_core", "backbones", "features", "adapters"},
    # The command line is a shell around public functions of everything below.
    "cli": {"datasets", "features", "store", "benchmark", "workflow", "persistence"},
    "__main__": {"cli"},
    # From a folder to a file of predictions; it and the benchmark do not know each other.
    "workflow": {
        *("metrics", "datasets", "store", "backbones", "features", "prompts", "adapters"),
        *("decisions", "persistence", "pages"),
    },
    "benchmark": {
        *("pages", "metrics", "datasets", "store", "backbones", "features", "prompts", "adapters"),
    },
}
WITHOUT_FOUNDATION = {"exceptions", "_core"}
# What the numerical core may import from outside: torch and the standard library.
CORE_EXTERNAL = {"torch"} | set(sys.stdlib_module_names)

# Stems that several files share: a method's mathematics and its estimator, a folder's front.
MIRRORED = {
    *("clip_adapter", "cross_modal", "gaussian_da", "laplace_probe", "lp_plus_plus", "proker"),
    *("tip_adapter", "zero_shot_range"),
}
# A command has the name of what it is about.
COMMANDS = {"cache", "fit"}

# Underscored, but meant to be used from outside: scikit-learn's and named tuples'.
DOCUMENTED = {"_parameter_constraints", "_asdict", "_fields", "_replace"}
# The file that is for private names of scikit-learn calls a private method too.
FRIENDS = {("utils/sklearn_private.py", "_serialize")}
IMPORTERS = {"__import__", "import_module", "import_optional"}


class Taken(NamedTuple):
    """A module of the package that a file imports, and the name it takes from it, if any."""

    module: str
    name: str | None = None


def sources():
    return sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def title(path):
    return path.relative_to(ROOT).as_posix()


every_file = pytest.mark.parametrize("path", sources(), ids=title)


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(path, kind):
    return [node for node in ast.walk(tree(path)) if isinstance(node, kind)]


def layer_of(path):
    """The first component of `path` below the package: a folder, or a module's stem."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def layer_of_module(name):
    """The same of a dotted name; None for the package itself."""
    return name.split(".")[1] if "." in name else None


def is_module(name):
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imports(path):
    """Everything that the file imports, at the top, inside functions or by a string."""
    package = ("skclip", *path.relative_to(ROOT).parent.parts)
    for node in nodes(path, ast.Import):
        yield from (Taken(alias.name) for alias in node.names)
    for node in nodes(path, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        module = ".".join((*base, *([node.module] if node.module else [])))
        for alias in node.names:
            whole = f"{module}.{alias.name}"
            is_ours = module.split(".")[0] == "skclip"
            yield Taken(whole) if is_ours and is_module(whole) else Taken(module, alias.name)
    for node in nodes(path, ast.Call):
        named = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        if ast.unparse(node.func).split(".")[-1] in IMPORTERS:
            yield from (Taken(str(name)) for name in named)


def from_the_package(path):
    return [taken for taken in imports(path) if taken.module.split(".")[0] == "skclip"]


def from_other_layers(path):
    return [t for t in from_the_package(path) if layer_of_module(t.module) != layer_of(path)]


def test_every_folder_is_a_known_layer():
    assert {layer_of(p) for p in sources()} == set(ALLOWED)


@every_file
def test_imports_point_one_way(path):
    layer = layer_of(path)
    below = ALLOWED[layer] | (set() if layer in WITHOUT_FOUNDATION else FOUNDATION) | {layer}
    # The package itself has names of every layer: of it only the version is no way around.
    wrong = [
        taken
        for taken in from_the_package(path)
        if layer_of_module(taken.module) not in below and taken != ("skclip", "__version__")
    ]
    assert not wrong


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_no_permission_is_unused(layer):
    """A permission that nobody uses hides the first import that should have been discussed."""
    files = [path for path in sources() if layer_of(path) == layer]
    used = {layer_of_module(taken.module) for path in files for taken in from_other_layers(path)}
    assert ALLOWED[layer] <= used


@every_file
def test_what_crosses_layers_is_public(path):
    """In the `__all__` of the module that it is taken from."""
    names = [taken for taken in from_other_layers(path) if taken.name is not None]
    hidden = [
        taken
        for taken in names
        if taken != ("skclip", "__version__")
        and taken.name not in importlib.import_module(taken.module).__all__
    ]
    assert not hidden


def aliases(path):
    """Local names of modules of the package, and the modules."""
    for node in nodes(path, ast.ImportFrom):
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            if whole.startswith("skclip.") and is_module(whole):
                yield alias.asname or alias.name, whole
    for node in nodes(path, ast.Import):
        for alias in node.names:
            if alias.name.startswith("skclip.") and alias.asname:
                yield alias.asname, alias.name


@every_file
def test_what_is_used_of_an_imported_module_is_public(path):
    """`import skclip.x as y; y._z` is an import of `_z`."""
    modules = {name: m for name, m in aliases(path) if layer_of_module(m) != layer_of(path)}
    for node in nodes(path, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            public = node.attr in getattr(importlib.import_module(module), "__all__", ())
            assert public or is_module(f"{module}.{node.attr}") or node.attr.startswith("__")


def is_own(node):
    """self.x, cls.x and super().x."""
    if isinstance(node.value, ast.Call):
        return ast.unparse(node.value.func) == "super"
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


@every_file
def test_private_attributes_are_those_of_the_same_file(path):
    """What others need of an object is public."""
    accesses = [n for n in nodes(path, ast.Attribute) if re.fullmatch(r"_[a-z]\w*", n.attr)]
    defined = {n.name for n in nodes(path, (ast.FunctionDef, ast.ClassDef))}
    defined |= {n.attr for n in accesses if is_own(n)} | DOCUMENTED
    defined |= {name for file, name in FRIENDS if file == title(path)}
    foreign = [n for n in accesses if not is_own(n) and n.attr not in defined]
    assert not [f"line {n.lineno}: {ast.unparse(n)}" for n in foreign]


@every_file
def test_one_file_touches_private_names_of_scikit_learn(path):
    """They change without notice; then there is one file to mend."""
    taken = [t for t in imports(path) if t.module.split(".")[0] == "sklearn"]
    parts = {part for t in taken for part in (*t.module.split("."), t.name or "")}
    private = {part for part in parts if re.match(r"_[a-zA-Z]", part)}
    assert not private or title(path) == "utils/sklearn_private.py"


def test_every_private_name_of_scikit_learn_is_used():
    everywhere = {taken for path in sources() for taken in from_the_package(path)}
    used = {taken.name for taken in everywhere if taken.module == "skclip.utils.sklearn_private"}
    assert set(importlib.import_module("skclip.utils.sklearn_private").__all__) == used


@pytest.mark.parametrize("path", [p for p in sources() if layer_of(p) == "_core"], ids=title)
def test_the_core_is_torch_and_the_standard_library_only(path):
    external = {taken.module.split(".")[0] for taken in imports(path)} - {"skclip"}
    assert external <= CORE_EXTERNAL


@every_file
def test_no_file_outgrows_500_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def test_no_module_is_private_by_name():
    """What is public is what a folder's `__all__` lists; only the core is not for users."""
    parts = {part for path in sources() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert {p for p in parts if p.startswith("_")} == {"_core", "__init__", "__main__"}


def test_a_file_name_means_one_thing():
    """Files share a stem only where one is the mathematics, or the command, of the other."""
    folders = {}
    for path in sources():
        folders.setdefault(path.stem, set()).add(path.parent.relative_to(ROOT).as_posix())
    shared = {stem: where for stem, where in folders.items() if len(where) > 1}
    del shared["__init__"]
    expected = {stem: {"_core/methods", "adapters"} for stem in MIRRORED}
    assert {s: w for s, w in shared.items() if s not in COMMANDS} == expected
    assert all("cli" in shared[stem] and len(shared[stem]) == 2 for stem in COMMANDS)


@every_file
def test_no_class_has_more_than_two_bases_of_ours(path):
    """A class that is put together from many is spread over as many files."""
    ours = {n.name for n in nodes(path, ast.ClassDef)}
    ours |= {taken.name for taken in from_the_package(path)}
    for node in nodes(path, ast.ClassDef):
        bases = {ast.unparse(base).split("[")[0] for base in node.bases}
        assert len(bases & ours) <= 2, node.name


def test_import_is_lean():
    """`import skclip` must not pay for open_clip, netcal or matplotlib."""
    heavy = ["open_clip", "netcal", "matplotlib", "torchvision", "timm"]
    code = f"import skclip, sys; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_import_is_fast():
    """Under half a second beyond torch and scikit-learn, which its users import anyway."""
    code = (
        "import time, torch, sklearn.base, sklearn.utils.multiclass, sklearn.utils.class_weight\n"
        "import sklearn.datasets, sklearn.metrics\n"
        "start = time.process_time(); import skclip; print(time.process_time() - start)"
    )
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(2)
    ]
    assert min(seconds) < 0.5
