"""The layers of docs/architecture.rst, enforced on the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skclip

ROOT = Path(skclip.__file__).parent

# layer -> what it may import. A layer may always import itself.
FOUNDATION = {"exceptions", "utils"}
ALLOWED = {
    "exceptions": set(),
    "utils": {"exceptions"},
    "_core": set(),
    # Rows on disk by digest: of images (features) and of texts (backbones, for prompts).
    "store": FOUNDATION,
    "metrics": FOUNDATION,
    "datasets": FOUNDATION,
    "backbones": FOUNDATION | {"store"},
    "features": FOUNDATION | {"backbones", "store"},
    "prompts": FOUNDATION | {"_core", "backbones"},
    "adapters": FOUNDATION | {"_core", "prompts"},
    "decisions": FOUNDATION | {"adapters", "prompts"},
    "persistence": FOUNDATION
    | {"_core", "backbones", "features", "prompts", "adapters", "decisions"},
    # The command line is a shell around public functions of everything below.
    "cli": FOUNDATION | {"features", "store", "benchmark"},
    "benchmark": FOUNDATION
    | {"_core", "metrics", "datasets", "backbones", "features", "prompts", "adapters", "decisions"},
}
# What the numerical core may import from outside: torch and the standard library.
CORE_EXTERNAL = {"torch"} | set(sys.stdlib_module_names)


def layer_of(path):
    """The first component of `path` below the package: a folder, or a module's stem."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported_modules(path):
    """Absolute names of everything that the file imports, also inside functions."""
    package = ("skclip", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield module
            if module == "skclip":  # from skclip import x: x may be a layer
                yield from (f"skclip.{alias.name}" for alias in node.names)


def sources():
    return sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def test_every_folder_is_a_known_layer():
    assert {layer_of(p) for p in sources()} <= set(ALLOWED)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    layer = layer_of(path)
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] != "skclip" or len(parts) == 1:
            continue
        target = parts[1]
        if target in ALLOWED:
            assert target == layer or target in ALLOWED[layer], f"{layer} imports {name}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "_core").rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_the_core_is_torch_and_the_standard_library_only(path):
    external = {name.split(".")[0] for name in imported_modules(path)} - {"skclip"}
    assert external <= CORE_EXTERNAL


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_outgrows_600_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600


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
