"""The truth of each shipped task on its own trajectories: what is listed holds, and no polynomial of low degree more.

That no other law exists at all is known of some: of three bodies no algebraic one (Bruns 1887), of Henon and Heiles's
star no analytic one (Ito 1985). Toda's particles are integrable (Henon 1974), and Calogero and Moser's have as
many laws as an orbit can have (Wojciechowski 1983).
"""

import re
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
import pytest
import sympy

from ndm_apps import shipped
from ndm_apps.config import load_config
from ndm_apps.plugins.physics.score import gradients, textbook
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.tasks import load_task

#: Number of columns, and of laws, of the union benchmark; then of the systems beside it.
COUNTS = {
    "harmonic_oscillator": (2, 1),
    "pendulum": (2, 1),
    "damped_oscillator": (2, 0),
    "isotropic_oscillator_2d": (4, 3),
    "commensurate_oscillator_2d": (4, 3),
    "incommensurate_oscillator_2d": (4, 2),
    "kepler": (4, 3),
    "double_pendulum": (4, 1),
    "henon_heiles": (4, 1),
    "three_body": (12, 5),
    "lotka_volterra": (2, 1),
    "cyclic_lotka_volterra": (3, 2),
    "lorenz": (3, 0),
    "toda": (6, 3),
    "euler_top": (3, 2),
    "lagrange_top": (6, 4),
    "calogero_moser": (6, 5),
    "reversible_reaction": (3, 2),
    "duffing": (2, 1),
    "central_quartic": (4, 2),
    "fput": (6, 3),
    "lorenz_family": (5, 4),
    "spring_chain": (6, 3),
    "spring_ring": (6, 4),
    "magnetic_mirror": (6, 2),
    "kdv": (9, 2),
    "wave": (8, 4),
    "roessler": (3, 0),
    "driven_oscillator": (3, 0),
    "random_walk": (2, 0),
    "double_pendulum_momenta": (4, 1),
}


@cache
def simulated(name):
    _, task = load_task(f"physics/{name}")
    return task, simulate(task.system, 0.0, 1000)


def symbols_of(task):
    return [sympy.Symbol(name) for name in task.system.state]


def within(data, features):
    """Return features less their means along each trajectory."""
    means = np.add.reduceat(features, data.starts) / data.lengths[:, None]
    return features - np.repeat(means, data.lengths, axis=0)


def laws_of(task, data):
    function = sympy.lambdify(symbols_of(task), textbook(task.truth, task.system), "numpy")
    return np.stack(np.broadcast_arrays(*function(*data.values.T)), axis=-1)


def test_the_tasks_are_those_of_the_table_and_each_has_its_config():
    found = {name: (len(simulated(name)[0].system.state), simulated(name)[0].truth.n_conserved) for name in COUNTS}
    assert found == COUNTS
    for name in list(COUNTS)[:22]:
        system = simulated(name)[0].system
        assert (system.time.points, system.trajectories) == (200, 60)
    tasks = {name: load_task(name)[1] for name in shipped.names("tasks") if re.fullmatch("physics/[^/]+", name)}
    told = {name for name, task in tasks.items() if task.system is not None and task.truth is not None}
    assert told == {f"physics/{name}" for name in COUNTS}, "a task with a truth joins the table above"
    assert all(load_config(name).task_name == name for name in told)


@pytest.mark.parametrize("name", [name for name in COUNTS if COUNTS[name][1]])
def test_each_law_is_conserved_to_the_precision_of_the_integration(name):
    task, data = simulated(name)
    laws = laws_of(task, data)
    drifts = within(data, laws).std(axis=0) / laws.std(axis=0)
    assert laws.shape[1] >= task.truth.n_conserved
    assert drifts.max() < 1e-10


def test_so_are_the_laws_listed_elsewhere():
    names = [name.removeprefix("physics/") for name in shipped.names("tasks") if re.match("physics/.*/", name)]
    for name in names:
        task, data = simulated(name)
        if task.truth is not None and task.truth.invariants:
            laws = laws_of(task, data)
            assert (within(data, laws).std(axis=0) / laws.std(axis=0)).max() < 1e-10, name


@pytest.mark.parametrize("name", [name for name in COUNTS if COUNTS[name][1]])
def test_the_laws_are_as_many_as_their_gradients_are_independent(name):
    task, data = simulated(name)
    points = data.values[:: len(data.values) // 300]
    count = task.truth.n_conserved
    slopes = gradients(textbook(task.truth, task.system), symbols_of(task), points) * data.values.std(axis=0)[:, None]
    slopes /= np.linalg.norm(slopes, axis=1, keepdims=True)
    first = np.linalg.svd(slopes[..., :count], compute_uv=False)[:, -1]
    every = np.linalg.svd(slopes, compute_uv=False)
    assert np.median(first) > 1e-3
    assert every.shape[1] == count or every[:, count].max() < 1e-7, "what is listed beside them is a function of them"


def polynomials(task, degree):
    """Return the monomials of the columns up to a degree, angles by cosine and sine."""
    factors = []
    for symbol in symbols_of(task):
        factors += [sympy.cos(symbol), sympy.sin(symbol)] if symbol.name in task.system.angles else [symbol]
    chosen = [c for power in range(1, degree + 1) for c in combinations_with_replacement(factors, power)]
    # A square of a sine is one less a square of a cosine.
    return [sympy.Mul(*c) for c in chosen if not any(c.count(f) > 1 and f.func == sympy.sin for f in c)]


@pytest.mark.parametrize("name", COUNTS)
def test_no_polynomial_of_low_degree_is_one_law_more(name):
    task, data = simulated(name)
    columns, count = len(task.system.state), task.truth.n_conserved
    degree = {2: 5, 3: 4, 4: 4, 5: 3, 6: 3}.get(columns, 2)
    terms = [*textbook(task.truth, task.system)[:count], *polynomials(task, degree)]
    function = sympy.lambdify(symbols_of(task), terms, "numpy")

    def features(values):
        return np.stack(np.broadcast_arrays(*function(*values.T)), axis=-1)

    whole = features(data.values)
    scale = whole.std(axis=0)
    _, sizes, right = np.linalg.svd(np.linalg.qr(within(data, whole / scale), mode="r"))
    conserved = sizes < 1e-9 * sizes[0]
    assert sizes[~conserved].min() > 3e-6 * sizes[0], "what is conserved is told clearly from what is not"
    assert conserved.sum() >= count
    # Products of laws are conserved, too: directions count, not functions.
    points, step = data.values[:: len(data.values) // 100], 1e-5 * data.values.std(axis=0)
    slopes = np.stack([(features(points + h) - features(points - h)) / 2 for h in np.diag(step)], axis=1) / scale
    ranks = np.linalg.matrix_rank(slopes @ right[conserved].T / 1e-5, rtol=1e-6) if conserved.any() else np.zeros(1)
    assert np.median(ranks) == ranks.max() == count
