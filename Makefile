# Everything runs in .venv, which is made here when it is missing or older than what it was made from.
# PYTHON picks the interpreter; extra options for pip go into PIP_OPTIONS.
PYTHON ?= python3
PIP_OPTIONS ?=
TEST_PROCESSES ?= 2
BIN := .venv/bin
STAMP := .venv/.ready

.PHONY: demo test lint docs shown faults bench gpu-check clean help

help: ## list these verbs
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	rm -rf .venv
	@echo "Installing into .venv: some minutes, and on Linux some gigabytes."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## the whole job on the sample in data/
	$(BIN)/featstore extract data --encoder stain-texture --repeats 4 --store build/demo.store
	$(BIN)/featstore fit build/demo.store --model build/demo.model
	$(BIN)/featstore predict build/demo.model build/demo.store --out build/demo-predictions.csv
	$(BIN)/python data/score.py build/demo-predictions.csv data/test_labels.csv

test: $(STAMP) ## the tests, a file to a process, TEST_PROCESSES (2) of them at a time
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

lint: $(STAMP) ## style, types, and which room may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=.:cli $(BIN)/lint-imports

docs: $(STAMP) ## these pages and the reference as HTML: build/docs/index.html; a warning or a broken link is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

shown: $(STAMP) ## numbers and fingerprints in the outputs that README and docs show, from running their commands
	FEATSTORE_REWRITE_SHOWN=1 $(BIN)/python -m pytest -q -n0 tests/docs

faults: $(STAMP) ## faults at length: a store's 200 kills, 8 writers of 50 commits, 500 flipped bytes; 10 kills of a training (minutes)
	FAULTS=long $(BIN)/python -m pytest tests/store/faults
	FAULTS=long $(BIN)/python -m pytest tests/cli/test_baseline.py -k killed

bench: $(STAMP) ## every benchmark, as ratios measured in one run
	$(BIN)/python -m tests.benchmarks

gpu-check: $(STAMP) ## parity and speed on this machine's GPU, or on its CPU: tables, exit 1 without parity (minutes)
	$(BIN)/python -m tests.benchmarks.gpu_check

clean: ## remove the environment and caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist docs/reference
