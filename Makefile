# The two commands of a newcomer: make demo, make test. Both make .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint bench-continual results clean

demo: $(READY)
	$(BIN)/ndm demo

test: $(READY) lint
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-continual: $(READY)
	$(BIN)/python -m tests.plugins.continual.bench_throughput

# The tables and the picture that README cites, from nothing.
results: $(READY)
	rm -rf results/runs/readme-digits
	$(BIN)/ndm sweep continual/digits --out results/runs/readme-digits --table results/continual/digits.csv
	cp results/runs/readme-digits/summary.md results/continual/digits.md
	cp results/runs/readme-digits/ndm-seed0/figures/timeline.svg results/continual/digits-timeline.svg

clean:
	rm -rf $(VENV) results/runs

# torch first and pinned, so that no CUDA build is fetched by accident on a machine that has its own.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
