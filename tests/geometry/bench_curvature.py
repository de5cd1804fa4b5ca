"""Scalar curvature beside its peers: one thread, 64 points, tanh network with two hidden layers of 64, float32.

    python -m tests.geometry.bench_curvature [--write]

Times are milliseconds, the best of several turns. What would take minutes runs on fewer points and is scaled to 64.
"""

import argparse
import json
import os
import subprocess
import sys
import types
from functools import partial

import torch

from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.geometry import Sphere, scalar_curvature_from_jets
from ndm_apps.geometry.scalar import mean_square_curvature
from ndm_apps.provenance import peak_memory_mb, reset_peak_memory
from tests.benchmark import compare, table, write

POINTS = 64


def network(n, structure="cholesky", dtype=torch.float32, **settings):
    """A Metric Net some way into training: away from the flat metric it starts with."""
    torch.manual_seed(0)
    net = MetricNet(n, (64, 64), structure, **settings).to(dtype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 / parameter.shape[-1] ** 0.5 * torch.randn_like(parameter))
    return net


def batch(n, points=POINTS, dtype=torch.float32, seed=0):
    return torch.randn(points, n, generator=torch.Generator().manual_seed(seed)).to(dtype)


def forward(function):
    def job():
        with torch.no_grad():
            function()

    return job


def backward(function, net):
    def job():
        net.zero_grad()
        function().square().mean().backward()

    return job


def nested(net, x):
    """Contract the derivatives that ``torch.func.jacfwd`` of itself gives: value, first and second in one pass."""

    def first(y):
        g = net(y)
        return g, g

    def second(y):
        dg, g = torch.func.jacfwd(first, has_aux=True)(y)
        return dg, (dg, g)

    ddg, (dg, g) = torch.func.vmap(torch.func.jacfwd(second, has_aux=True))(x)
    inverse = torch.linalg.inv(g)  # ddg[..., i, j, k, l] = d_l d_k g_ij
    double = (torch.einsum("bik,biljk->bjl", inverse, ddg) * inverse).sum((1, 2))
    laplace = (torch.einsum("bik,bjlik->bjl", inverse, ddg) * inverse).sum((1, 2))
    lowered = (torch.einsum("bcia->bcai", dg) + dg - torch.einsum("baic->bcai", dg)) / 2
    raised = torch.einsum("bcd,bdai->bcai", inverse, lowered)
    raised = inverse.unsqueeze(1) @ raised @ inverse.unsqueeze(1)
    trace = torch.einsum("bai,bcai->bc", inverse, lowered)
    return double - laplace + (lowered * raised).sum((1, 2, 3)) - torch.einsum("bc,bcd,bd->b", trace, inverse, trace)


def textbook(net, x):
    """Differentiate the Christoffel symbols by ``torch.func.jacfwd`` and contract: the definition, as one writes it."""

    def christoffel(y):
        inverse, dg = torch.linalg.inv(net(y)), torch.func.jacfwd(net)(y)
        return torch.einsum("dc,cab->dab", inverse, (dg.transpose(1, 2) + dg - dg.permute(2, 0, 1)) / 2)

    def curvature(y):
        slope, gamma = torch.func.jacfwd(lambda z: (christoffel(z),) * 2, has_aux=True)(y)
        ricci = torch.einsum("kijk->ij", slope) - torch.einsum("kikj->ij", slope)
        ricci = ricci + torch.einsum("kkl,lij->ij", gamma, gamma) - torch.einsum("kjl,lik->ij", gamma, gamma)
        return (torch.linalg.inv(net(y)) * ricci).sum()

    return torch.func.vmap(curvature)(x)


NESTED = {"nested torch.func, Christoffel symbols": textbook, "nested torch.func, one pass": nested}
OTHERS = {**NESTED, "frame formula for any metric": scalar_curvature_from_jets}


def scalar_rows():
    """Exact R as a multiple of the network, and what others take; the ratios are those of one run, in turns."""
    prices, peers = [], []
    for n in (2, 4, 8, 16, 32, 64):
        net, x = network(n), batch(n)
        some = x[: {32: 4, 64: 0}.get(n, POINTS)]
        jobs = {
            "network": forward(lambda net=net, x=x: net(x)),
            "network, backward": backward(lambda net=net, x=x: net(x), net),
            "R": forward(lambda net=net, x=x: net.scalar_curvature(x)),
            "R, backward": backward(lambda net=net, x=x: net.scalar_curvature(x), net),
            "sketch": forward(lambda net=net, x=x: net.curvature_estimates(x, 1)),
        }
        others = OTHERS if n <= 16 else NESTED if len(some) else {}
        for name, other in others.items():
            with torch.no_grad():
                torch.testing.assert_close(other(net, some), net.scalar_curvature(some), rtol=1e-2, atol=1e-2)
            jobs[name] = forward(partial(other, net, some))
            jobs[f"{name}, backward"] = backward(partial(other, net, some), net)
        ms = compare(jobs, repeats=30 if n <= 8 else 7, budget=8.0)
        price = {"n": n, **{name: ms[name] for name in list(jobs)[:5]}}
        price["R / network"] = ms["R"] / ms["network"]
        price["R / network, backward"] = ms["R, backward"] / ms["network, backward"]
        prices.append(price)
        for name in others:
            scale = POINTS / len(some)
            row = {"n": n, "by": name, "points": len(some)}
            for way in ("", ", backward"):
                row[f"ms{way}"] = scale * ms[name + way]
                row[f"times R{way}"] = row[f"ms{way}"] / ms["R" + way]
            peers.append(row)
    return prices, peers


STRUCTURES = [
    ("conformal", 256, {}),
    ("conformal", 1024, {}),
    ("diagonal", 256, {}),
    ("diagonal", 1024, {}),
    ("low_rank", 32, {"rank": 4}),
    ("low_rank", 64, {"rank": 4}),
    ("block", 32, {"block": 4}),
    ("block", 64, {"block": 8}),
]


def structure_row(structure, n, settings):
    """What a structured metric costs, to set beside the full one of the same dimension."""
    net, x = network(n, structure, **settings), batch(n)
    jobs = {
        "network": forward(lambda: net(x)),
        "R": forward(lambda: net.scalar_curvature(x)),
        "R, backward": backward(lambda: net.scalar_curvature(x), net),
    }
    ms = compare(jobs, repeats=7, budget=6.0)
    label = structure + "".join(f", {key} {value}" for key, value in settings.items())
    return {"structure": label, "n": n, **ms, "R / network": ms["R"] / ms["network"]}


def geomstats_rows():
    """The same networks through geomstats 2.8, float64, few points scaled to 64, and its value on the unit sphere."""
    os.environ["GEOMSTATS_BACKEND"] = "pytorch"
    import numpy

    numpy.trapz = numpy.trapezoid  # geomstats 2.8 asks numpy 2 for what it no longer has
    from geomstats._backend.pytorch import autodiff
    from geomstats.geometry.riemannian_metric import RiemannianMetric

    class Theirs(RiemannianMetric):
        def __init__(self, n, metric):
            super().__init__(types.SimpleNamespace(dim=n, shape=(n,), point_ndim=1, intrinsic=True))
            self.metric_matrix = lambda base_point=None: metric(base_point)

    at = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    as_released = float(Theirs(2, Sphere(2)).scalar_curvature(at))
    plain = autodiff._torch_jacobian
    # Without create_graph the second derivatives are dropped (geomstats issue 1928).
    autodiff._torch_jacobian = lambda func, inputs: plain(func, inputs, create_graph=True)
    patched = float(Theirs(2, Sphere(2)).scalar_curvature(at).detach())
    rows = [{"metric": "unit sphere, R = 2", "geomstats as released": as_released, "geomstats patched": patched}]
    for n, points in ((2, 8), (4, 2)):
        net, x = network(n, dtype=torch.float64), batch(n, dtype=torch.float64)
        part, their = x[:points], Theirs(n, net).scalar_curvature
        torch.testing.assert_close(their(part), net.scalar_curvature(part), rtol=1e-8, atol=1e-8)
        jobs = {
            "R": forward(lambda net=net, x=x: net.scalar_curvature(x)),
            "geomstats": lambda their=their, part=part: their(part),
        }
        ms = compare(jobs, repeats=20, budget=4.0)
        ms["geomstats"] *= POINTS / points
        row = {"metric": f"network, n = {n}", "R, ms": ms["R"], "geomstats patched, ms": ms["geomstats"]}
        rows.append(row | {"geomstats / R": ms["geomstats"] / ms["R"], "geomstats points": points})
    return rows


def memory_rows():
    """Growth of the resident memory, each measured in a process of its own."""
    rows = []
    for n in (16, 32, 64):
        row = {"n": n}
        for what in ("R", "R, backward"):
            command = [sys.executable, "-m", "tests.geometry.bench_curvature", "--memory", str(n), what]
            row[what + ", MiB"] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        rows.append(row)
    return rows


def extra_memory(n, what):
    """Peak of the resident memory above what it was before, in MiB."""
    net, x = network(n), batch(n)

    def run(y):
        if "backward" in what:
            backward(lambda: net.scalar_curvature(y), net)()
        else:
            forward(lambda: net.scalar_curvature(y))()

    run(x[:1])  # libraries and gradients are in memory before
    reset_peak_memory()
    before = peak_memory_mb()
    run(x)
    return peak_memory_mb() - before


def estimator_rows(n, draws=200):
    """Ways to estimate the mean of R^2 over the inputs: spread of one estimate, its time, and time x variance.

    Each draw takes a fresh batch, so that the spread holds that of the points too. A method whose last number is twice
    that of another needs twice the time for the same precision.
    """
    net, generator = network(n), torch.Generator().manual_seed(1)
    plain = net.forward  # a metric that knows nothing about itself
    methods = {
        "exact, 64 points": (64, lambda x: net.scalar_curvature(x).square().mean()),
        "exact, 16 points": (16, lambda x: net.scalar_curvature(x).square().mean()),
        "sketch, 64 points": (64, lambda x: mean_square_curvature(net, x, 1, generator)),
        "planes, 64 points": (64, lambda x: mean_square_curvature(plain, x, 1, generator)),
    }
    x = batch(n)
    jobs = {name: forward(lambda f=f, k=k: f(x[:k])) for name, (k, f) in methods.items()}
    ms = compare(jobs, repeats=10, budget=3.0)
    rows = []
    for name, (points, function) in methods.items():
        with torch.no_grad():
            values = torch.stack([function(batch(n, points, seed=draw)) for draw in range(draws)]).double()
        row = {"n": n, "estimate of E[R^2]": name, "mean": float(values.mean()), "sd": float(values.std())}
        rows.append(row | {"ms": ms[name]})
    unit = rows[0]["ms"] * rows[0]["sd"] ** 2
    return [row | {"time x variance, exact = 1": row["ms"] * row["sd"] ** 2 / unit} for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/geometry/curvature.{json,md}")
    parser.add_argument("--memory", nargs=2, metavar=("N", "WHAT"), help="print the extra memory of one computation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        n, what = arguments.memory
        print(json.dumps(extra_memory(int(n), what)))
        return
    sections = dict(zip(("scalar curvature", "other ways to the same number"), scalar_rows(), strict=True))
    for title, rows in sections.items():
        print(f"## {title}\n\n{table(rows)}", flush=True)
    for title, section in (
        ("structures", lambda: [structure_row(*case) for case in STRUCTURES]),
        ("geomstats", geomstats_rows),
        ("memory", memory_rows),
        ("estimators", lambda: [row for n in (8, 16, 32) for row in estimator_rows(n)]),
    ):
        sections[title] = section()
        print(f"## {title}\n\n{table(sections[title])}", flush=True)
    if arguments.write:
        write("curvature", sections)


if __name__ == "__main__":
    main()
