"""Laws that hold but for a perturbation: found with their drift, and never where nothing is nearly conserved."""

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy.integrate import solve_ivp

from ndm_apps.plugins.physics.api import discover
from ndm_apps.plugins.physics.dictionary import polynomials
from ndm_apps.plugins.physics.perturbed import fitted, perturbed_laws
from ndm_apps.plugins.physics.trajectories import Trajectories

TIME = np.linspace(0, 20, 200)


def frames(right, starts, names):
    """Integrate x' = right(t, x, number) from each start."""
    parts = []
    for number, start in enumerate(starts):
        states = solve_ivp(lambda t, x, n=number: right(t, x, n), (0, 20), start, "DOP853", TIME, rtol=1e-10).y
        parts.append(pd.DataFrame(states.T, columns=names).assign(t=TIME, trajectory=number))
    return pd.concat(parts, ignore_index=True)


def driven(size, many=6):
    """Oscillators that are pushed weakly, each in its own rhythm."""
    starts = np.random.default_rng(1000).uniform(-1.5, 1.5, (many, 2))
    return frames(lambda t, x, n: [x[1], -x[0] + size * np.cos((2.1 + 0.1 * n) * t)], starts, ["x", "v"])


@pytest.mark.parametrize("many", [6, 15])
def test_the_energy_of_pushed_oscillators(many):
    found = discover(driven(2e-4, many), degree=2)
    assert found.n_conserved == 0
    (entry,) = found.result["approximate"]
    x, v = sympy.symbols("x v")
    law = perturbed_laws(found.measured.data, found.evidence)[0].expression
    assert float(law.coeff(x, 2) / law.coeff(v, 2)) == pytest.approx(1, rel=1e-3)
    assert entry["drift"] < 1e-3 and set(entry["coefficients_sd"]) == {"x**2", "v**2"}
    assert len(entry["departures"]) == many
    assert all(0 < one["periodic"] < 2e-3 for one in entry["departures"].values())
    assert "Nearly conserved, but for a perturbation" in found.verdict and found.result["orbits"] is None


def test_nothing_is_nearly_conserved_where_it_is_not():
    strong = driven(0.5)
    starts = np.random.default_rng(1001).uniform([-10, -10, 15], [10, 10, 35], (6, 3))
    lorenz = frames(
        lambda t, x, n: [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]],
        starts, ["x", "y", "z"],
    )  # fmt: skip
    for frame in (strong, lorenz):
        found = discover(frame, degree=2)
        assert found.n_conserved == 0 and found.result["approximate"] == []


def test_the_least_perturbed_trajectories_tell_the_coefficients():
    rng = np.random.default_rng(1000)
    phase = np.linspace(0, 12, 300)
    sizes, noise = (1.0, 1.5, 2.0), (1e-6, 1e-6, 1e-2)
    parts = [np.stack([s * np.sin(phase), 3 * s * np.cos(phase)], 1) for s in sizes]
    parts = [part + n * rng.standard_normal(part.shape) for part, n in zip(parts, noise, strict=True)]
    data = Trajectories(("x", "v"), frozenset(), np.tile(phase, 3), np.concatenate(parts), np.arange(3) * 300)
    squares = np.flatnonzero([len(term) == 2 and term[0] == term[1] for term in polynomials("xv", (), 2).terms])
    coefficients, others = fitted(polynomials(("x", "v"), (), 2).of(squares), data)
    assert coefficients[0] / coefficients[1] == pytest.approx(9, rel=1e-5)
    assert others.shape == (3, 2)
