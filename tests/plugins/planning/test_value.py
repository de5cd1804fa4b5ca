"""The value on nodes against closed forms; embeddings, seeds and searches on it."""

import numpy as np
import pytest

from ndm_apps.plugins.planning.beam import beam_search
from ndm_apps.plugins.planning.lqr import regulator_at
from ndm_apps.plugins.planning.nodes import Embedding
from ndm_apps.plugins.planning.potential import Potential
from ndm_apps.plugins.planning.scales import scales_of, spread_out, wrapped
from ndm_apps.plugins.planning.seeds import Seeds
from ndm_apps.plugins.planning.truth import PENDULUM
from ndm_apps.plugins.planning.value import Value
from tests.plugins.planning.models import mass, problem


def parts_of(model, task, nodes=1024, slow=0, **settings):
    generator = np.random.default_rng(1000)
    scales = scales_of(task, model.angles, generator)
    potential = Potential(model, task, scales, 1.0)
    regulator = regulator_at(model, task, scales, generator) if task.objective == "cost" else None
    embedding = Embedding(model, task, scales, slow, generator)
    box = np.concatenate([task.goal[None], spread_out(task.box, nodes - 1, generator)])
    settings = {"levels": 7, "neighbours": 4, "flat": 0.01, **settings}
    value = Value(model, task, scales, potential, regulator, embedding, box, **settings)
    return value, potential, regulator, embedding


def minimum_time(x, bound, step):
    """Time of the double integrator to rest at 0 (Pontryagin), in steps."""
    q, v = x[..., 0], x[..., 1]
    q, v = np.where(q > -v * np.abs(v) / (2 * bound), q, -q), np.where(q > -v * np.abs(v) / (2 * bound), v, -v)
    return (v / bound + 2 * np.sqrt(v**2 / (2 * bound**2) + q / bound)) / step


def test_the_value_of_a_linear_problem_is_that_of_riccati():
    value, _, regulator, _ = parts_of(mass(), problem(bound=50.0))
    x = np.random.default_rng(1001).uniform(-0.8, 0.8, (200, 2))
    assert np.median(np.abs(value(x) / regulator.cost(x) - 1)) < 0.05


def test_least_time_is_asymmetric_and_near_the_closed_form():
    task = problem("time", levels=[[-1.0], [0.0], [1.0]])
    value, *_ = parts_of(mass(), task, nodes=4096)
    x = np.random.default_rng(1001).uniform(-1.0, 1.0, (300, 2))
    exact = minimum_time(x, 1.0, 0.1)
    assert np.corrcoef(value(x), exact)[0, 1] > 0.97
    ahead, away = value(np.array([[-1.0, 1.0], [-1.0, -1.0]]))
    assert away > 1.5 * ahead  # to go on is shorter than to turn round first
    assert value(task.goal[None])[0] == 0.0


def test_nodes_with_bounds_lower_the_value_near_them():
    value, *_ = parts_of(PENDULUM_AS[0], PENDULUM_AS[1], nodes=300)
    x = np.array([[3.0, 0.0]])
    before = value(x)[0]
    value.refine(x, np.array([before / 2]))
    assert value(x)[0] == pytest.approx(before / 2, rel=0.05)
    assert len(value.nodes) == 301


def pendulum_task():
    task = problem(horizon=200, bound=2.0)
    box = np.array([[-np.pi, np.pi], [-8.0, 8.0]])
    weights = np.array([1.0, 0.1**0.5])
    parts = {
        "box": box,
        "control_cost": np.array([[0.001]]),
        "residual": lambda x: wrapped(x, (0,)) * weights,
        "residual_jacobian": lambda x: np.broadcast_to(np.diag(weights), (*x.shape, 2)),
    }
    return type(task)(**{**task.__dict__, **parts})


PENDULUM_AS = (PENDULUM, pendulum_task())


def test_slow_functions_of_the_pendulum_are_its_energy():
    model, task = PENDULUM_AS
    *_, embedding = parts_of(model, task, nodes=300, slow=1)
    x = spread_out(task.box, 512, np.random.default_rng(1001))
    energy = x[:, 1] ** 2 / 2 + 15.0 * np.cos(x[:, 0])
    slow = embedding(x)[:, -1]
    assert abs(np.corrcoef(slow, energy)[0, 1]) > 0.98
    np.testing.assert_allclose(embedding(x + 2 * np.pi * np.array([1, 0])), embedding(x), atol=1e-9)


def test_seeds_are_motions_of_the_model_from_the_start():
    model, task = PENDULUM_AS
    value, _, regulator, _ = parts_of(model, task, slow=1)
    start = np.array([3.0, 0.2])
    seeds = {
        kind: Seeds(model, task, regulator, value, np.random.default_rng(1002), kind=kind, noise=0.3, noisy=2)
        for kind in ("value", "drift", "line")
    }
    paths = seeds["value"].around(start, 200)
    assert len(paths) > 5
    for path in paths + seeds["drift"].around(start, 50):
        assert (path[0] == start).all() and len(path) <= 200 + 11
        u = (path[1:, 1] - path[:-1, 1] - 0.75 * np.sin(path[:-1, 0])) / 0.15
        clipped = np.abs(path[1:, 1]) >= 8.0
        assert (np.abs(u[~clipped]) <= 2.0 + 1e-9).all()
    assert any(regulator.inside(path[-1]) for path in paths)
    line = seeds["line"].around(start, 50)[0]
    np.testing.assert_allclose(np.diff(line, axis=0, n=2), 0.0, atol=1e-12)


def test_seeds_repeat_with_their_generator():
    model, task = PENDULUM_AS
    value, _, regulator, _ = parts_of(model, task)
    first, second = (
        Seeds(model, task, regulator, value, np.random.default_rng(1002), kind="value", noise=1.0, noisy=3)
        for _ in range(2)
    )
    for one, other in zip(first.around(np.array([3.0, 0.2]), 60), second.around(np.array([3.0, 0.2]), 60), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_beam_finds_the_least_time_within_a_few_steps():
    model, task = mass(), problem("time", levels=[[-1.0], [0.0], [1.0]])
    value, potential, _, embedding = parts_of(model, task, nodes=2048)
    start = np.array([1.0, 0.0])
    path, seen = beam_search(model, task, potential, embedding, value, start, width=100, steps=100)
    assert path.converged and task.reached(path.states[-1])
    assert len(path.controls) == path.cost <= 1.2 * minimum_time(start, 1.0, 0.1)
    x = start
    for u, after in zip(path.controls, path.states[1:], strict=True):
        x = model.step(x, u)
        np.testing.assert_allclose(x, after)
    assert len(seen) > len(path.controls)


def test_a_beam_that_does_not_arrive_says_so():
    model, task = mass(), problem("time", levels=[[-1.0], [0.0], [1.0]])
    value, potential, _, embedding = parts_of(model, task, nodes=512)
    path, _ = beam_search(model, task, potential, embedding, value, np.array([1.0, 0.0]), width=20, steps=5)
    assert not path.converged and not path.feasible


def test_points_fill_a_box_evenly():
    points = spread_out(np.array([[0.0, 1.0], [-2.0, 2.0]]), 100, np.random.default_rng(1000))
    assert points.shape == (100, 2)
    counts, *_ = np.histogram2d(*points.T, bins=4, range=[[0, 1], [-2, 2]])
    assert counts.min() >= 3
