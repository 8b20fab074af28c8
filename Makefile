# Two commands on a fresh machine: make demo, make test. Both make .venv first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install
install: $(VENV)/installed
