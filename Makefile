# kubeqpu: every target is one line that calls something else. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
MEMBERS := proto common qpu-gateway client cutting
READY := .venv/ready
.DEFAULT_GOAL := help

.PHONY: help demo test e2e bench lint type verify generate images chart docs clean setup

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: $(READY) ## Make the development environment in .venv

$(READY): requirements/dev.txt $(MEMBERS:%=%/pyproject.toml) tools/setup.sh
	@PYTHON=$(PYTHON) tools/setup.sh $(MEMBERS)

test: $(READY) ## Run the unit and integration tests
	@$(BIN)/python -m pytest

lint: $(READY) ## Check style, imports between components, and module length
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/python -m tools.check_size

type: $(READY) ## Check types
	@$(BIN)/mypy $(MEMBERS:%=%/src) tests tools

chart: $(READY) ## Check the chart: lint, every values file, helm-unittest
	@$(BIN)/python -m tools.chart

generate: $(READY) ## Regenerate stubs, pins, CRDs, values and their schema
	@$(BIN)/python -m tools.generate

verify: $(READY) ## Regenerate everything generated and fail on a difference
	@$(BIN)/python -m tools.verify

bench: $(READY) ## Run benchmarks: all, or BENCH=<name>
	@$(BIN)/python -m tests.benchmarks $(BENCH)

clean: ## Remove what was built
	@rm -rf build .venv
