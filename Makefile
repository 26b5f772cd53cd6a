# `make test` is the one command: on a fresh Debian 12 machine, as root or with sudo, it installs what the tests use,
# makes the virtual environment, and runs every check. The other targets expect that it, or `make venv`, ran before.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
ARGS ?=

bin := $(VENV)/bin
installed := $(VENV)/.installed
quick := $(wildcard tests/unit tests/property tests/golden tests/cli)
needs := not soak and not network and not docker and not podman and not bwrap and not gpu
sources := repro_env tests $(wildcard benchmarks) $(wildcard tools/*.py)
# A hung test shows where it hangs instead of ending the job in silence.
pytest := $(bin)/python -m pytest -o faulthandler_timeout=600 -n $(WORKERS) --dist loadgroup

.PHONY: help test prepare venv lint format unit soak bench docs golden clean

help: ## what can be made
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 16

test: prepare lint ## everything: system packages, Docker, virtual environment, ruff, mypy, all tests
	$(pytest) -m "not soak" $(ARGS)

prepare: ## install what the tests use from Debian's packages and start Docker if none answers
	tools/prepare.sh

venv: $(installed) ## the virtual environment, with this project editable and its development tools

$(installed): pyproject.toml tools/make_venv.sh
	tools/make_venv.sh $(PYTHON) $(VENV)
	touch $@

lint: $(installed) ## ruff and mypy --strict
	$(bin)/ruff format --check $(sources)
	$(bin)/ruff check $(sources)
	$(bin)/mypy

format: $(installed) ## let ruff rewrite what it can
	$(bin)/ruff format $(sources)
	$(bin)/ruff check --fix $(sources)

unit: $(installed) ## the tests that need nothing but Python
	$(pytest) $(quick) -m "$(needs)" $(ARGS)

soak: $(installed) ## the slow tests: kills at random moments, many processes on one store
	$(pytest) -m soak $(ARGS)

golden: $(installed) ## write the golden files anew; review the difference
	REPRO_WRITE_GOLDEN=1 $(pytest) $(wildcard tests/golden tests/cli) -m "not soak" $(ARGS)

bench: $(installed) ## the benchmarks, side by side with peers, into docs/benchmarks.md and docs/benchmarks-data.md
	$(bin)/python benchmarks/run.py $(ARGS)
	$(bin)/python benchmarks/data.py

docs: $(installed) ## the reference pages that are written from the program itself
	$(bin)/python tools/write_reference.py

clean: ## remove what the targets above made here; caches outside this directory stay
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
