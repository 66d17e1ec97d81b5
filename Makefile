# Each target does its own set-up; the first one says what there is.
SHELL := /bin/sh
VENV := $(or $(LASTGOOD_VENV),.venv)
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

.PHONY: demo
demo: ## a shop breaks and comes back, before your eyes (about a minute)
	@scripts/bootstrap demo
	@$(BIN)/lastgood demo

.PHONY: demo-docker
demo-docker: ## the same with containers at three sites (as root, on a Docker of its own)
	@scripts/system-packages
	@scripts/bootstrap demo docker
	@$(BIN)/lastgood demo --docker

.PHONY: demo-restore
demo-restore: ## a migration spoils the prices, and they come back with every order since
	@scripts/bootstrap demo
	@$(BIN)/lastgood demo --restore

.PHONY: demo-mariadb
demo-mariadb: ## the first one with MariaDB in the place of PostgreSQL (as root)
	@scripts/system-packages
	@scripts/bootstrap demo
	@$(BIN)/lastgood demo --database mariadb

.PHONY: test
test: ## every test, against real servers (ARGS="-k name" for some)
	@scripts/system-packages
	@scripts/bootstrap dev demo docker
	@scripts/oscar
	$(BIN)/python -m pytest -n 4 --dist loadgroup $(ARGS)

.PHONY: lint
lint: ## mistakes and formatting
	@scripts/bootstrap dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: ## mypy --strict
	@scripts/bootstrap dev docker
	$(BIN)/mypy

.PHONY: contracts
contracts: ## who may import whom
	@scripts/bootstrap dev
	$(BIN)/lint-imports

.PHONY: bench
bench: ## the figures (ONLY=name for one of them)
	@scripts/system-packages bench
	@scripts/bootstrap dev demo docker
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

.PHONY: messages
messages: ## take new messages into the catalogue, and compile it
	@scripts/bootstrap dev
	$(BIN)/python scripts/messages.py update

.PHONY: clean
clean: ## the environment, caches and builds
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
