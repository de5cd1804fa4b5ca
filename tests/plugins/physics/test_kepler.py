"""Kepler's laws of orbits with known elements: closed, open, in space, seen too short, and of other energies none."""

import numpy as np
import pytest

from ndm_apps.datasets.motion import load_motion, locate
from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula
from ndm_apps.plugins.physics.kepler import attracted, orbits
from ndm_apps.plugins.physics.kinds import Kinds
from ndm_apps.plugins.physics.trajectories import Trajectories

NAMES = ("x", "y", "z", "vx", "vy", "vz")
#: Turns the plane of the orbit into space.
TURN = np.linalg.qr(np.random.default_rng(1000).standard_normal((3, 3)))[0]


def ellipse(gm=2.0, a=1.5, e=0.3, turns=3.0, points=600):
    """Positions and velocities ``(points, 2)`` on an ellipse, by Kepler's equation."""
    rate = np.sqrt(gm / a**3)
    time = np.linspace(0, turns * 2 * np.pi / rate, points)
    mean = rate * time
    anomaly = mean.copy()
    for _ in range(50):
        anomaly -= (anomaly - e * np.sin(anomaly) - mean) / (1 - e * np.cos(anomaly))
    minor = a * np.sqrt(1 - e**2)
    swift = rate / (1 - e * np.cos(anomaly))
    x = np.stack([a * (np.cos(anomaly) - e), minor * np.sin(anomaly)], axis=1)
    v = np.stack([-a * np.sin(anomaly) * swift, minor * np.cos(anomaly) * swift], axis=1)
    return time, x, v


def in_space(time, x, v):
    states = np.concatenate([x @ TURN[:2], v @ TURN[:2]], axis=1)
    return Trajectories(NAMES, frozenset(), time, states, np.array([0]))


@pytest.mark.parametrize("e", [0.01, 0.3, 0.8])
def test_an_ellipse_in_space(e):
    found = orbits(in_space(*ellipse(e=e)), (0, 1, 2), (3, 4, 5))[0]
    assert found.gm == pytest.approx(2, rel=1e-9) and found.gm_deviation < 1e-9
    assert found.semi_major == pytest.approx(1.5, rel=1e-9) and found.eccentricity == pytest.approx(e, rel=1e-6)
    assert found.period == pytest.approx(2 * np.pi * np.sqrt(1.5**3 / 2), rel=1e-6)
    assert found.third_law == pytest.approx(2, rel=1e-6) and found.turns == pytest.approx(3)
    assert found.off_ellipse < 1e-9 and abs(found.area.secular) + found.area.periodic < 1e-9
    assert abs(found.energy.secular) + found.energy.periodic + abs(found.apsides) < 1e-6
    assert found.values()["area"] == {"secular": found.area.secular, "periodic": found.area.periodic}


def test_a_plane_and_both_senses():
    time, x, v = ellipse()
    for sign in (1, -1):
        mirror = np.array([1, sign])
        plane = np.concatenate([x * mirror, v * mirror], axis=1)
        data = Trajectories(("x", "y", "vx", "vy"), frozenset(), time, plane, np.array([0]))
        assert orbits(data, (0, 1), (2, 3))[0].third_law == pytest.approx(2, rel=1e-6)


def test_what_friction_does_is_told_as_a_trend():
    time, x, v = ellipse(turns=10, points=2000)
    found = orbits(in_space(time, x, v * (1 - 1e-3 * time / time[-1])[:, None]), (0, 1, 2), (3, 4, 5))[0]
    assert found.area.secular == pytest.approx(-1e-3, rel=0.01) and found.area.periodic < 1e-5
    assert found.gm == pytest.approx(2, rel=2e-3)


def test_a_swing_by_has_no_period_and_a_glimpse_no_orbit():
    start, gm = np.array([1.0, 0, 0, 2.0]), 1.0  # energy 1: e = 3
    states, step = [start], 1e-3
    for _ in range(4000):
        q, p = states[-1][:2], states[-1][2:]
        p = p - step / 2 * gm * q / np.linalg.norm(q) ** 3
        q = q + step * p
        states.append(np.concatenate([q, p - step / 2 * gm * q / np.linalg.norm(q) ** 3]))
    data = Trajectories(("x", "y", "vx", "vy"), frozenset(), step * np.arange(4001), np.array(states), np.array([0]))
    found = orbits(data, (0, 1), (2, 3))[0]
    assert found is None or (found.period is None and found.third_law is None)
    short = Trajectories(data.state, data.angles, data.time[:300], data.values[:300], data.starts)
    assert orbits(short, (0, 1), (2, 3)) == [None]


def test_only_laws_of_motion_around_a_centre_are_taken_for_such():
    kinds = Kinds(((0, 2), (1, 3)), (), ((0, 1),))
    centre = (Atom("distance", (0, 1), -1.0),)
    squares = [(Atom("column", (n,)),) * 2 for n in (2, 3)]
    product = (Atom("column", (0,)), Atom("column", (3,)))

    def told(*terms):
        return attracted(Formula(Dictionary(("x", "y", "vx", "vy"), terms), np.ones(len(terms))), kinds)

    assert told(*squares, centre) == ((0, 1), (2, 3))
    assert told(*squares) is None and told(*squares, centre, product) is None and told(squares[0], centre) is None
    assert told(*squares, (Atom("distance", (0, 1), -2.0),)) is None
    x, y, vx, vy = (Atom("column", (n,)) for n in range(4))
    assert told((vx, vy, y), (vy, vy, x), (x, *centre)) == ((0, 1), (2, 3))
    assert told((vx, vy, y), (vy, vy, x), (vx, *centre)) is None and told((vx, vy, y), (x, y), (x, *centre)) is None


def test_every_planet_has_the_gm_of_the_sun():
    if locate("planets") is None:
        pytest.skip("planets are not in NDM_DATA")
    frame = load_motion("planets").frame
    names = list(frame.trajectory.unique())
    starts = np.arange(len(names)) * (len(frame) // len(names))
    data = Trajectories(NAMES, frozenset(), frame.t.to_numpy(), frame[list(NAMES)].to_numpy(), starts)
    found = dict(zip(names, orbits(data, (0, 1, 2), (3, 4, 5)), strict=True))
    sun = 2.959122083e-4  # au^3/day^2
    assert all(abs(one.gm / sun - 1) < 1e-3 for one in found.values())
    assert found["Jupiter"].gm / sun - 1 == pytest.approx(1 / 1047.355, rel=0.02)  # both attract each other
    assert found["Mercury"].period == pytest.approx(87.969, abs=1e-2)
    assert found["Mercury"].eccentricity == pytest.approx(0.2056, abs=1e-4)
    assert np.rad2deg(found["Mercury"].apsides) * 3600 == pytest.approx(575, abs=5)  # arc seconds in a century
    assert all(abs(one.third_law / sun - 1) < 2e-3 for one in found.values())
    assert all(0 < one.area.periodic < 1e-3 and abs(one.area.secular) < 1e-3 for one in found.values())
