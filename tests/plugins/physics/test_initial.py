import numpy as np
import pytest

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.simulate import initial_values, simulate
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import oscillator, system

TASK = """\
domain: physics
system:
  state: [q, p]
  parameters: {k: 4.0}
  equations: {q: p, p: -k*q}
  draw: {energy: [1.0, 2.0], turn: {mean: 0.0, sd: 1.0}}
  initial:
    q: sqrt(2*energy/k)*cos(turn)
    p: sqrt(2*energy)*sin(turn)
  time: {end: 10, points: 50}
  trajectories: 200
"""

BROKEN = {
    "range upside down": ("[1.0, 2.0]", "[2.0, 1.0]", 6, "system.draw.energy: got [2.0, 1.0], must be [low"),
    "negative deviation": ("sd: 1.0", "sd: -1.0", 6, "system.draw.turn.sd: got -1.0, must be 0.0 or greater"),
    "no deviation": (", sd: 1.0", "", 6, "system.draw.turn.sd: missing"),
    "unknown auxiliary variable": ("cos(turn)", "cos(turns)", 8, "column 22: unknown name 'turns'; did you mean"),
    "a computed column": ("cos(turn)", "cos(p)", 8, "column 22: unknown name 'p'"),
    "a column's name": ("turn: {", "q: {", 6, "system.draw.q: got 'q', but 'q' is already the name of another"),
    "code": ("cos(turn)", "open('x')", 8, "unknown function 'open'"),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_broken_starts_are_told_in_one_line_with_the_key(broken, tmp_path):
    old, new, line, says = broken
    assert TASK.count(old) == 1
    (tmp_path / "bad.yaml").write_text(TASK.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_task(tmp_path / "bad.yaml")
    told = str(caught.value)
    assert f"bad.yaml:{line}: system." in told and says in told and told.isprintable()


def test_starts_are_computed_from_what_is_drawn(tmp_path):
    (tmp_path / "good.yaml").write_text(TASK)
    _, task = load_task(tmp_path / "good.yaml")
    q, p = initial_values(task.system, np.random.default_rng(3)).T
    energy, turn = (p**2 + 4 * q**2) / 2, np.arctan2(p, 2 * q)
    assert 1 <= energy.min() and energy.max() <= 2
    assert energy.mean() == pytest.approx(1.5, abs=0.1) and energy.std() == pytest.approx(12**-0.5, rel=0.15)
    assert turn.std() == pytest.approx(1.0, abs=0.2)


def test_columns_may_be_drawn_from_each_kind_of_distribution():
    mixed = system(
        {"x": 0, "y": 0, "z": 0, "w": 0},
        {"x": {"mean": 5.0, "sd": 2.0}, "y": (1.0, 2.0), "z": "x + 10*y", "w": 7},
        trajectories=2000,
    )
    x, y, z, w = initial_values(mixed, np.random.default_rng(0)).T
    assert x.mean() == pytest.approx(5, abs=0.2) and x.std() == pytest.approx(2, rel=0.1)
    assert y.min() >= 1 and y.max() <= 2
    np.testing.assert_allclose(z, x + 10 * y)
    assert (w == 7).all()


def test_planets_start_at_their_pericentre_with_the_energies_asked_for():
    _, task = load_task("physics/kepler")
    x, y, px, py = initial_values(task.system, np.random.default_rng(0)).T
    energy, momentum = (px**2 + py**2) / 2 - 1 / np.hypot(x, y), x * py - y * px
    assert -0.5 <= energy.min() < -0.45 and -0.2 < energy.max() <= -0.15
    assert 0.4 <= np.abs(momentum).min() < 0.45 and 0.95 < np.abs(momentum).max() <= 1.0
    assert 15 < (momentum > 0).sum() < 45
    np.testing.assert_allclose(x * px + y * py, 0.0, atol=1e-14)
    eccentricity = np.sqrt(1 + 2 * energy * momentum**2)
    np.testing.assert_allclose(np.hypot(x, y), (1 - eccentricity) / (-2 * energy), atol=1e-14)


def test_kicks_make_a_random_walk_of_the_size_asked_for():
    walk = system({"x": 0, "y": 0}, {"x": (0, 0), "y": (0, 0)}, process_noise={"x": 2.0}, trajectories=400)
    data = simulate(walk, 0.0, 0)
    values = data.values.reshape(400, 200, 2)
    assert (values[..., 1] == 0).all()
    steps = np.diff(values[..., 0], axis=1)
    np.testing.assert_allclose(steps.std(), 2.0 * np.sqrt(10 / 199), rtol=0.02)
    np.testing.assert_allclose(values[:, -1, 0].std(), 2.0 * np.sqrt(10), rtol=0.1)
    assert abs(np.corrcoef(steps[:, :-1].ravel(), steps[:, 1:].ravel())[0, 1]) < 0.02


def test_kicks_come_on_top_of_the_motion_and_not_of_the_noise():
    still, kicked = (simulate(oscillator(process_noise=kick), 0.0, 4).values for kick in ({}, {"p": 1e-9}))
    assert 0 < np.abs(still - kicked).max() < 1e-7
    clean, noisy = (simulate(oscillator(process_noise={"p": 1.0}), noise, 4).values for noise in (0.0, 0.01))
    assert (noisy - clean).std() / clean.std() == pytest.approx(0.01, rel=0.05)


def test_kicks_of_no_column_are_refused():
    with pytest.raises(ValueError, match="unknown column 'r'"):
        oscillator(process_noise={"r": 1.0})
