"""Natural gradient against Adam: price of a step, and steps and seconds to the loss that Adam reaches in 1000.

``python -m tests.engine.bench_natural_gradient --write`` measures on seeds 0-4 with the settings below, which
``--tune`` chose on seeds 1000-1002: for Adam those of the least loss after 1000 steps, for natural gradient those that
got there first.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ndm_apps.engine import NaturalGradient
from tests.benchmark import compare, table, write

STEPS, BATCH, EVERY = 1000, 256, 10
SEEDS, TUNING_SEEDS = range(5), range(1000, 1003)
ADAM_GRID = [{"lr": lr} for lr in (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)]
NATURAL_GRID = [{"lr": lr, "momentum": momentum} for lr in (0.5, 0.7, 1.0) for momentum in (0.0, 0.5)]


class Problem(NamedTuple):
    """Data, a network, the loss with its metric, and what ``--tune`` chose."""

    widths: tuple[int, ...]
    x: Tensor
    y: Tensor
    metric: str
    adam: dict[str, float]
    natural: dict[str, float]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean of cross-entropies, or of half the squared distances."""
        if self.metric == "categorical":
            return nn.functional.cross_entropy(output, target)
        return (output - target).square().sum(-1).mean() / 2


def network(widths: tuple[int, ...]) -> nn.Sequential:
    """Return a tanh network."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def double_pendulum(points: int = 2048) -> tuple[Tensor, Tensor]:
    """Return states (two angles, two rates) and the standardised accelerations there; unit masses and rods."""
    generator = torch.Generator().manual_seed(0)
    state = (2 * torch.rand(points, 4, generator=generator) - 1) * torch.tensor([torch.pi, torch.pi, 3.0, 3.0])
    (a, b, u, v), g = state.T, 9.81
    c, s = (a - b).cos(), (a - b).sin()
    first = (g * (c * b.sin() - 2 * a.sin()) - s * (v * v + c * u * u)) / (2 - c * c)
    second = (2 * g * (c * a.sin() - b.sin()) + s * (2 * u * u + c * v * v)) / (2 - c * c)
    rates = torch.stack([first, second], dim=1)
    return state, (rates - rates.mean(0)) / rates.std(0)


def problems() -> dict[str, Problem]:
    """Return the three problems."""
    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    return {
        "digits": Problem((64, 64, 64, 10), x, y, "categorical", {"lr": 5e-2}, {"lr": 1.0, "momentum": 0.5}),
        "digits autoencoder": Problem(
            (64, 64, 8, 64, 64), x, x, "gaussian", {"lr": 1e-2}, {"lr": 0.5, "momentum": 0.5}
        ),
        "double pendulum": Problem(
            (4, 64, 64, 2), *double_pendulum(), "gaussian", {"lr": 2e-2}, {"lr": 0.7, "momentum": 0.5}
        ),
    }


def train(problem: Problem, optimiser: Callable[..., Any], seed: int) -> Iterator[tuple[int, float, float]]:
    """Yield steps made, seconds they took, and the loss on all data, every so many steps."""
    torch.manual_seed(seed)
    model = network(problem.widths)
    steps, generator = optimiser(model), torch.Generator().manual_seed(seed)
    batches: list[Tensor] = []
    seconds = 0.0
    for step in range(1, STEPS + 1):
        if not batches:
            batches = list(torch.randperm(len(problem.x), generator=generator).split(BATCH))
            batches = [batch for batch in batches if len(batch) == BATCH]
        batch = batches.pop()
        x, y = problem.x[batch], problem.y[batch]
        start = time.perf_counter()
        steps.zero_grad()
        problem.loss(model(x), y).backward()
        steps.step()
        seconds += time.perf_counter() - start
        if step % EVERY == 0:
            with torch.no_grad():
                yield step, seconds, problem.loss(model(problem.x), problem.y).item()


def adam(problem: Problem, seed: int, settings: dict[str, float]) -> tuple[float, float]:
    """Return the loss after all steps, and the seconds."""
    *_, (_, seconds, loss) = train(problem, lambda model: torch.optim.Adam(model.parameters(), **settings), seed)
    return loss, seconds


def natural(problem: Problem, seed: int, settings: dict[str, float], target: float) -> tuple[int | None, float, float]:
    """Return the step at which the loss is at the target (None if never), seconds to there, and the loss."""
    for step, seconds, loss in train(
        problem, lambda model: NaturalGradient(model, metric=problem.metric, **settings), seed
    ):
        if loss <= target:
            return step, seconds, loss
    return None, seconds, loss


def race() -> list[dict[str, Any]]:
    """Run both methods on each problem, seed by seed in turn."""
    rows = []
    for name, problem in problems().items():
        runs = []
        for seed in SEEDS:
            loss, seconds = adam(problem, seed, problem.adam)
            runs.append((loss, seconds, *natural(problem, seed, problem.natural, loss)))
        losses, adam_seconds, steps, natural_seconds, _ = zip(*runs, strict=True)
        reached = [step if step is not None else float("inf") for step in steps]
        rows.append(
            {
                "problem": name,
                "network": "-".join(map(str, problem.widths)),
                "Adam lr": problem.adam["lr"],
                "Adam's loss after 1000 steps": statistics.median(losses),
                "steps of natural gradient to it": statistics.median(reached),
                "each seed": ", ".join(str(step) for step in steps),
                "asked": "<= 300 on two of three",
                "Adam, s": statistics.median(adam_seconds),
                "natural gradient, s": statistics.median(natural_seconds),
            }
        )
    return rows


def cost() -> list[dict[str, Any]]:
    """Return the price of a step, passes through the network included, on 8-64-64-10 with batch 64."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 8, generator=generator), torch.randint(10, (64,), generator=generator)
    block = 20  # a multiple of the steps from one eigendecomposition to the next: their share is in the mean

    def job(optimiser: Callable[[nn.Module], Any]) -> Callable[[], None]:
        torch.manual_seed(0)
        model = network((8, 64, 64, 10))
        steps = optimiser(model)

        def run() -> None:
            for _ in range(block):
                steps.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                steps.step()

        return run

    times = compare(
        {
            "Adam": job(lambda model: torch.optim.Adam(model.parameters(), 1e-3)),
            "natural gradient, kfac": job(lambda model: NaturalGradient(model, metric="categorical")),
            "natural gradient, cg": job(lambda model: NaturalGradient(model, metric="categorical", method="cg")),
        },
        repeats=200,
    )
    asked = {"natural gradient, kfac": "<= 3"}
    return [
        {"method": name, "ms a step": ms / block, "times Adam": ms / times["Adam"], "asked": asked.get(name)}
        for name, ms in times.items()
    ]


def tune() -> None:
    """Print, for each problem, how each setting does on the tuning seeds."""
    for name, problem in problems().items():
        rows = []
        for settings in ADAM_GRID:
            losses = [adam(problem, seed, settings)[0] for seed in TUNING_SEEDS]
            rows.append({"method": "Adam", **settings, "loss": statistics.median(losses)})
        target = min(row["loss"] for row in rows)
        for settings in NATURAL_GRID:
            runs = [natural(problem, seed, settings, target) for seed in TUNING_SEEDS]
            steps = statistics.median(STEPS if run[0] is None else run[0] for run in runs)
            rows.append({"method": "natural gradient", **settings, "steps": steps, "loss": max(run[2] for run in runs)})
        print(f"\n{name}\n\n{table(rows)}", flush=True)


def main() -> None:
    """Measure and print; write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/geometry/natural_gradient.{json,md}")
    parser.add_argument("--tune", action="store_true", help="try the grids on the tuning seeds instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.tune:
        tune()
        return
    sections = {"Price of a step (8-64-64-10, batch 64)": cost(), "Steps to the loss of Adam (batch 256)": race()}
    for title, rows in sections.items():
        print(f"\n{title}\n\n{table(rows)}")
    if arguments.write:
        write("natural_gradient", sections)


if __name__ == "__main__":
    main()
