# kubeqpu: every target is one line that calls something else. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
MEMBERS := proto common kube qpu-gateway client cutting admission deviceplugin scheduler-extender
READY := .venv/ready
.DEFAULT_GOAL := help

NAME ?= kubeqpu
NODES ?= 2
ADDONS ?= coredns,kueue,argo
CLUSTER := $(BIN)/python -m tests.cluster

.PHONY: help demo test test-slow e2e bench lint type verify generate images chart clean setup \
	cluster-build cluster-up cluster-down cluster-status cluster-load cluster-logs

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: $(READY) ## Make the development environment in .venv

$(READY): requirements/dev.txt $(MEMBERS:%=%/pyproject.toml) tools/setup.sh
	@PYTHON=$(PYTHON) tools/setup.sh $(MEMBERS)

demo: $(READY) ## Cut three circuits and run them; or CIRCUIT=file OBSERVABLES="Z0 Z5; X1" MAX_QUBITS=4
	@$(BIN)/python -m examples.demo $(if $(CIRCUIT),--circuit "$(CIRCUIT)") $(if $(OBSERVABLES),--observables "$(OBSERVABLES)") $(if $(MAX_QUBITS),--max-qubits $(MAX_QUBITS))

test: $(READY) ## Run the unit and integration tests
	@$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-slow: $(READY) ## Run those that kill, wait and churn for longer than ten seconds
	@$(BIN)/python -m pytest -n auto --dist worksteal -m slow

e2e: $(READY) ## Run the end-to-end tests on a real cluster: one built here, or KUBECONFIG's
	@$(BIN)/python -m tools.e2e

images: $(READY) ## Build every component's image: with docker, or with buildah
	@$(BIN)/python -m tools.images

cluster-build: $(READY) ## Build the test cluster's programs
	@$(CLUSTER) build

cluster-up: $(READY) ## Bring up a test cluster: NAME, NODES, ADDONS
	@$(CLUSTER) up --name $(NAME) --nodes $(NODES) --addons $(ADDONS)

cluster-down: $(READY) ## Remove it
	@$(CLUSTER) down --name $(NAME)

cluster-status: $(READY) ## Say what runs of it
	@$(CLUSTER) status --name $(NAME)

cluster-load: $(READY) ## Load images into its nodes: IMAGES="one two"
	@$(CLUSTER) load --name $(NAME) $(IMAGES)

cluster-logs: $(READY) ## Show the ends of its logs
	@$(CLUSTER) logs --name $(NAME)

lint: $(READY) ## Check style, imports between components, and module length
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/python -m tools.check_size

type: $(READY) ## Check types
	@$(BIN)/mypy $(MEMBERS:%=%/src) tests tools examples

chart: $(READY) ## Check the chart: lint, every values file, helm-unittest
	@$(BIN)/python -m tools.chart

generate: $(READY) ## Regenerate stubs, pins, CRDs, values and their schema
	@$(BIN)/python -m tools.generate

verify: $(READY) ## Regenerate everything generated and fail on a difference
	@$(BIN)/python -m tools.verify

bench: $(READY) ## Run benchmarks: all, or BENCH=<name>
	@$(BIN)/python -m tests.benchmarks $(BENCH)

clean: ## Remove what was built, and the test cluster
	@if [ -d build/cluster/$(NAME) ]; then $(CLUSTER) down --name $(NAME); fi && rm -rf build .venv
