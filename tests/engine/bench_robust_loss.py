"""Forms of the geometric loss at a step size that is too large for the plain one.

A network of two layers with conformal metrics (n = 64) learns handwritten digits, two classes after two, as a stream
(five Adam steps on each 32 samples, weight 0.1 of the geometric loss). The variance of the volume element is least
where all volume is gone, and the curvature, which scales as 1 / g, explodes on the way there. The relative variance
removes the cause; the robust form alone does not, since it pulls on large curvature less, not more.
Run by ``make``: ``python -m tests.engine.bench_robust_loss --write``.
"""

import argparse
import statistics
import time

import torch
from sklearn.datasets import load_digits
from torch import nn

from ndm_apps.engine.evolution import GeometricLoss
from ndm_apps.engine.network import NDM
from tests import benchmark

FORMS = {
    "no geometric loss": None,
    "plain": {},
    "robust": {"robust": 1.0},
    "relative volume": {"relative_volume": True},
    "robust, relative volume": {"robust": 1.0, "relative_volume": True},
}
WEIGHT, PASSES, BATCH = 0.1, 5, 32


def stream(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Training samples, two classes after two."""
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[400:]
    order = torch.cat([order[y[order] // 2 == pair] for pair in range(5)])
    return ((x - x.mean()) / x.std())[order], y[order]


def train(form: dict[str, object] | None, rate: float, seed: int, batches: int | None = None) -> dict[str, float]:
    """Train on the stream, or its beginning; return what the geometry was like on it, by the plain measures."""
    x, y = stream(seed)
    if batches is not None:
        x, y = x[: batches * BATCH], y[: batches * BATCH]
    torch.manual_seed(seed)
    net = NDM(x.shape[1], 10, depth=2, structure="conformal")
    optimiser, measure = torch.optim.Adam(net.parameters(), rate), GeometricLoss().eval()
    geometric = None if form is None else GeometricLoss(**form)
    curvatures = []
    for start in range(0, len(x) - BATCH + 1, BATCH):
        batch, label = x[start : start + BATCH], y[start : start + BATCH]
        for _ in range(PASSES):
            optimiser.zero_grad()
            outputs, geometries = net(batch)
            loss = nn.functional.cross_entropy(outputs, label)
            if geometric is not None:
                loss = loss + WEIGHT * geometric(geometries).total
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            _, geometries = net(batch)
            curvatures.append(measure(geometries).curvature.item())
    last = y // 2 == y[-1] // 2
    with torch.no_grad():
        outputs, geometries = net(x[last])
        volume = torch.stack([geometry.log_volume for geometry in geometries]).mean().item()
    return {
        "largest E[R^2]": max(curvatures),
        "final E[R^2]": curvatures[-1],
        "final log volume": volume,
        "accuracy, last two classes": (outputs.argmax(-1) == y[last]).float().mean().item(),
    }


def row(name: str, rate: float, seeds: range) -> dict[str, object]:
    """Medians over the seeds, and the largest curvature of all."""
    start = time.process_time()
    runs = [train(FORMS[name], rate, seed) for seed in seeds]
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    worst = max(run["final E[R^2]"] for run in runs)
    return {"loss": name, "step size": rate, **medians, "worst final E[R^2]": worst, "s": time.process_time() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 5), metavar=("FIRST", "END"))
    parser.add_argument("--write", action="store_true", help="write results/geometry/robust_loss.{json,md}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for rate in (3e-3, 1e-2):
        for name in FORMS:
            rows.append(row(name, rate, range(*arguments.seeds)))
            print(rows[-1], flush=True)
    print(benchmark.table(rows))
    if arguments.write:
        count = len(range(*arguments.seeds))
        benchmark.write("robust_loss", {f"Digits as a stream, medians of {count} seeds": rows})


if __name__ == "__main__":
    main()
