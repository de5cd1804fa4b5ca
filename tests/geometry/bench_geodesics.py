"""Geodesics beside stochman's: 32 pairs of points on a learned metric, one thread.

    python -m tests.geometry.bench_geodesics [--write]

Every curve found is judged by one measure: its energy on 2000 chords in float64, relative to that of our own solution
on 256 chords. Our curves are nodes; between them run polynomials through the six nearest. stochman finds its curves
among cubic splines by the mean energy on a grid of points; it stops when the gradient is small or the iterations are
over. Its own choice (8 nodes, 20 points, Adam, 150 iterations) and others that were to bring it closer are shown.
"""

import argparse
import warnings

import torch
from stochman.curves import CubicSpline
from stochman.geodesic import geodesic_minimizing_energy
from stochman.manifold import Manifold

from ndm_apps.engine import MetricNet
from ndm_apps.geometry import exp_map, geodesic, norm, parallel_transport
from ndm_apps.geometry.discrete_energy import energy_and_gradient, resample
from ndm_apps.geometry.exponential import geodesic_flow
from ndm_apps.geometry.finsler import Riemannian
from ndm_apps.geometry.mean import frechet_mean
from tests.benchmark import compare, table, write

PAIRS, NODES, CHORDS = 32, 20, 2000
STOCHMAN = {
    "stochman: 8 nodes, grid 20, Adam 150": (8, 20, 150, torch.optim.Adam),
    "stochman: 8 nodes, grid 20, Adam 600": (8, 20, 600, torch.optim.Adam),
    "stochman: 8 nodes, grid 100, Adam 600": (8, 100, 600, torch.optim.Adam),
    "stochman: 20 nodes, grid 200, L-BFGS 20 x 20": (20, 200, 20, lambda parameters, lr: torch.optim.LBFGS(
        list(parameters), lr=1, max_iter=20, line_search_fn="strong_wolfe")),
}  # fmt: skip


class Learned(Manifold):
    """A Metric Net as stochman wants it."""

    def __init__(self, net):
        self.net = net

    def metric(self, points):
        return self.net(points)


def network(n, dtype):
    """A Metric Net whose geodesics bend visibly."""
    torch.manual_seed(0)
    net = MetricNet(n).to(dtype).requires_grad_(False)
    net.mlp.set_output(net.structure.identity().to(dtype), gain=20.0)
    return net


def pairs(n, dtype):
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.rand(2, PAIRS, n, generator=generator, dtype=torch.float64) - 1).to(dtype)


def energy(net, curve):
    return energy_and_gradient(Riemannian(net), resample(curve.double(), CHORDS))[0]


def spline(net, x, y, nodes, grid, iterations, optimizer):
    curve = CubicSpline(x, y, num_nodes=nodes)
    done = geodesic_minimizing_energy(curve, Learned(net), optimizer=optimizer, max_iter=iterations, eval_grid=grid)
    with torch.no_grad():
        return curve(torch.linspace(0, 1, CHORDS + 1)), bool(done)


def between_pairs(n):
    net, (x, y) = network(n, torch.float32), pairs(n, torch.float32)
    fine = network(n, torch.float64)
    best = geodesic(fine, x.double(), y.double(), points=257, refinements=1)
    assert best.converged.all()
    straight = best.points[:, :1] + torch.linspace(0, 1, 257).unsqueeze(-1) * (best.points[:, -1:] - best.points[:, :1])
    bend = (best.points - straight).norm(dim=-1).amax(-1) / (y - x).norm(dim=-1)
    least = energy(fine, best.points)

    curves = {}

    def ours(name, metric, dtype, refinements):
        def job():
            curves[name] = geodesic(metric, x.to(dtype), y.to(dtype), points=NODES, refinements=refinements)

        return job

    def theirs(name, settings):
        def job():
            curves[name] = spline(net, x, y, *settings)

        return job

    jobs = {}
    for label, metric, dtype in (("float32", net, torch.float32), ("float64", fine, torch.float64)):
        for refinements in (0, 1):
            name = f"ours: {NODES} nodes, {refinements} refinements, {label}"
            jobs[name] = ours(name, metric, dtype, refinements)
    jobs |= {name: theirs(name, settings) for name, settings in STOCHMAN.items()}
    times = compare(jobs, repeats=5, budget=6.0)
    rows = []
    for name, curve in curves.items():
        points, converged = (curve[0], PAIRS * int(curve[1])) if isinstance(curve, tuple) else (
            curve.points, int(curve.converged.sum()))  # fmt: skip
        excess = energy(fine, points) / least - 1
        rows.append({
            "n": n, "method": name, "seconds": times[name] / 1e3, "says converged": f"{converged} of {PAIRS}",
            "excess, worst": float(excess.max()), "excess, median": float(excess.median()),
            "within 1e-6": f"{int((excess <= 1e-6).sum())} of {PAIRS}", "bend, median": float(bend.median()),
        })  # fmt: skip
    return rows


def along_rays(n, dtype):
    net, (x, y) = network(n, dtype), pairs(n, dtype)
    v = (y - x) / norm(net, x, y - x).unsqueeze(-1)
    flow = geodesic_flow(net, x, v)
    sets = x.reshape(4, PAIRS // 4, n)
    curve = geodesic(net, x, y, points=NODES).points
    jobs = {
        f"exp_map, {PAIRS} unit vectors": lambda: exp_map(net, x, v),
        f"parallel_transport, {PAIRS} curves of {NODES} nodes": lambda: parallel_transport(net, curve, v),
        f"frechet_mean, 4 sets of {PAIRS // 4}": lambda: frechet_mean(net, sets),
    }
    times = compare(jobs, budget=5.0)
    rows = [{"n": n, "dtype": str(dtype)[6:], "function": name, "ms": ms} for name, ms in times.items()]
    rows[0] |= {"energy drift, worst": float(flow.energy_drift.abs().max()), "steps, most": int(flow.steps.max())}
    mean = frechet_mean(net, sets)
    rows[2] |= {"converged": f"{int(mean.converged.sum())} of 4"}
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write results/geometry/geodesics.{json,md}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with torch.no_grad():
        rays = [row for n in (2, 8) for dtype in (torch.float32, torch.float64) for row in along_rays(n, dtype)]
    sections = {
        f"Geodesics between {PAIRS} pairs": [row for n in (2, 8) for row in between_pairs(n)],
        "Along geodesics": rays,
    }
    for title, rows in sections.items():
        print(f"## {title}\n\n{table(rows)}")
    if arguments.write:
        write("geodesics", sections)


if __name__ == "__main__":
    main()
