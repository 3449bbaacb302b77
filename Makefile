# SPDX-License-Identifier: Apache-2.0
#
# Needs make, git, python3 and root (or sudo) on Debian 12. What is kept between
# runs stays outside the tree, in $HEPIX_VM_CACHE (~/.cache/hepix-vm).

SHELL := /bin/sh
PYTHON ?= python3
GROUP ?= all
REMOVE ?=
JSON ?=
KEEP ?=
HEPIX_VM_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hepix-vm
ENVIRONMENTS := pep8,mypy,py3,functional
TOX_DIR := $(HEPIX_VM_CACHE)/tox/$(shell printf %s "$(CURDIR)" | cksum | cut -d ' ' -f 1)
DEMO_DIR := $(HEPIX_VM_CACHE)/demo

export HEPIX_VM_CACHE PYTHON KEEP

# Environments after a failed one run too; the exit status says if any failed.
tox = tools=$$(tools/bootstrap) && "$$tools/tox" run --workdir '$(TOX_DIR)'

.DEFAULT_GOAL := help
.PHONY: help demo demo-down test lint paths bench clean packages

help:
	@echo 'make demo        the story of an image on a real cloud (KEEP=1 leaves it running)'
	@echo 'make demo-down   ends the cloud that KEEP=1 left'
	@echo 'make test        all tests, with real services'
	@echo 'make lint        style, types and shell scripts alone'
	@echo 'make paths       every way of an image to a server on real clouds (REMOVE=part|all: that the table notices)'
	@echo 'make bench       figures beside their peers (GROUP=trust|catalogue|enforcement|context|window|all JSON=FILE)'
	@echo 'make clean       removes what was built in the tree, and the tox environments'

packages:
	@tools/install-system-packages

demo:
	@tools/install-system-packages network worker
	@$(PYTHON) -m tests.cloud python -m tests.demo --work-dir '$(DEMO_DIR)'

demo-down:
	@$(PYTHON) -m tests.cloud down --work-dir '$(DEMO_DIR)'

test:
	@tools/install-system-packages guests network worker
	@$(tox) -e $(ENVIRONMENTS)

lint: packages
	@$(tox) -e pep8,mypy

paths: packages
	@$(PYTHON) -m tests.cloud python -m tests.paths --remove '$(REMOVE)'

bench: packages
	@GROUP='$(GROUP)' JSON='$(JSON)' $(PYTHON) -m tests.cloud python -m benchmarks

clean:
	rm -rf build dist .eggs *.egg-info AUTHORS ChangeLog cover doc/build
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	if [ -f .venv ]; then rm .venv; fi
	rm -rf '$(TOX_DIR)'
