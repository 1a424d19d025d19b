# Two commands first: `make demo` and `make test`. Everything lives in .venv; `make clean` removes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check setup bench clean
demo: $(STAMP)            ## train on 1,797 real handwritten digits and open-able report
	$(BIN)/python -m visum.demo demo

test: $(STAMP)            ## the quick tests, offline
	$(BIN)/python -m pytest -m "not slow" -n 2

check: $(STAMP)           ## what CI runs; TESTS="-m slow" leaves out what `make test` has run
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 $(TESTS)

setup: $(STAMP)           ## make .venv and install visum with its development tools

bench: $(STAMP)           ## side-by-side measurements; minutes; prints the tables of benchmarks/README.md
	$(BIN)/python benchmarks/run.py

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "visum needs Python 3.11 or newer; got " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
