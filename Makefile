# Every target does its own set-up: all that is needed is make and Python 3.11 or newer.
# `make demo` bakes a subject on the embedded base model; `make test` and `make lint` are what CI runs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
SOURCES := pyproject.toml constraints-cpu.txt
PYTHON ?=

# Small models on few cores: one thread for each of two test processes beats two threads for one.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile

.PHONY: help demo test lint bench docs clean
help:
	@echo "make demo    the whole line on example images and the embedded base model, into ./demo"
	@echo "make test    the tests"
	@echo "make lint    style, types and the order of the rooms"
	@echo "make bench   how fast it is here, beside others"
	@echo "make docs    write the generated tables of docs/ again"
	@echo "make clean   remove what make made (not ./demo, not ./runs)"

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
	@$(PY) -m tools.write_program_support_docs

bench: $(VENV)/.ready-dev
	@$(PY) -m benchmarks

clean:
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@found=""; \
	for p in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	  if "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found="$$p"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "bakehouse needs Python 3.11 or newer with its venv module, and found none." >&2; \
	  echo "  Install one (Debian, Ubuntu: apt install python3-venv), or name one: make PYTHON=/path/to/python3.12 ..." >&2; \
	  exit 2; \
	fi; \
	echo "making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv $(VENV)

# Without an NVIDIA GPU a constraint keeps PyTorch at the version (and, where the index has it, the build) for CPUs.
INSTALL = @echo "installing bakehouse$(1) into $(VENV)"; \
	constraint="-c constraints-cpu.txt"; \
	if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then constraint=""; fi; \
	$(PY) -m pip install --quiet --disable-pip-version-check $$constraint -e ".$(1)"; \
	touch $@

$(VENV)/.ready: $(SOURCES) | $(VENV)/bin/python
	$(call INSTALL,)

$(VENV)/.ready-dev: $(SOURCES) | $(VENV)/bin/python
	$(call INSTALL,[dev])
	@# Alone: the torchvision it asks for is built for CUDA, breaks beside a CPU's PyTorch, and no upscaler needs it.
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps "spandrel>=0.4"
	@touch $(VENV)/.ready
