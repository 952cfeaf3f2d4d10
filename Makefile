# Every target sets up what it needs in $(VENV) first, so that any of them works in an
# empty clone on a machine that has Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
OLDEST := $(VENV)-oldest
BIN := $(VENV)/bin
PYTEST_ARGS ?=
export PYTHONHASHSEED := 0
export MPLBACKEND := Agg

.PHONY: help demo test test-slow test-oldest lint format docs dist bench clean

help:
	@echo "make demo         set up, then real images -> calibrated probabilities, offline (3 min after installation)"
	@echo "make test         the default test suite with coverage"
	@echo "make test-slow    the tests that are marked slow"
	@echo "make test-oldest  the default suite, Dask and Ray with the oldest supported versions"
	@echo "make lint         ruff (lint and format check) and mypy"
	@echo "make docs         the HTML documentation, warnings as errors, in docs/_build/html"
	@echo "make dist         wheel and sdist, checked, installed elsewhere and used as a user would"
	@echo "make bench        the comparisons of benchmarks/ (feature sets need SKCLIP_FEATURE_SETS)"
	@echo "make clean        remove what the other targets made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "skclip needs Python 3.11 or newer; got $$($(PYTHON) --version). Run: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

# One stamp per set of extras; pyproject.toml changing means installing again.
$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --progress-bar off -e .
	@touch $@

$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --progress-bar off -e ".[$*]"
	@touch $@

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py --output demo_output

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow" --cov --cov-report=term --cov-fail-under=97 $(PYTEST_ARGS)

test-slow: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow $(PYTEST_ARGS)

SITE_PACKAGES := "import sysconfig; print(sysconfig.get_path('purelib'))"
# An environment that lies over $(VENV): its .pth file puts the packages of $(VENV) behind its
# own, so that what tests/oldest.txt pins hides the newer version, and torch (5 GB) is shared.
$(OLDEST)/.test: tests/oldest.txt $(VENV)/.test
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "The oldest versions have wheels for Python 3.11; got $$($(BIN)/python --version). Run: make clean; make PYTHON=python3.11 test-oldest"; exit 1; }
	$(BIN)/python -m venv --clear $(OLDEST)
	$(BIN)/python -c $(SITE_PACKAGES) > "$$($(OLDEST)/bin/python -c $(SITE_PACKAGES))/behind.pth"
	$(OLDEST)/bin/python -m pip install --quiet --progress-bar off -r tests/oldest.txt -e .
	@touch $@

# Without the scripts of benchmarks/, which need not run with every version.
test-oldest: $(OLDEST)/.test
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n auto -m "not slow" \
		--ignore=tests/test_benchmarks.py $(PYTEST_ARGS)
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest tests/distributed $(PYTEST_ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html
	@echo "The pages are in docs/_build/html/index.html"

# The wheel is made of the sdist, and goes into an environment outside of this folder, behind which
# lie the packages of $(VENV), so that torch (5 GB) is shared; its own skclip does not: an editable
# installation is found by a .pth file, which Python does not read there.
dist: $(VENV)/.dist
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	@set -eu; unset PYTHONPATH; \
	place="$$(mktemp -d)"; trap 'rm -rf "$$place"' EXIT; \
	$(BIN)/python -m venv "$$place/env"; python="$$place/env/bin/python"; \
	$(BIN)/python -c $(SITE_PACKAGES) > "$$("$$python" -c $(SITE_PACKAGES))/behind.pth"; \
	"$$python" -m pip install --quiet --no-deps --no-index --force-reinstall dist/*.whl; \
	"$$python" tests/installed.py README.rst "$$place"

bench: $(VENV)/.test
	$(BIN)/python benchmarks/feature_sets.py
	$(BIN)/python benchmarks/adapter_speed.py

clean:
	rm -rf $(VENV) $(OLDEST) dist docs/_build docs/generated docs/gallery demo_output .pytest_cache .mypy_cache .ruff_cache .coverage
