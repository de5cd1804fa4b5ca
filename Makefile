# The two commands of a newcomer: make demo, make test. Both make .venv on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint bench-laws bench-measured bench-killing bench-second-opinion bench-planning bench-tracking bench-sweep bench-scaling bench-generative chaos bench-continual bench-signals bench-streams bench-compare bench-geometry bench-stability bench-claims results clean

demo: $(READY)
	$(BIN)/ndm demo

test: $(READY) lint
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The training loop, the learner and its read-out beside their peers; needs MNIST in NDM_DATA.
bench-continual: $(READY)
	$(BIN)/python -m tests.plugins.continual.bench_throughput --write
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.plugins.continual.bench_learner --write
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.engine.bench_readout --write

# Every signal and rule of shift detection on the same streams; needs MNIST and FashionMNIST in NDM_DATA, about ten minutes.
bench-signals: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python -m tests.plugins.continual.shift.bench_signals --seeds 5 --tuning 3 --write

# The streams of README, with the NDM alone; needs all data sets in NDM_DATA, about two hours on two cores.
STREAMS := mnist fashion_mnist cifar10 permuted_mnist rotated_mnist omniglot electricity
SHIFTS := mnist-shifts fashion_mnist-shifts mnist-stationary
bench-streams: $(READY)
	for stream in $(STREAMS); do \
	  $(BIN)/ndm sweep continual/$$stream --out results/runs/streams/$$stream || exit 1; \
	done
	for stream in $(SHIFTS); do $(BIN)/ndm sweep continual/$$stream --out results/runs/shifts/$$stream || exit 1; done
	$(BIN)/ndm report results/runs/streams --table results/continual/streams.md
	$(BIN)/ndm report results/runs/shifts --table results/continual/shifts.md

# The NDM beside its baselines in the same loop; hours. The trees need river.
COMPARED := compare compare-fashion_mnist compare-cifar10 compare-features compare-omniglot compare-electricity trained-ablation
bench-compare: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	for stream in $(COMPARED); do \
	  $(BIN)/ndm sweep continual/$$stream --out results/runs/$$stream --table results/continual/$$stream.md || exit 1; \
	done

# The geometry engine beside its peers, one thread, about eight minutes; tables under results/geometry/.
GEOMETRY := tests.geometry.bench_curvature tests.geometry.bench_exactness tests.geometry.bench_geodesics \
  tests.engine.bench_coordinates tests.engine.bench_natural_gradient
bench-geometry: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	for part in $(GEOMETRY); do OMP_NUM_THREADS=1 $(BIN)/python -m $$part --write || exit 1; done

# Metric Nets through 10,000 stiff steps, and the robust loss at a large learning rate; about half an hour.
bench-stability: $(READY)
	for part in tests.engine.bench_stability tests.engine.bench_robust_loss; do \
	  OMP_NUM_THREADS=1 $(BIN)/python -m $$part --write || exit 1; \
	done

# What the paper claims, on data; needs MNIST in NDM_DATA, about half an hour.
CLAIMS := results/runs/claims
CLAIM = $(BIN)/ndm sweep --jobs 1
LAMBDAS := 0.0,1e-4,1e-3,1e-2,1e-1,1.0
STRUCTURES := conformal,diagonal,low_rank,cholesky
bench-claims: $(READY)
	rm -rf $(CLAIMS)
	$(CLAIM) claims/generalisation --out $(CLAIMS)/generalisation/digits-200
	$(CLAIM) claims/generalisation-digits-100 --out $(CLAIMS)/generalisation/digits-100
	$(CLAIM) claims/generalisation-mnist-1000 --out $(CLAIMS)/generalisation/mnist-1000
	$(CLAIM) claims/natural_gradient --set methods.ndm_natural.learned=0.0,1.0 --out $(CLAIMS)/natural_gradient/digits-200
	$(CLAIM) claims/lambda --set method=ndm --set methods.ndm.geometric=$(LAMBDAS) --out $(CLAIMS)/lambda/ndm
	$(CLAIM) claims/lambda --set method=ndm --set methods.ndm.weighting=balanced \
	  --set methods.ndm.geometric=0.1,1.0 --out $(CLAIMS)/lambda/balanced
	$(CLAIM) claims/lambda --set method=ndm_compatible --set methods.ndm_compatible.geometric=$(LAMBDAS) \
	  --out $(CLAIMS)/lambda/ndm_compatible
	$(CLAIM) claims/approximations --set methods.ndm.structure=$(STRUCTURES) --set methods.ndm.points=null,16,4 \
	  --out $(CLAIMS)/approximations/points
	$(CLAIM) claims/approximations --set methods.ndm.structure=$(STRUCTURES) --set methods.ndm.points=null \
	  --set methods.ndm.curv_every=4 --out $(CLAIMS)/approximations/every
	for claim in generalisation natural_gradient lambda approximations; do \
	  $(BIN)/ndm report $(CLAIMS)/$$claim --table results/claims/$$claim.md || exit 1; \
	done
	$(BIN)/python -m tests.plugins.supervised.bench_claims $(CLAIMS) --write

# The laws of 25 systems, clean, noisy, coarse and few; about two hours.
bench-laws: $(READY)
	rm -rf results/runs/physics-benchmark
	$(BIN)/ndm run physics/benchmark --out results/runs/physics-benchmark
	$(BIN)/python -m tests.plugins.physics.bench_laws results/runs/physics-benchmark --write

# Measured motion and the planets; needs their files in NDM_DATA.
bench-measured: $(READY)
	rm -rf results/runs/measured
	$(BIN)/ndm run physics/measured --out results/runs/measured
	$(BIN)/python -m tests.plugins.physics.bench_measured results/runs/measured --write

# Symmetries of learnt metrics, over a dictionary and with Metric Nets, about a quarter of an hour; and chaos by |L_f g|.
bench-killing: $(READY)
	rm -rf results/runs/killing
	OMP_NUM_THREADS=1 $(BIN)/ndm sweep physics/killing_table --out results/runs/killing --table results/physics/killing.md
	$(BIN)/python -m tests.plugins.physics.kinetic.bench_chaos --write

# What a chart sees beside a small dictionary, and symbolic regression of what no dictionary has; about 40 minutes.
bench-second-opinion: $(READY)
	rm -rf results/runs/second-opinion
	for part in second_opinion beyond; do \
	  OMP_NUM_THREADS=1 $(BIN)/ndm sweep physics/$$part --out results/runs/second-opinion/$$part || exit 1; \
	done
	$(BIN)/python -m tests.plugins.physics.bench_second_opinion results/runs/second-opinion --write

# Every planning task on three model seeds, the planners beside each other, networks for the model, the planner with a part left out; hours.
# MuJoCo, fast marching and stable-baselines3 are extras.
PLANNED := benchmark structure known known_swing_up known_discrete ablation compare
bench-planning: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench,mujoco]'
	rm -rf results/runs/planning
	for part in $(PLANNED); do OMP_NUM_THREADS=1 $(BIN)/ndm sweep planning/$$part --out results/runs/planning/$$part || exit 1; done
	OMP_NUM_THREADS=1 $(BIN)/ndm sweep planning/reacher --set method=cem --seeds 0:3 --out results/runs/planning/reacher
	$(BIN)/python -m tests.plugins.planning.bench_planning results/runs/planning --write
	OMP_NUM_THREADS=1 $(BIN)/ndm sweep planning/pendulum --set method=ndm --set methods.ndm.learner.random=1.0 \
	  --set methods.ndm.learner.structure=net --out results/runs/planning-pendulum --table results/planning/pendulum.md

# Points, sweeps and servers that die, through a real MLflow.
bench-tracking: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench_tracking --write

# Speed of a sweep with two workers, cost of a run, a Ray cluster of two nodes with one killed; about ten minutes.
bench-sweep: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,ray]'
	$(BIN)/python -m tests.bench_sweep --write

# One run shared by two processes, a sweep on two workers, and what that projects to; about five minutes on a quiet machine.
bench-scaling: $(READY)
	$(BIN)/python -m tests.engine.bench_scaling --write

# Faults injected into runs and sweeps, and wrong input by the hundred; as root also full and read-only disks; about a quarter of an hour.
chaos: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,ray]'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos --write
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos.bench_commands --write

# Geodesics, samples and trust on MNIST and Fashion-MNIST, three models each; needs both in NDM_DATA.
bench-generative: $(READY)
	rm -rf results/runs/generative
	for data in mnist fashion; do \
	  OMP_NUM_THREADS=1 $(BIN)/ndm sweep generative/$$data --seeds 0:3 --out results/runs/generative/$$data || exit 1; \
	done
	$(BIN)/python -m tests.plugins.generative.bench_generative results/runs/generative/mnist results/runs/generative/fashion --write
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.plugins.generative.bench_geodesics results/runs/generative/*/ndm-seed* --write
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.plugins.generative.bench_charts results/runs/generative/*/ndm-seed* --write

# The tables and the picture that README cites, from nothing.
results: $(READY)
	rm -rf results/runs/readme-digits
	$(BIN)/ndm sweep continual/digits --out results/runs/readme-digits --table results/continual/digits.csv
	cp results/runs/readme-digits/summary.md results/continual/digits.md
	cp results/runs/readme-digits/ndm-seed0/figures/timeline.svg results/continual/digits-timeline.svg
	rm -rf results/runs/readme-ablation
	$(BIN)/ndm sweep continual/digits --set method=ndm --set methods.ndm.immersion.width=0,2000 --set methods.ndm.solver=lda,ridge \
	  --out results/runs/readme-ablation --table results/continual/digits-ablation.md

clean:
	rm -rf $(VENV) results/runs

# torch first and pinned, so that no CUDA build is fetched by accident on a machine that has its own.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
