"""Metric Nets through 10,000 steps of a stiff task, with eps fixed and with eps from the spectrum.

The task never ends: in a frame that turns with the point it stretches one direction against another, without bound
(a contrast of squared lengths), while the volume element is to follow a field that ranges over six orders of
magnitude. The geometric loss pulls against both. Run by ``make``: ``python -m tests.engine.bench_stability --write``.
"""

import argparse
import copy
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from ndm_apps.engine.evolution import GeometricLoss
from ndm_apps.engine.layer import Geometry
from ndm_apps.engine.metric_net import MetricNet
from tests import benchmark

N, BATCH, HIDDEN, EPS, RATE, WEIGHT = 3, 32, (16, 16), 1e-6, 1e-2, 1e-3
STRUCTURES = ("cholesky", "block", "low_rank", "diagonal", "conformal")
# Largest condition number: any, or what the precision bears.
METHODS = {"fixed": math.inf, "adaptive": None}


def turning_frame(x: Tensor) -> Tensor:
    """Orthonormal columns that depend on the point."""
    frame = torch.eye(N, dtype=x.dtype).expand(*x.shape[:-1], N, N)
    for axis in range(N - 1):
        angle = x[..., axis] + 2 * x[..., axis + 1]
        turn = torch.eye(N, dtype=x.dtype).repeat(*x.shape[:-1], 1, 1)
        turn[..., axis, axis] = turn[..., axis + 1, axis + 1] = angle.cos()
        turn[..., axis + 1, axis] = angle.sin()
        turn[..., axis, axis + 1] = -angle.sin()
        frame = frame @ turn
    return frame


def task_loss(geometry: Geometry) -> Tensor:
    """Stretch the last direction of the frame against the first; volume elements from 1e-3 to 1e3."""
    x, frame = geometry.point, turning_frame(geometry.point)
    lengths = (frame * (geometry.g @ frame)).sum(-2)
    contrast = (lengths[..., 0].log() - lengths[..., -1].log()).mean()
    field = math.log(1e3) * (3 * x.sum(-1)).sin()
    return contrast + (geometry.log_volume - field).square().mean()


def train(structure: str, dtype: torch.dtype, method: str, steps: int, seed: int = 0) -> Iterator[dict[str, float]]:
    """Train on the task and yield, at every step, what the metric looked like at the points of the batch."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = MetricNet(N, HIDDEN, structure, EPS, condition=METHODS[method]).to(dtype)
    geometric, optimiser = GeometricLoss(), torch.optim.Adam(net.parameters(), RATE)
    for _ in range(steps):
        x = (2 * torch.rand(BATCH, N, generator=generator, dtype=torch.float64) - 1).to(dtype)
        geometry = Geometry(x, torch.zeros(BATCH, dtype=dtype), net)
        terms, task = geometric(geometry), task_loss(geometry)
        optimiser.zero_grad()
        (task + WEIGHT * terms.total).backward()
        gradients = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        values = torch.linalg.eigvalsh(geometry.g.detach().double())
        yield {
            "task": task.item(),
            "curvature": terms.curvature.item(),
            "condition": (values[:, -1] / values[:, 0]).max().item(),
            "smallest": values[:, 0].min().item(),
            "eps": net.eps,
            "gradient": gradients.norm().item(),
        }
        optimiser.step()


def ill_conditioned(structure: str, condition: float, n: int = 4, seed: int = 0) -> MetricNet:
    """Return a Metric Net in float64 whose condition number is near the given one, its axes not along coordinates.

    A conformal one, whose condition number is 1, is as large as the largest eigenvalue of the others.
    """
    torch.manual_seed(seed)
    net = MetricNet(n, (8, 8), structure, 1e-3, condition=math.inf).double()
    spectrum = torch.logspace(0, math.log10(condition), n, dtype=torch.float64)
    last = net.mlp.layers[-1]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if structure in ("diagonal", "conformal"):
            last.bias.copy_(spectrum[-len(last.bias) :].log() / 2)
            return net
        if structure == "low_rank":
            factor = torch.cat([torch.eye(n).double(), condition**0.5 * _axes(n)[:, :1]], dim=1)
        elif structure == "block":
            pair = torch.diag(spectrum[[0, -1]])
            g = torch.block_diag(*(axes @ pair @ axes.T for axes in (_axes(2) for _ in range(n // 2))))
            factor = torch.linalg.cholesky(g)
        else:
            axes = _axes(n)
            factor = torch.linalg.cholesky(axes @ torch.diag(spectrum) @ axes.T)
        last.bias.copy_(factor.flatten()[net.structure.entries])
    return net


def _axes(n: int) -> Tensor:
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q


QUANTITIES = {
    "R": lambda geometry: geometry.curvature.mean(),
    "log volume": lambda geometry: geometry.log_volume.mean(),
    "L_geo": lambda geometry: GeometricLoss()(geometry).total,
    "L_geo robust": lambda geometry: GeometricLoss(robust=1.0, relative_volume=True)(geometry).total,
}


def gradient(net: MetricNet, x: Tensor, quantity: str) -> Tensor:
    """Return the gradient of one of the quantities by all parameters, as one vector in float64."""
    value = QUANTITIES[quantity](Geometry(x, torch.zeros(len(x), dtype=x.dtype), net))
    parts = torch.autograd.grad(value, list(net.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts]).double()


def gradient_error(structure: str, condition: float, quantity: str, seed: int = 0) -> float:
    """Return 1 - cosine of the gradient in float32 and in float64, same parameters and points; nan if not finite."""
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
    single = ill_conditioned(structure, condition, seed=seed).float()
    double = copy.deepcopy(single).double()
    pair = gradient(single, x, quantity), gradient(double, x.double(), quantity)
    return 1 - torch.nn.functional.cosine_similarity(*pair, dim=0).item()


def gradient_row(structure: str, condition: float) -> dict[str, object]:
    """One row of the table: the worst of five seeds for each quantity."""
    errors = {
        quantity: max(gradient_error(structure, condition, quantity, seed) for seed in range(5))
        for quantity in QUANTITIES
    }
    return {"structure": structure, "condition": f"{condition:.0e}", **errors}


def survey(structure: str, dtype: torch.dtype, method: str, steps: int, seed: int) -> dict[str, object]:
    """One row of the table: the worst that was seen in a run."""
    start, history, end = time.process_time(), [], "ran through"
    try:
        for record in train(structure, dtype, method, steps, seed):
            history.append(record)
            if not math.isfinite(record["gradient"]):
                end = f"nan or inf at step {len(history)}"
                break
    except (ValueError, RuntimeError) as error:
        end = f"stopped at step {len(history)}: {str(error)[:60]}"
    sound = [record for record in history if math.isfinite(record["gradient"])]
    last = sound[-max(1, len(sound) // 20) :]
    return {
        "structure": structure,
        "dtype": str(dtype).removeprefix("torch."),
        "eps": method,
        "steps": len(sound),
        "end": end,
        "largest condition": max(record["condition"] for record in sound),
        "smallest eigenvalue": min(record["smallest"] for record in sound),
        "last eps": last[-1]["eps"],
        "final task loss": sum(record["task"] for record in last) / len(last),
        "final E[R^2]": sorted(record["curvature"] for record in last)[len(last) // 2],
        "seconds": time.process_time() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write results/geometry/stability.{json,md}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    gradients = [gradient_row(structure, condition) for condition in (1e3, 1e4, 1e6) for structure in STRUCTURES]
    print(benchmark.table(gradients))
    rows = []
    for structure in STRUCTURES:
        for dtype in (torch.float32, torch.float64):
            for method in METHODS:
                rows.append(survey(structure, dtype, method, arguments.steps, arguments.seed))
                print(rows[-1], flush=True)
    print(benchmark.table(rows))
    if arguments.write:
        title = "1 - cosine between the gradients in float32 and float64, worst of five seeds"
        benchmark.write("stability", {f"{arguments.steps} steps of a stiff task": rows, title: gradients})


if __name__ == "__main__":
    main()
