PYTHON ?= python3
BIN := .venv/bin
# Small tensors: a second thread gives little, and where the cores are shared it costs a factor of ten.
export OMP_NUM_THREADS ?= 1
export DATASTILL_DATA ?= $(CURDIR)/../shared/data
# What is compiled once is kept: every process and worker of the tests would compile it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test test-oldest check docs clean
help:            ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/:/'

install: .venv/installed ## .venv with the library and what its tests need, pinned by constraints.txt
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "datastill needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing 1.7 GB, which can take some minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
	@echo "done; for the command datastill in this shell: . $(BIN)/activate"

demo: install    ## distil the embedded digits and write an HTML report: two to five minutes
	rm -rf runs/demo
	$(BIN)/datastill distill digits --out runs/demo
	@echo "open $(CURDIR)/runs/demo/report.html"

check: install   ## lint, format, types, layers
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/pyrefly check
	$(BIN)/lint-imports

docs: .venv-docs/installed ## the documentation as a site in site/, built strictly; needs neither datastill nor torch
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	@echo "open $(CURDIR)/site/index.html"

.venv-docs/installed: pyproject.toml constraints.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
		> .venv-docs/requirements.txt
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r .venv-docs/requirements.txt
	touch $@

test: check      ## check, then all tests, two at a time
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-oldest: .venv-oldest/installed ## all tests with the oldest releases that pyproject.toml promises (7 GB, Python 3.11)
	.venv-oldest/bin/python -m pytest -n 2 --dist worksteal

.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e '.[test]'
	touch $@

clean:           ## remove the environments and caches; runs stay
	rm -rf .venv .venv-oldest .venv-docs site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
