"""Whether the Lie derivative of the learned metric along the flow tells chaos: orbits of Henon and Heiles.

``python -m tests.plugins.physics.kinetic.bench_chaos --write`` writes ``results/physics/killing-chaos.md``, else the
page goes to the terminal. ``--seed`` draws other orbits.

The Lagrangian is learned from the shipped task (60 short trajectories). Orbits are new, at one energy each row: a
Lyapunov exponent over 1000 units of time says which are chaotic; the indicators see the first 100 of them only.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ndm_apps.files import write_text
from ndm_apps.plugins.physics.kinetic.jacobi import isometry_residual, stability
from ndm_apps.plugins.physics.kinetic.lagrangian import Lagrangian
from ndm_apps.plugins.physics.kinetic.learning import learn
from ndm_apps.plugins.physics.kinetic.settings import KineticSettings
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.tasks import load_task
from tests.benchmark import table

OUTPUT = Path("results/physics/killing-chaos.md")
ENERGIES = (0.1, 0.125, 0.145)
ORBITS, STEP, LONG, SEEN = 150, 0.05, 1000.0, 100.0
#: Exponents above this are chaos: regular orbits have about log(LONG) / LONG.
CHAOTIC = 0.02
#: Samples of an orbit that indicators see.
SAMPLES = 400


def starts(energy: float, rng: np.random.Generator) -> np.ndarray:
    """Draw states of one energy on the section x = 0, as in Henon and Heiles (1964)."""
    found = []
    while len(found) < ORBITS:
        y, vy = rng.uniform(-0.6, 1.0), rng.uniform(-0.6, 0.6)
        left = 2 * energy - vy**2 - y**2 + 2 * y**3 / 3
        # Inside the triangle alone: beyond it the motion runs away.
        if left > 0 and y < 1 and y**2 / 2 - y**3 / 3 < 1 / 6:
            found.append([0.0, y, left**0.5, vy])
    return np.array(found)


def flow(state: np.ndarray) -> np.ndarray:
    """Return the rates of states and of their tangent vectors, ``(orbits, 1 + 4, 4)``."""
    x, y = state[:, 0, 0], state[:, 0, 1]
    rate = np.empty_like(state)
    rate[..., :2] = state[..., 2:]
    rate[:, 0, 2], rate[:, 0, 3] = -x - 2 * x * y, -y - x**2 + y**2
    dx, dy = state[:, 1:, 0], state[:, 1:, 1]
    x, y = x[:, None], y[:, None]
    rate[:, 1:, 2], rate[:, 1:, 3] = -dx - 2 * (y * dx + x * dy), -dy - 2 * x * dx + 2 * y * dy
    return rate


def orbits(start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return states ``(times, orbits, 4)`` while they are seen, and Lyapunov exponents of that time and of all."""
    state = np.concatenate([start[:, None], np.broadcast_to(np.eye(4), (len(start), 4, 4))], axis=1)
    total, path, early = np.zeros(len(start)), [], np.zeros(len(start))
    for number in range(round(LONG / STEP)):
        if number < round(SEEN / STEP):
            path.append(state[:, 0])
        elif number == round(SEEN / STEP):
            early = total / SEEN
        a = flow(state)
        b = flow(state + STEP / 2 * a)
        c = flow(state + STEP / 2 * b)
        state = state + STEP / 6 * (a + 2 * b + 2 * c + flow(state + STEP * c))
        size = np.linalg.norm(state[:, 1:], axis=(1, 2))
        total += np.log(size / (2.0 if number == 0 else 1.0))
        state[:, 1:] /= size[:, None, None]
    return np.array(path), early, total / LONG


def auroc(score: np.ndarray, label: np.ndarray) -> float:
    """Return the probability that a chaotic orbit has the higher score of two."""
    above, below = score[label], score[~label]
    difference = above[:, None] - below
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def bound(lagrangian: Lagrangian, q: torch.Tensor, v: torch.Tensor) -> float:
    """Return the mean greatest rate of growth in G, with the best of all omega: it bounds the exponent from above."""
    values = torch.linalg.eigvalsh(stability(lagrangian, q, v))
    omegas = torch.linspace(0.3, 3.0, 28, dtype=q.dtype)
    rates = (omegas[:, None, None] ** 2 - values).abs().amax(-1).mean(-1) / (2 * omegas)
    return float(rates.min())


INDICATORS: dict[str, Callable[[Lagrangian, torch.Tensor, torch.Tensor], float]] = {
    "residual of L_f G": isometry_residual,
    "bound by L_f G": bound,
}


def page(seed: int) -> str:
    """Return the page."""
    task = load_task("physics/kinetic/henon_heiles")[1]
    data = simulate(task.system, 0.0, seed)
    rng = np.random.default_rng([seed, 3])
    lagrangian = learn(data, task.kinetic.positions, task.kinetic.velocities, KineticSettings(), rng).lagrangian
    rows = []
    for energy in ENERGIES:
        path, early, exponents = orbits(starts(energy, rng))
        chaotic = exponents > CHAOTIC
        seen = torch.from_numpy(path[:: max(1, len(path) // SAMPLES)].transpose(1, 0, 2).copy())
        scores = {
            name: np.array([one(lagrangian, orbit[:, :2], orbit[:, 2:]) for orbit in seen])
            for name, one in INDICATORS.items()
        }
        scores["Lyapunov exponent of the same time"] = early
        figures = {name: f"{auroc(one, chaotic):.2f}" for name, one in scores.items()}
        rows.append({"energy": energy, "chaotic": f"{chaotic.sum()} of {ORBITS}", **figures})
    return "\n".join(
        [
            "# Does |L_f G| tell chaos? Orbits of Henon and Heiles",
            "",
            f"AUROC (0.5 is chance) of telling chaotic orbits from regular ones of the same energy, seed {seed}.",
            f"Chaotic: a Lyapunov exponent over {LONG:g} units of time above {CHAOTIC}. The first two scores see",
            f"{SEEN:g} of them and the learned Lagrangian; the last one, for comparison, follows tangent vectors over",
            "the same time.",
            "",
            table(rows),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    text = page(given.seed)
    if given.write:
        write_text(OUTPUT, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
