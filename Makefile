# The two commands of a newcomer: make demo, make test. Both make .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint bench-continual bench-geometry bench-claims results clean

demo: $(READY)
	$(BIN)/ndm demo

test: $(READY) lint
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-continual: $(READY)
	$(BIN)/python -m tests.plugins.continual.bench_throughput --write

# Curvature, geodesics, natural gradient and stability, each beside its peers; tables under results/geometry/.
bench-geometry: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	for part in tests.geometry.bench_curvature tests.geometry.bench_geodesics \
	  tests.engine.bench_natural_gradient tests.engine.bench_stability; do \
	  OMP_NUM_THREADS=1 $(BIN)/python -m $$part --write || exit 1; \
	done

# The tables and the picture that README cites, from nothing.
SYSTEMS := harmonic_oscillator isotropic_oscillator_2d pendulum henon_heiles damped_oscillator lorenz
results: $(READY)
	rm -rf results/runs/readme-digits results/runs/readme-physics
	$(BIN)/ndm sweep continual/digits --out results/runs/readme-digits --table results/continual/digits.csv
	cp results/runs/readme-digits/summary.md results/continual/digits.md
	cp results/runs/readme-digits/ndm-seed0/figures/timeline.svg results/continual/digits-timeline.svg
	rm -rf results/runs/readme-ablation
	$(BIN)/ndm sweep continual/digits --set method=ndm --set methods.ndm.lift=0,2000 --set methods.ndm.solver=lda,ridge \
	  --out results/runs/readme-ablation --table results/continual/digits-ablation.md
	for system in $(SYSTEMS); do \
	  $(BIN)/ndm sweep physics/$$system --set task.noise=0.0,0.01 --out results/runs/readme-physics/$$system || exit 1; \
	done
	$(BIN)/ndm report results/runs/readme-physics --table results/physics/laws.csv
	$(BIN)/ndm report results/runs/readme-physics --table results/physics/laws.md

clean:
	rm -rf $(VENV) results/runs

# torch first and pinned, so that no CUDA build is fetched by accident on a machine that has its own.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
