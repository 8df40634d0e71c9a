.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.8
# uv from the machine, or our own copy where the machine has none
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin/
STAMP := .venv/.installed

help: ## show the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## install tickcast and everything it needs into .venv (idempotent)

.uv/bin/uv:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it (Debian: apt-get install python3 python3-venv)."; exit 2; }
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): requirements.lock pyproject.toml $(filter .uv/%,$(UV))
	$(UV) venv --quiet --allow-existing --python 3.11 .venv
	$(UV) pip sync --quiet --python .venv/bin/python requirements.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps --editable .
	@touch $@

lock: $(filter .uv/%,$(UV)) ## resolve the dependencies again into requirements.lock
	$(UV) pip compile --quiet --generate-hashes --no-emit-index-url --extra dev --extra train --extra plots --python-version 3.11 pyproject.toml -o requirements.lock

# TypeScript, which checks the types of the page's modules: from npm, by the lock file, run by the Node that a Python package brings
TYPES := consumers/console/types
TSC := .venv/typescript/node_modules/.bin/tsc
$(TSC): $(TYPES)/package.json $(TYPES)/package-lock.json $(STAMP)
	@mkdir -p .venv/typescript && cp $(TYPES)/package.json $(TYPES)/package-lock.json .venv/typescript/
	@PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --prefix .venv/typescript --ignore-scripts --no-audit --no-fund --silent
	@touch $@

check: install $(TSC) ## lint, types, the import law, generated documents
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy
	$(RUN)node $(TSC) -p $(TYPES)/tsconfig.json
	$(RUN)lint-imports
	$(RUN)python -m deploy.documents --check

test: install ## run every test, on real parts, by two processes
	HF_HUB_OFFLINE=1 $(RUN)pytest -n 2 --dist loadfile --durations 40

bench: install ## measure this machine: latency of the live pipeline
	$(RUN)tickcast bench latency

sbom: install ## write the list of all packages (CycloneDX) to artifacts/, validated
	@mkdir -p artifacts
	$(RUN)cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --validate -o artifacts/sbom.cdx.json

audit: install ## ask a database of known holes about all packages, where it can be reached
	$(RUN)python -m deploy.advisories

run: install ## start the broker and the whole pipeline on the simulated market, and open the page
	$(RUN)tickcast up --open

.PHONY: help install lock check test bench sbom audit run
