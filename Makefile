# Trendmill's commands. Each creates or refreshes the environment by itself: Python (3.11 or newer) and make are enough.

PYTHON ?= python3
MARKET ?= complete_journey
DATE ?= 2017-11-30
# GPU=1 installs TensorFlow's CUDA build (Linux with an NVIDIA GPU).
GPU ?=
UPGRADE ?=
# Further options for pytest, for example: make test PYTEST_ARGS="-k lake".
PYTEST_ARGS ?=

BIN := .venv/bin

# Two workers: one that has run out of tests takes over some of the other's, so that both end at once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

BOOTSTRAP := $(PYTHON) bootstrap.py $(if $(filter-out 0 no false,$(GPU)),--gpu)

.DEFAULT_GOAL := help
.PHONY: help run ui test test-fast lint format lock clean install install-dev python

help: ## Show these commands.
	@echo "Trendmill: make COMMAND [NAME=VALUE ...]"
	@echo
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS='|' read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  MARKET=$(MARKET)  DATE=$(DATE)  PYTHON=$(PYTHON)  GPU=1 for an NVIDIA GPU"

run: install ## One nightly cycle of MARKET for DATE, on the real engine.
	@$(BIN)/trendmill run "$(MARKET)" --date "$(DATE)"

ui: install ## Open Airflow, MLflow and the report.
	@$(BIN)/trendmill ui

test: install-dev ## The whole test suite.
	@$(PYTEST) $(PYTEST_ARGS)

test-fast: install-dev ## The tests that neither start the engine nor train for long.
	@$(PYTEST) -m "not slow" $(PYTEST_ARGS)

lint: install-dev ## Style, formatting, types and the walls between the packages.
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/ruff format --check . || status=1; \
	$(BIN)/mypy || status=1; \
	$(BIN)/lint-imports --no-logo || status=1; \
	exit $$status

format: install-dev ## Rewrite the code in the project's format.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only .

lock: python ## Write the three locks from requirements*.in; UPGRADE=1 takes the newest versions allowed.
	@$(PYTHON) bootstrap.py --lock $(if $(UPGRADE),--upgrade)

clean: ## Remove the environment and all caches; the data in .trendmill stays.
	@rm -rf .venv .venv-tools build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "The environment and the caches are gone."
	@if [ -d .trendmill ]; then \
		echo "Your data (tables, models, reports) stays in .trendmill; to remove it for good: rm -r .trendmill"; \
	fi

install: python
	@$(BOOTSTRAP)

install-dev: python
	@$(BOOTSTRAP) --dev

python:
	@command -v $(firstword $(PYTHON)) >/dev/null 2>&1 || { \
		echo "There is no '$(firstword $(PYTHON))' on this machine: install Python 3.11, 3.12 or 3.13, or name yours with PYTHON=..." >&2; \
		exit 1; }
