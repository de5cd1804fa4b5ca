"""Coordinate maps: time beside zuko's, error of the inverse, and how far curvature in two charts agrees.

Run by ``python -m tests.engine.bench_coordinates [--write]``; the times need zuko, of the bench extra.
"""

import argparse
import copy

import torch
from torch import nn
from torch.func import jacfwd, vmap

from ndm_apps.engine import MetricNet
from ndm_apps.engine.coordinates import OrthogonalMixing, alternating_couplings
from ndm_apps.engine.pulled_back import PulledBackMetric
from ndm_apps.geometry import scalar_curvature_from_jets
from tests.benchmark import compare, table, write

FAMILIES = ("affine", "smooth", "spline")


def trained_like(module, size, dtype):
    """The map with random weights of this size added, rotations kept on their group."""
    module = module.to(dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=dtype))
        for part in module.modules():
            if isinstance(part, OrthogonalMixing):
                part.weight.proj_()
    return module


def times(n=8, batch=256):
    """Milliseconds of one coupling layer, forward and inverse, without gradients, and forward with backward."""
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

    peers = {
        "affine": (MonotonicAffineTransform, [(), ()]),
        "spline": (MonotonicRQSTransform, [(8,), (8,), (7,)]),
    }
    x = torch.randn(batch, n, generator=torch.Generator().manual_seed(0))
    rows = []
    for family in FAMILIES:
        torch.manual_seed(0)
        own = alternating_couplings(n, 1, coordinates=family)
        pairs = {"own": (lambda own=own: own(x), lambda own=own: own.inverse(x))}
        if family in peers:
            transform, shapes = peers[family]
            mask = torch.arange(n) % 2 == 0
            peer = GeneralCouplingTransform(
                n, mask=mask, univariate=transform, shapes=shapes, hidden_features=(64,), activation=nn.Tanh
            )
            pairs["zuko"] = (
                lambda peer=peer: peer().call_and_ladj(x),
                lambda peer=peer: peer().inv.call_and_ladj(x),
            )
        jobs = {}
        for name, (there, back) in pairs.items():
            jobs[f"{name} forward"] = torch.no_grad()(many(there))
            jobs[f"{name} inverse"] = torch.no_grad()(many(back))
            jobs[f"{name} forward+backward"] = many(lambda there=there: sum(part.sum() for part in there()).backward())
        for name, milliseconds in compare(jobs, repeats=20).items():
            rows.append({"coupling": family, "what": name, "ms": milliseconds / REPEATS})
    return rows


REPEATS = 20


def many(job):
    """The job, often enough for the clock."""

    def repeated():
        for _ in range(REPEATS):
            job()

    return repeated


def errors(n=8, batch=10_000):
    """Largest error of a round trip over 1 + |x|, and of the log-determinant against the Jacobian in float64."""
    rows = []
    for family in FAMILIES:
        for dtype, size in ((torch.float32, 0.05), (torch.float32, 0.15), (torch.float64, 0.05), (torch.float64, 0.15)):
            torch.manual_seed(0)
            chart = alternating_couplings(n, 4, coordinates=family, mixing=True, normalise=True)
            chart = trained_like(chart, size, dtype)
            x = torch.randn(batch, n, generator=torch.Generator().manual_seed(1), dtype=dtype)
            with torch.no_grad():
                z, log_abs_det = chart(x)
                back, _ = chart.inverse(z)
                exact = copy.deepcopy(chart).double()
                derivative = vmap(jacfwd(lambda p, exact=exact: exact(p)[0]))(x.double())
            stretch = torch.linalg.svdvals(derivative)
            rows.append(
                {
                    "couplings": family,
                    "dtype": str(dtype).removeprefix("torch."),
                    "weights": size,
                    "round trip": float(((back - x).abs() / (1 + x.abs())).max()),
                    "log-determinant": float((log_abs_det - stretch.log().sum(-1)).abs().max()),
                    "norm of inverse Jacobian": float(1 / stretch.min()),
                }
            )
    return rows


def agreement(n=4, points=64):
    """Largest relative gap between R of the pulled-back metric at x and R of the metric at z(x)."""
    x = torch.randn(points, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = []
    for family in FAMILIES:
        for size in (0.05, 0.15):
            torch.manual_seed(0)
            chart = alternating_couplings(n, 2, coordinates=family, mixing=True)
            chart = trained_like(chart, size, torch.float64)
            row = {"couplings": family, "weights": size}
            for structure in ("cholesky", "diagonal", "conformal"):
                net = trained_like(MetricNet(n, (32, 32), structure), 0.1, torch.float64)
                with torch.no_grad():
                    metric = PulledBackMetric(net, [chart])
                    expected = net.scalar_curvature(chart(x)[0])
                    gap = (scalar_curvature_from_jets(metric, x) - expected).abs() / expected.abs().max()
                    row[structure] = float(gap.max())
                    row["condition of the metric"] = float(torch.linalg.cond(metric(x)).max())
            rows.append(row)
    return rows


def main():
    """Print the tables, and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/geometry/coordinates.{json,md}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sections = {
        "One coupling layer, n = 8, batch 256, conditioner 64 wide, float32": times(),
        "Error of four mixed couplings with random weights, n = 8, 10,000 points": errors(),
        "Relative gap of scalar curvature in two charts, n = 4, float64": agreement(),
    }
    for title, rows in sections.items():
        print(f"{title}\n\n{table(rows)}")
    if arguments.write:
        write("coordinates", sections)


if __name__ == "__main__":
    main()
