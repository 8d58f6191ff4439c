# make demo   render a data set, train, evaluate, show the result
# make test   lint and test suite
# make docs   the docs site, in docs/_build/html
# All install what they need into .venv first, once.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
REQUIREMENTS := requirements/runtime.txt requirements/mminstall.txt \
	requirements/tests.txt requirements/demo.txt setup.py Makefile
# faiss-gpu has the same import name; FAISS=faiss-gpu where CUDA 12 is
FAISS ?= faiss-cpu
PYTEST_ARGS ?=

.PHONY: demo test lint pytest install clean docs

demo: $(INSTALLED)
	$(BIN)/python tools/demo.py

test: lint pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# one process a core, one thread each; files in order, so that the longest is not last
pytest: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# warnings are errors; neither network nor GPU once requirements/docs.txt is there
docs: $(INSTALLED)
	@$(BIN)/python -c 'import furo, myst_nb, sphinx_copybutton' 2>/dev/null || \
	    $(BIN)/python -m pip install --quiet --no-compile -r requirements/docs.txt
	$(BIN)/python -W ignore -m sphinx -q -n -W --keep-going -b html docs docs/_build/html
	@echo "Built: docs/_build/html/index.html"

install: $(INSTALLED)

$(INSTALLED): $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "Python 3.10 or newer is needed, '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." \
	         "Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { \
	    echo "Could not make a virtual environment in $(VENV). On Debian and Ubuntu:" \
	         "apt install python3-venv"; exit 1; }
	@echo "Installing into $(VENV): about 6 GB with torch, a few minutes."
	@$(BIN)/python -m pip install --quiet --upgrade pip && \
	$(BIN)/python -m pip install --no-compile \
	    -r requirements/runtime.txt -r requirements/mminstall.txt \
	    -r requirements/tests.txt $(FAISS) && \
	$(BIN)/python -m pip install --quiet --no-compile --no-deps -r requirements/demo.txt && \
	$(BIN)/python -m pip install --quiet --no-deps -e . || { \
	    echo; echo "The installation stopped; the lines above name what is missing." \
	    "It needs a Python package index, and 8 GB of disk space. Once it is" \
	    "complete, no network is needed. Run the same command again to go on."; exit 1; }
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) data/synthetic work_dirs/gcl_synthetic
