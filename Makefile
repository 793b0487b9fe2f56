# Two commands: `make demo` and `make test`. Everything else is for people who stay.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# With it set, as in many container images, each of a thousand processes compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# uv trusts the certificates of this machine only if asked. A proxy that inspects TLS signs with one of these.
UV_SYSTEM_CERTS ?= 1
export UV_SYSTEM_CERTS
# The lock names no index: pip's own configuration decides where packages come from.
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help setup demo up down test soak lint bench lock sbom audit clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.installed  ## Install everything into .venv (3 GB)

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), "Python 3.11, 3.12 or 3.13 is needed; this is " + sys.version.split()[0]'
	@echo "Installing into $(VENV): a few minutes the first time"
	@$(MAKE) --no-print-directory $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock \
		|| $(PIP) install --quiet --require-hashes --no-deps -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# pip before 24.2 trusts only its own certificates. Unless it is configured, it gets the path of this machine's.
$(BIN)/uv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@certificates=$$($(BIN)/python -c 'import os, pip, ssl; found = ssl.get_default_verify_paths(); \
		print("" if pip.__version__ >= "24.2" else os.environ.get("REQUESTS_CA_BUNDLE") or found.cafile or found.capath or "")'); \
	if test -n "$$certificates" && ! $(PIP) config list | grep "cert=" >/dev/null; then \
		$(PIP) config --quiet --site set global.cert "$$certificates"; fi
	$(PIP) install --quiet uv==$(UV_VERSION)

demo: setup  ## Retrain, promote, score a night, query it: the main job on real parts
	$(BIN)/python -m devstack demo

up: setup  ## Start the embedded stack and leave it running, the DAGs on their schedules
	$(BIN)/python -m devstack up

down: setup  ## Stop the embedded stack; what it stored stays in .devstack
	$(BIN)/python -m devstack down

test: setup  ## Run the tests (under 15 minutes on 2 cores)
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder

soak: setup  ## Run the long tests: kills, load, browser, workers, mutants
	$(BIN)/python -m pytest -m soak -n 2 --dist loadfile --no-loadscope-reorder

lint: setup  ## Check style and types, and ask for known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory audit

bench: setup  ## Measure the speed claims that take minutes; docs/performance.md has the commands of the others
	$(BIN)/python -m benchmarks

lock: $(BIN)/uv  ## Resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra train --extra airflow --extra parquet --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

sbom: setup  ## Write sbom.json: everything installed, with versions and licenses, as CycloneDX
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py environment $(BIN)/python --output-format JSON --output-file sbom.json

audit: setup  ## Ask PyPI's database for known vulnerabilities of what is locked; one that it finds is a failure
	@$(BIN)/uv tool run --quiet pip-audit==2.10.1 --progress-spinner off --disable-pip --no-deps --requirement \
		<(sed -e '/--hash/d' -e 's/ \\$$//' requirements.lock) >$(VENV)/audit 2>&1 || echo "The audit ended with exit code $$?."
	@awk '/^WARNING/ {next} /could not be audited/ {n++; next} {print} \
		END {if (n) print n " packages NOT audited: the index here does not know them."}' $(VENV)/audit
	@! grep -q '^Found [0-9]* known vulnerabilit' $(VENV)/audit

clean:  ## Stop the stack and remove everything that make made
	test ! -x $(BIN)/python || $(BIN)/python -m devstack down
	rm -rf .devstack $(VENV) sbom.json .pytest_cache .mypy_cache .ruff_cache
