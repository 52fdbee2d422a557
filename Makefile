# `make demo` and `make test` need Python >= 3.11 and make, nothing else.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
# A CPU build of torch is enough for everything here and saves gigabytes:
# make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
# The versions of the lock; `make LOCK= …` takes the newest that pyproject.toml allows.
LOCK ?= -c requirements/dev.txt
export OMP_NUM_THREADS ?= 1
# Text is UTF-8, whatever the locale of the machine says.
export PYTHONUTF8 ?= 1

.PHONY: demo reliability soak test test-long test-lowest test-cluster lock lint types docs screenshots env clean

demo: $(STAMP)  ## train on simulated recordings, print the result table and the path of a figure
	$(BIN)/neurotwin train mallick2024/demo

test: $(DEV)  ## the tests of every change
	$(BIN)/python -m pytest -n 2 -m "not slow and not cluster"

test-long: $(DEV)  ## everything, the slow tests too
	$(BIN)/python -m pytest -n 2 -m "not cluster"

# uv takes the lower bounds of pyproject.toml. A CPU build of torch from a folder, of the only version that lies there:
# make test-lowest UV_ARGS="--find-links FOLDER --constraint FILE", with a line torch==2.13.0+cpu in FILE.
test-lowest:  ## imports, gates, the demos and the readers with the oldest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install -q uv
	.venv-lowest/bin/uv pip install -q --python .venv-lowest/bin/python --resolution lowest-direct $(UV_ARGS) -e . --group dev
	.venv-lowest/bin/python -m pytest tests/test_smoke.py

lock: $(DEV)  ## requirements/dev.txt anew: the newest versions that pyproject.toml allows
	$(BIN)/python -m pip install -q uv
	echo "# Versions that neurotwin is developed and tested with; a constraints file for pip and uv. Written by: make lock" > requirements/dev.txt
	$(BIN)/uv pip compile --universal --python-version 3.11 -q pyproject.toml --group dev --group docs --no-header --no-annotate --no-emit-package setuptools >> requirements/dev.txt

test-cluster: $(DEV)  ## SLURM and PostgreSQL for real; as root, after: apt-get install slurm-wlm munge postgresql
	$(BIN)/python -m pytest -m cluster -rs

reliability: $(DEV)  ## hundreds of faults and 100,000 damaged files; writes docs/reliability.md
	-cd tests && $(abspath $(BIN))/python -m reliability.crash --faults 240
	-cd tests && $(abspath $(BIN))/python -m reliability.fuzz --inputs 100000 --keep
	cd tests && $(abspath $(BIN))/python -m reliability.table

soak: $(DEV)  ## two hours of training in one process: do memory or file handles grow?
	cd tests && $(abspath $(BIN))/python -m reliability.soak --minutes 120
	cd tests && $(abspath $(BIN))/python -m reliability.table

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

docs: $(DEV)  ## the site, without a warning, into docs/_build
	$(BIN)/python -m pip install -q $(PIP_ARGS) $(LOCK) --group docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

screenshots: $(DEV)  ## train the demos, take the pictures of docs/images anew; needs Chromium
	$(BIN)/python -m pip install -q $(PIP_ARGS) --group browser
	$(BIN)/python docs/screenshots.py

env: $(DEV)

$(STAMP): pyproject.toml requirements/dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "neurotwin needs Python 3.11 or newer: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1" "setuptools>=77" wheel
	$(BIN)/python -m pip install -q $(PIP_ARGS) $(LOCK) -e .
	touch $@

$(DEV): $(STAMP)
	$(BIN)/python -m pip install -q $(PIP_ARGS) $(LOCK) --group dev
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest build *.egg-info .mypy_cache .pytest_cache .ruff_cache
