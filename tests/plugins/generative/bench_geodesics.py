"""Geodesics in trained latent spaces: what a pair costs, whether it comes to rest, and what its energy is worth.

``python -m tests.plugins.generative.bench_geodesics RUNS... [--write]``, where RUNS are folders of finished runs of the
generative plugin. Ends are codes of test images, metrics those of the run's config. Times are processor time of this
process, on one thread. ``results/generative/geodesics.md`` is the table.
"""

import argparse
import time
from pathlib import Path
from unittest.mock import patch

import torch

from ndm_apps.config import load_config
from ndm_apps.geometry import geodesic
from ndm_apps.geometry.discrete_energy import energy_and_gradient, resample
from ndm_apps.geometry.structured import as_finsler
from ndm_apps.plugins.generative.compared import metric_of, names
from ndm_apps.plugins.generative.evaluate import NODES
from ndm_apps.plugins.generative.metric import ConformalLatentMetric
from ndm_apps.plugins.generative.paths import geodesic_paths, line, slerp
from ndm_apps.plugins.generative.run import restore
from ndm_apps.plugins.generative.train import codes
from ndm_apps.run_files import read_state
from tests.benchmark import table
from tests.plugins.generative.bench_generative import OUTPUT

#: Pairs together, alone, on finer grids, and for slow methods; the seed that they are drawn by.
BATCH, ALONE, REFERENCE, FEW, SEED = 256, 12, 32, 8, 1000
FINE, CHORDS = 129, 256  # nodes of the reference, and chords that all energies are compared on
LABELS = {
    "geodesic": "entropy and density",
    "avoid": "entropy, density and classes",
    "label_free": "without labels",
}


def ends(folder):
    """Return the name, model and settings of a run, with the codes and classes of pairs of its test images."""
    config = load_config(str(folder / "config.yaml"))
    model, split = restore(config.task, config.run.method, config.settings, read_state(folder)["plugin"], config.run)
    z, y = codes(model, split.x_test).mean, split.y_test
    # Where the head is mistaken, a path that keeps to the classes of its ends begins outside them.
    usable = torch.arange(len(z)) if not model.classes else (model.logits(z).argmax(-1) == y).nonzero()[:, 0]
    chosen = usable[torch.randperm(len(usable), generator=torch.Generator().manual_seed(SEED))]
    a, b = chosen[: min(2 * BATCH, len(chosen) // 2 * 2)].reshape(2, -1)
    name = f"{folder.parent.name}/{folder.name}"
    return name, model, config.settings, z[a], z[b], torch.stack((y[a], y[b]), -1)


def measured(job):
    """Return the result of a job, its seconds of the processor, and how many paths' gradients of the weight it took."""
    points, plain = 0, ConformalLatentMetric.conformal_weight_and_gradient

    def counted(metric, z):
        nonlocal points
        points += z.numel() // z.shape[-1]
        return plain(metric, z)

    with patch.object(ConformalLatentMetric, "conformal_weight_and_gradient", counted):
        began = time.process_time()
        result = job()
        seconds = time.process_time() - began
    return result, seconds, points / (NODES - 1)


def energies(metric, curves):
    """Return energies of curves (b, nodes, d) on grids so fine that nodes no longer matter."""
    return energy_and_gradient(as_finsler(metric), resample(curves, CHORDS))[0]


def cost(name, metric, x, y):
    """Return a row of the first table."""
    geodesic_paths(metric.part(torch.arange(2)), x[:2], y[:2])  # the first call makes sure that torch is awake
    paths, seconds, gradients = measured(lambda: geodesic_paths(metric, x, y))
    alone = []
    for k in range(ALONE):
        one = metric.part(torch.tensor([k]))
        alone.append(measured(lambda k=k, one=one: geodesic_paths(one, x[k : k + 1], y[k : k + 1]))[1:])
    some = slice(REFERENCE)
    part, a, b = metric.part(torch.arange(len(x[some]))), x[some], y[some]
    best = geodesic_paths(part, a, b, FINE)
    ours, straight, fine = (energies(part, c) for c in (paths.points[some], line(a, b, NODES), best.points))
    apart = (energies(metric, paths.points) / paths.energy - 1).abs()
    milliseconds = sorted(1e3 * seconds for seconds, _ in alone)
    return {
        **name,
        f"ms a pair, {len(x)} together (asked: 10)": 1e3 * seconds / len(x),
        "gradients": gradients / len(x),
        "ms alone, median (asked: 60)": milliseconds[len(milliseconds) // 2],
        "worst": milliseconds[-1],
        "converged (asked: 95 %)": f"{float(paths.converged.double().mean()):.1%}",
        "energy / line's, median": float((ours / straight).median()),
        f"energy / that of {FINE} nodes - 1, median": float((ours / fine - 1).median()),
        "error of energy, median": float(apart.median()),
        "above 10 %": f"{float((apart > 0.1).double().mean()):.1%}",
    }


def steepest(metric, x, y):
    """Return the nodes that torch's L-BFGS finds, one pair at a time, in the coordinates of the latent space."""
    norm, found = as_finsler(metric), []
    for k in range(len(x)):
        straight = line(x[k : k + 1], y[k : k + 1], NODES)
        inside = straight[:, 1:-1].clone().requires_grad_()
        optimiser = torch.optim.LBFGS([inside], max_iter=320, history_size=64, line_search_fn="strong_wolfe")

        def closure(straight=straight, inside=inside, optimiser=optimiser):
            optimiser.zero_grad()
            with torch.no_grad():
                energy, inside.grad = energy_and_gradient(
                    norm, torch.cat((straight[:, :1], inside, straight[:, -1:]), 1)
                )
            return energy.sum()

        optimiser.step(closure)
        found.append(torch.cat((straight[:, :1], inside.detach(), straight[:, -1:]), 1))
    return torch.cat(found)


def compared(name, metric, x, y):
    """Return rows of the second table: other ways to the same curves."""

    def gradient(count, initial=None, tolerance=1e-5):
        a, b = x[:count], y[:count]
        start = None if initial is None else initial(a, b, NODES)
        return geodesic(metric, a, b, NODES, 0, start, 20, "gradient", tolerance)

    ways = {
        "coarse grids first (ours)": (BATCH, gradient),
        "ours to rounding": (BATCH, lambda count: gradient(count, tolerance=None)),
        "from the line, one grid": (BATCH, lambda count: gradient(count, line)),
        "from the great arc, one grid": (BATCH, lambda count: gradient(count, slerp)),
        "Newton's method": (FEW, lambda count: geodesic(metric, x[:count], y[:count], NODES, 0)),
        "L-BFGS of torch": (FEW, lambda count: steepest(metric, x[:count], y[:count])),
    }
    rows, best = [], None
    for way, (count, job) in ways.items():
        count = min(count, len(x))
        found, seconds, gradients = measured(lambda job=job, count=count: job(count))
        nodes = found if isinstance(found, torch.Tensor) else found.points.detach()
        energy = energy_and_gradient(as_finsler(metric), nodes)[0]
        best = energy if best is None else best
        rows.append({
            **name,
            "way": way,
            "pairs": count,
            "ms a pair": 1e3 * seconds / count,
            "gradients": gradients / count,
            "converged": "-" if found is nodes else f"{float(found.converged.double().mean()):.1%}",
            "energy / ours, mean": float((energy / best[:count]).mean()),
        })  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help=f"write {OUTPUT}/geodesics.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    costs, ways = [], []
    for folder in arguments.runs:
        run, model, settings, x, y, classes = ends(folder)
        for path in names(model, settings):
            if path in LABELS:
                metric = metric_of(path, model, settings.metric, classes)
                costs.append(cost({"run": run, "metric": LABELS[path]}, metric, x, y))
                print(table(costs[-1:]).splitlines()[-1], flush=True)
                if path == "geodesic":
                    ways += compared({"run": run}, metric, x, y)
    page = (
        f"# Geodesics of the latent metric, {NODES} nodes\n\n{' '.join(__doc__.split())}\n\n"
        "Gradients: passes through the weight of the metric, in units of one whole path; coarse grids count less. "
        "Converged: no more than 1e-5 of the energy is left to lose, to second order, on the path's grid. Error "
        f"of energy: on {NODES} nodes, against the same curve on {CHORDS} chords; where it is large a chord leaps over "
        "a wall of the metric.\n\n"
        f"{table(costs)}\n## Other ways to the same curves\n\nNewton's method and torch's L-BFGS on the first pairs "
        f"alone. They may find other valleys.\n\n{table(ways)}"
    )
    if arguments.write:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        (OUTPUT / "geodesics.md").write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
