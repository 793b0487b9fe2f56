# Start with `make demo` and `make test`. The other targets are for operators and contributors.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Many container images set it. Then each of a thousand processes compiles all its imports again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# uv trusts this machine's certificates only with this setting. A proxy that inspects TLS signs with one of them.
UV_SYSTEM_CERTS ?= 1
export UV_SYSTEM_CERTS
# The lock names no index, because pip's own configuration decides the source of packages.
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

# pip before 24.2 trusts only its own certificates. If it is not configured, it gets the path of this machine's.
$(BIN)/uv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@certificates=$$($(BIN)/python -c 'import os, pip, ssl; found = ssl.get_default_verify_paths(); \
		print("" if pip.__version__ >= "24.2" else os.environ.get("REQUESTS_CA_BUNDLE") or found.cafile or found.capath or "")'); \
	if test -n "$$certificates" && ! $(PIP) config list | grep "cert=" >/dev/null; then \
		$(PIP) config --quiet --site set global.cert "$$certificates"; fi
	$(PIP) install --quiet uv==$(UV_VERSION)

demo: setup  ## Retrain, promote, score and query on real servers
	$(BIN)/python -m devstack demo

up: setup  ## Start the development stack and leave it running, with the DAGs on their schedules
	$(BIN)/python -m devstack up

down: setup  ## Stop the development stack; its data stays in .devstack
	$(BIN)/python -m devstack down

test: setup  ## Run all tests but the long ones (11 to 13 minutes on 2 cores)
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder

soak: setup  ## Run the long tests: kills, load, browser, workers, mutants
	$(BIN)/python -m pytest -m soak -n 3 --dist loadfile --no-loadscope-reorder

lint: setup  ## Check style, types, import layers and known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory audit

bench: setup  ## Run the benchmarks of docs/performance.md that need no data
	$(BIN)/python -m benchmarks

lock: $(BIN)/uv  ## Resolve requirements.lock again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra train --extra airflow --extra parquet --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

sbom: setup  ## Write sbom.json: the installed packages with versions and licenses, as CycloneDX
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py environment $(BIN)/python --output-format JSON --output-file sbom.json

audit: setup  ## Check the locked packages for known vulnerabilities in PyPI's database; fail if there are any
	@$(BIN)/uv tool run --quiet pip-audit==2.10.1 --progress-spinner off --disable-pip --no-deps --requirement \
		<(sed -e '/--hash/d' -e 's/ \\$$//' requirements.lock) >$(VENV)/audit 2>&1 || echo "The audit ended with exit code $$?."
	@awk '/^WARNING/ {next} /could not be audited/ {n++; next} {print} \
		END {if (n) print n " packages NOT audited: the index here does not know them."}' $(VENV)/audit
	@! grep -q '^Found [0-9]* known vulnerabilit' $(VENV)/audit

clean:  ## Stop the stack and remove everything that make created
	@if $(BIN)/python -c 'import devstack.__main__' 2>/dev/null; then $(BIN)/python -m devstack down; fi
	rm -rf .devstack $(VENV) sbom.json .pytest_cache .mypy_cache .ruff_cache
