"""How exact curvature is, and how many symmetries are found: closed forms, rational arithmetic, Metric Nets."""

import argparse
import random
from fractions import Fraction

import numpy as np
import torch

from ndm_apps.geometry import (
    Ellipsoid,
    Sphere,
    Torus,
    killing_fields,
    ricci,
    riemann,
    scalar_curvature,
    scalar_curvature_from_jets,
)
from tests import benchmark
from tests.geometry import test_killing_tensors, test_learned, test_symbolic
from tests.geometry.examples import ANALYTIC, points


def _error(got, exact):
    """Largest error over the largest entry of each sample; where all entries are 0, the error itself."""
    error, scale = ((t.reshape(len(t), -1).abs().amax(-1)) for t in (got - exact, exact))
    return (error / torch.where(scale > 0, scale, torch.ones_like(scale))).max().item()


def closed_forms():
    """Errors of R, Ricci and Riemann at 64 points, relative, float64."""
    rows = []
    for name, metric in ANALYTIC.items():
        x = points(metric, 64)
        rows.append(
            {
                "space": name,
                "n": metric.n,
                "R": _error(scalar_curvature_from_jets(metric, x), metric.scalar_curvature(x)),
                "Ricci": _error(ricci(metric, x), metric.ricci(x)),
                "Riemann": _error(riemann(metric, x), metric.riemann(x)),
            }
        )
    return rows


def rational():
    """The same on random polynomial metrics, against rational arithmetic at 5 points."""
    rows = []
    for n, degree, seed in test_symbolic.CASES:
        functions, metric, scale = test_symbolic.polynomial(n, degree, seed)
        rng = random.Random(200 + seed)
        errors = []
        for _ in range(5):
            point = [Fraction(rng.randint(-8, 8), 8) for _ in range(n)]
            _, inverse, _, curvature = test_symbolic.exact(functions, scale, point)
            contracted = np.tensordot(curvature, inverse, ((0, 3), (0, 1)))
            values = (np.array((contracted * inverse).sum()), contracted, curvature)
            x = test_symbolic.tensor(np.array(point)).unsqueeze(0)
            pairs = zip((scalar_curvature, ricci, riemann), values, strict=True)
            errors.append([_error(f(metric, x), test_symbolic.tensor(value).unsqueeze(0)) for f, value in pairs])
        scalar, second, fourth = np.max(errors, 0).tolist()
        name = f"degree {degree}, seed {seed}"
        rows.append({"metric": name, "n": n, "R": scalar, "Ricci": second, "Riemann": fourth})
    return rows


def tensors():
    """Killing tensors of rank 2: counts, and the gap under them."""
    rows = []
    for name, (metric, x, arguments, *known) in test_killing_tensors.CASES.items():
        found = test_killing_tensors.killing_tensors(metric, x, **arguments)
        row = {"reducible": found.reducible, "irreducible": found.irreducible, "vectors": len(found.vectors)}
        rows.append({"space": name, **row, "as known": known == list(row.values()), "gap": f"{found.gap:.0e}"})
    return rows


def learned():
    """Killing vectors of Metric Nets fitted to three surfaces, degree 2, tolerance 0.2, seeds 0 to 4."""
    rows = []
    for metric, known in ((Sphere(2), 3), (Torus(), 1), (Ellipsoid(), 0)):
        for seed in range(5):
            net = test_learned.fit(metric, points(metric, 512, seed=seed), seed)
            fields = killing_fields(net, points(metric, 300, seed=10 + seed), degree=2, tolerance=0.2)
            residuals = {f"residual {k}": float(fields.spectrum[k - 1]) for k in range(1, 5)}
            rows.append(
                {"surface": type(metric).__name__, "seed": seed, "known": known, "found": len(fields)} | residuals
            )
    return rows


def main():
    """Print the tables; with ``--write`` also write results/geometry/exactness."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    sections = {part.__doc__.rstrip("."): part() for part in (closed_forms, rational, tensors, learned)}
    for title, rows in sections.items():
        print(f"\n{title}\n\n{benchmark.table(rows)}")
    if parser.parse_args().write:
        benchmark.write("exactness", sections)


if __name__ == "__main__":
    main()
