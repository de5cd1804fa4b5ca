"""Beyond one machine: measured scaling on one and two workers, and what that projects to, labelled as such.

``python -m tests.engine.bench_scaling [--write]`` writes ``results/reliability/scaling.md``: data-parallel training of
the trained NDM (gloo, one thread a process), mixed precision, and a sweep of short runs on one and two workers. About
five minutes on a quiet machine; on a busy one the speed-ups are lower bounds.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ndm_apps.engine.parallel import workers
from ndm_apps.plugins.supervised.model import build_network
from ndm_apps.plugins.supervised.schema import NDMSettings
from ndm_apps.plugins.supervised.training import Training
from tests.benchmark import table

PAGE = Path(__file__).parents[2] / "results" / "reliability" / "scaling.md"
N, CLASSES, SAMPLES, STEPS = 64, 10, 4096, 12
BATCHES, PROJECTED = (32, 128, 512), (2, 4, 8, 16, 32)


def settings_of(batch, **more):
    return NDMSettings(
        steps=STEPS,
        batch_size=batch,
        points=batch // 4,
        structure="cholesky",
        metric_hidden=(32,),
        geometric=0.1,
        **more,
    )


def training_of(batch, **more):
    torch.manual_seed(1000)
    settings = settings_of(batch, **more)
    z, y = torch.randn(SAMPLES, N), torch.randint(CLASSES, (SAMPLES,))
    return Training(settings, build_network(settings, N, CLASSES), z, y, seed=0, workers=workers())


def seconds_a_step(rank, size, folder, batch, precision="full"):
    """Train, and write the seconds of a step (the least of the later ones: others may use the machine too)."""
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet{batch}", rank=rank, world_size=size)
    training, times = training_of(batch, precision=precision), []
    for _ in range(STEPS):
        began = time.perf_counter()
        training.advance()
        times.append(time.perf_counter() - began)
    if rank == 0:
        Path(folder, f"{size}-{batch}-{precision}").write_text(str(min(times[2:])))
    if size > 1:
        dist.destroy_process_group()


def exchange_seconds(rank, folder, numbers):
    """Write the seconds that the sum of so many numbers over two processes takes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/exchange", rank=rank, world_size=2)
    values, times = torch.zeros(numbers), []
    for _ in range(20):
        began = time.perf_counter()
        workers().add([values])
        times.append(time.perf_counter() - began)
    if rank == 0:
        Path(folder, "exchanged").write_text(str(min(times)))
    dist.destroy_process_group()


def sweep_seconds(folder, jobs, runs):
    """Return the wall time of a sweep of runs of about a second each, imports included."""
    small = ["methods.mlp.steps=100", "task.robustness.samples=50", "method=mlp"]
    words = [sys.executable, "-m", "ndm_apps", "sweep", "claims/generalisation", "--seeds", f"1000:{1000 + runs}"]
    chosen = [word for setting in small for word in ("--set", setting)]
    began = time.perf_counter()
    subprocess.run(
        [*words, "--jobs", str(jobs), *chosen, "--out", f"{folder}/sweep{jobs}", "--no-track"],
        check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return time.perf_counter() - began


def efficiency(share, exchange, step, size):
    r"""Return the projected speed-up on ``size`` processes, and its share of ``size``.

    T(N) = s T(1) + (1 - s) T(1) / N + 2 (N - 1) / N E, with E the measured exchange of all gradients between two
    processes (a ring sends 2 (N - 1) / N of them through each link), and s the part of a step that does not shrink.
    """
    projected = share * step + (1 - share) * step / size + 2 * (size - 1) / size * exchange
    return step / projected, step / projected / size


PARAGRAPHS = """# Beyond one machine

Rebuilt by `python -m tests.engine.bench_scaling --write`. {machine}, {cores} cores, torch {torch}; load of the machine
before {before:.1f} and after {after:.1f} (above 0 and {cores}: others used it, and speed-ups are lower bounds).

## Measured: one training run, shared by two processes

`torchrun --nproc-per-node 2 -m ndm_apps run CONFIG`: each process holds the network and all samples and takes half of
each mini-batch; gradients are averaged (gloo, one thread each). Its steps are those of one process: in double precision
the loss curves agree to 1e-6, for Adam and both natural gradients (`tests/plugins/supervised/test_parallel.py`).
Here: Cholesky metrics on {n} coordinates, {parameters} parameters, L_geo at a quarter of each mini-batch, float32; the
fastest of {steps} steps.

{measured}
Summing all gradients over the two processes takes {exchange:.2f} ms of a step. What Python, the exchange and the
optimiser take does not shrink with the share, so small mini-batches gain least.

## Measured: mixed precision

`precision: mixed` makes the products of the forward pass in bfloat16, geometry stays in float32. One process, the
largest mini-batch: {full:.1f} ms a step in full precision, {mixed:.1f} ms in mixed. It is meant for GPUs.

## Measured: a sweep on two workers

{runs} runs of a perceptron (100 steps), imports and page included: {sweep_one:.1f} s on one worker, {sweep_two:.1f} s
on two: {sweep_gain:.2f} times as fast.

## Projected, not measured: more processes

No more than {cores} cores were there. From the largest mini-batch above, T(1) = {one:.1f} ms and E = {exchange:.2f} ms,
the exchange of all gradients; s = {share:.2f} is the part of a step that did not shrink: what two processes took beyond
half a step and an exchange, over half a step.

    T(N) = s T(1) + (1 - s) T(1) / N + 2 (N - 1) / N E

{projected}
The formula takes links between machines to be as fast as memory between two processes, which they are not: with s as
measured here it is a bound from above. Runs of a sweep exchange nothing: they gain as many times as there are workers,
up to the number of runs, less what the slowest takes longer.

## Not measured

CUDA (`device: cuda`, nccl) takes the same path; no GPU was at hand.
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--runs", type=int, default=12)
    chosen = parser.parse_args()
    before, rows, seconds = os.getloadavg()[0], [], {}
    with tempfile.TemporaryDirectory() as folder:

        def measured(size, batch, precision="full"):
            mp.spawn(seconds_a_step, (size, folder, batch, precision), nprocs=size)
            return float(Path(folder, f"{size}-{batch}-{precision}").read_text())

        for batch in BATCHES:
            seconds = {size: measured(size, batch) for size in (1, 2)}
            in_ms = {f"ms a step, {size} process{'es' * (size > 1)}": 1e3 * value for size, value in seconds.items()}
            rows.append({"samples a mini-batch": batch, **in_ms, "speed-up": seconds[1] / seconds[2]})
        mixed = measured(1, BATCHES[-1], "mixed")
        parameters = sum(p.numel() for p in training_of(64).network.parameters())
        mp.spawn(exchange_seconds, (folder, parameters), nprocs=2)
        exchange = float(Path(folder, "exchanged").read_text())
        swept = [sweep_seconds(folder, jobs, chosen.runs) for jobs in (1, 2)]
    one, two = seconds[1], seconds[2]
    share = min(max((two - exchange - one / 2) / (one / 2), 0.0), 1.0)
    projected = [
        {"processes": size, "speed-up, projected": speed, "of ideal": f"{part:.0%}"}
        for size in PROJECTED
        for speed, part in [efficiency(share, exchange, one, size)]
    ]
    page = PARAGRAPHS.format(
        machine=platform.machine(), cores=os.cpu_count(), torch=torch.__version__, before=before,
        after=os.getloadavg()[0], n=N, parameters=parameters, steps=STEPS - 2, measured=table(rows),
        exchange=1e3 * exchange, full=1e3 * one, mixed=1e3 * mixed, runs=chosen.runs, sweep_one=swept[0],
        sweep_two=swept[1], sweep_gain=swept[0] / swept[1], one=1e3 * one, share=share, projected=table(projected),
    )  # fmt: skip
    print(page)
    if chosen.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
