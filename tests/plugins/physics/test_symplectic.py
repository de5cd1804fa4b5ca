import numpy as np
import pytest

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.separable import separated
from ndm_apps.plugins.physics.simulate import integrate, simulate
from ndm_apps.plugins.physics.symplectic import LENGTHS
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import oscillator, system


def by_steps(one, steps, **time):
    told = one.time.model_copy(update={"integrator": "symplectic", "steps": steps, **time})
    return one.model_copy(update={"time": told})


def test_the_split_is_found_whatever_the_order():
    assert separated({"p": ["x", "y"], "x": ["p"], "q": ["y"], "y": ["q"]}) == (["p", "q"], ["x", "y"])
    assert separated({"x": ["p"], "p": ["x"], "y": ["q"], "q": ["y"]}) == (["x", "y"], ["p", "q"])
    assert separated({"x": ["y"], "y": ["z"], "z": ["x"]}) is None
    assert separated({"x": []}) == (["x"], [])


def test_the_error_falls_with_the_eighth_power_of_the_step():
    pendulum = system({"q": "p", "p": "-sin(q)"}, {"q": (-2, 2), "p": (-1, 1)}, end=20.0, points=21, trajectories=5)
    start = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    time = np.linspace(0, 20, 21)
    exact = integrate(pendulum, start, time)
    errors = [np.abs(integrate(by_steps(pendulum, steps), start, time) - exact).max() for steps in (1, 2, 4)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders.min() > 7 and errors[-1] < 1e-8
    assert sum(LENGTHS) == pytest.approx(1.0, abs=1e-15)


def test_steps_back_undo_steps_forth():
    start = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    pendulum = by_steps(system({"q": "p", "p": "-sin(q)"}, {"q": (-2, 2), "p": (-1, 1)}), 1)
    there = integrate(pendulum, start, np.array([0.0, 1.5, 3.0]))[:, -1]
    back = integrate(pendulum, there, np.array([3.0, 1.5, 0.0]))[:, -1]
    np.testing.assert_allclose(back, start, atol=1e-13)


def test_area_is_kept_and_the_energy_does_not_drift():
    spring = oscillator()
    long = by_steps(spring, 1)
    time = np.arange(0.0, 4_000.0, 1.0)
    start = np.array([[1.0, 0.0], [0.0, 1.0], [0.3, -0.2]])
    values = integrate(long, start, time)
    # The map is linear: its determinant is that of the first two trajectories.
    areas = values[0, :, 0] * values[1, :, 1] - values[0, :, 1] * values[1, :, 0]
    np.testing.assert_allclose(areas, 1.0, atol=1e-11)
    energy = (values[2] ** 2).sum(axis=1)
    early, late = energy[:500], energy[-500:]
    assert np.abs(late - energy[0]).max() < 2 * np.abs(early - energy[0]).max() < 1e-4


def test_laws_of_the_shipped_systems_hold_as_well():
    _, task = load_task("physics/toda")
    data = simulate(by_steps(task.system, 4), 0.0, 1000)
    q1, q2, q3, p1, p2, p3 = data.values.reshape(60, 200, 6).transpose(2, 0, 1)
    cubic = p1 * p2 * p3 - p1 * np.exp(q2 - q3) - p2 * np.exp(q3 - q1) - p3 * np.exp(q1 - q2)
    assert np.abs(cubic - cubic[:, :1]).max() < 1e-11


def test_what_is_not_separable_is_refused_with_the_line(tmp_path):
    text = """\
domain: physics
system:
  state: [q, p]
  equations: {q: p, p: -q - 0.1*p}
  initial: {q: [-1, 1], p: [-1, 1]}
  time: {end: 10, points: 50, integrator: symplectic}
"""
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=r"bad.yaml:6: system.time.integrator: got 'symplectic', which needs"):
        load_task(tmp_path / "bad.yaml")
    (tmp_path / "good.yaml").write_text(text.replace(" - 0.1*p", ""))
    assert load_task(tmp_path / "good.yaml")[1].system.time.steps == 10


def test_what_runs_away_is_told():
    bad = by_steps(system({"q": "p", "p": "exp(q**2)"}, {"q": (1.0, 1.5), "p": (0.0, 0.0)}), 1)
    with pytest.raises(InputError, match=r"trajectory 0 .* runs away, or needs shorter steps"):
        simulate(bad, 0.0, 0)
