"""Laws that decay: found in one trajectory or several, with the rate; nothing where nothing decays slowly."""

import numpy as np
import pandas as pd
import pytest
import sympy

from ndm_apps.datasets.motion import load_motion, locate
from ndm_apps.plugins.physics.api import discover
from ndm_apps.plugins.physics.approximate import approximate_law, segments
from ndm_apps.plugins.physics.trajectories import Trajectories

TIME = np.linspace(0, 60, 1200)


def recorded(*states, names=("x", "v")):
    starts = np.arange(len(states)) * len(TIME)
    return Trajectories(names, frozenset(), np.tile(TIME, len(states)), np.concatenate(states), starts)


def damped(size=1.0, phase=0.0, rate=0.02, noise=0.0, seed=1000):
    """Oscillator x'' = -4 x with weak friction: its energy v^2 + 4 x^2 decays at ``rate``."""
    decay = size * np.exp(-rate * TIME / 2)
    state = np.stack([decay * np.sin(2 * TIME + phase), 2 * decay * np.cos(2 * TIME + phase)], axis=1)
    return state + noise * np.random.default_rng(seed).standard_normal(state.shape)


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("many", [1, 3])
def test_the_energy_of_a_damped_oscillator_and_its_half_life(noise, many):
    states = [damped(1 + 0.1 * n, n, noise=noise, seed=1000 + n) for n in range(many)]
    found = approximate_law(recorded(*states))
    x, v = sympy.symbols("x v")
    law = sympy.expand(found.expression)
    assert set(law.as_coefficients_dict()) == {x**2, v**2}
    assert float(law.coeff(v**2) / law.coeff(x**2)) == pytest.approx(0.25, rel=0.02)
    assert found.rate == pytest.approx(0.02, rel=0.05)
    assert abs(found.equilibrium) < 0.05 and found.explained > 0.9 and found.variation < 0.1
    values = found.values()
    assert values["half_life"] == pytest.approx(np.log(2) / found.rate)
    assert set(values) >= {"expression", "latex", "decay_rate", "decay_rate_sd", "half_life", "half_life_sd"}


def test_what_does_not_decay_slowly_is_no_approximate_law():
    rng = np.random.default_rng(1001)
    walk = np.cumsum(rng.standard_normal((len(TIME), 2)), axis=0)
    noise = rng.standard_normal((len(TIME), 2))
    for state in (damped(rate=0.0), damped(rate=0.0, noise=0.01), damped(rate=2.0), walk, noise):
        assert approximate_law(recorded(state)) is None


def test_segments_hold_whole_periods_and_no_two_trajectories():
    data = recorded(damped(), damped(2.0))
    pieces = segments(data)
    period = np.pi
    for piece in pieces:
        assert np.ptp(data.time[piece]) > 0.95 * period
        assert (np.diff(piece) == 1).all() and len({n // len(TIME) for n in piece.tolist()}) == 1
    assert len(pieces) >= 24
    assert approximate_law(recorded(np.stack([TIME, TIME**2], axis=1))) is None


def test_discover_tells_an_approximate_law_of_one_trajectory():
    frame = pd.DataFrame(damped(noise=0.01), columns=["x", "v"]).assign(t=TIME)
    found = discover(frame, units={"x": "m", "v": "m/s", "t": "s"})
    assert found.n_conserved == 0
    entry = found.result["approximate"][0]
    assert entry["half_life"] == pytest.approx(np.log(2) / 0.02, rel=0.05)
    assert entry["units"]["value"] in ("m**2", "m**2/s**2")
    assert str(found.approximate[0]) == entry["expression"] and set(entry["coefficients"]) == {"x**2", "v**2"}
    level = found.predict(frame).iloc[:, 0]
    assert level[:100].mean() > 2 * level[-100:].mean()  # a half-life is 35 s
    assert "Approximately conserved is" in found.verdict and found.verdict.endswith(" s.")
    assert r"\subsection*{Approximately conserved}" in found.tex() and r"$\pm$" in found.tex()


def found_in(name):
    """Return what is found in measured motion, where that is here."""
    if locate(name) is None:
        pytest.skip(f"{name} is not in NDM_DATA")
    motion = load_motion(name)
    return discover(motion.frame, angles=motion.angles, units=motion.units)


def test_the_measured_pendulum_has_its_energy_and_a_decay():
    found = found_in("pendulum")
    v, o = sympy.symbols("v o")
    law = approximate_law(found.measured.data).expression
    assert set(law.as_coefficients_dict()) == {v**2, sympy.cos(o)}
    assert 1.0 < -law.coeff(sympy.cos(o)) / law.coeff(v**2) / 2 < 1.5  # squared frequency: periods of 5.1 to 6.3 s
    assert 50 < found.result["approximate"][0]["half_life"] < 70
    assert found.laws == () and found.n_conserved == 0


def test_the_measured_air_track_has_its_energy_and_a_decay():
    found = found_in("air_track_oscillator")
    entry = found.result["approximate"][0]
    assert set(entry["coefficients_sd"]) == {"x**2", "v**2"} and 40 < entry["half_life"] < 60
    assert found.laws == ()


def test_the_measured_double_pendulum_has_its_energy_and_a_decay():
    entry = found_in("double_pendulum").result["approximate"][0]
    one, two, right, left = "w1**2", "w2**2", "w1*w2*cos(o1)*cos(o2)", "w1*w2*sin(o1)*sin(o2)"
    assert set(entry["coefficients_sd"]) == {one, two, right, left, "cos(o1)", "cos(o2)"}
    law = sympy.sympify(entry["expression"]).as_coefficients_dict()
    number = {str(term): float(value) for term, value in law.items()}
    # Both products make cos(o1 - o2), and its size follows from the others: the lengths are l1/2g, l2/2g and l1/g.
    assert number[right] == pytest.approx(number[left], rel=0.02)
    assert number[right] / -number["cos(o2)"] == pytest.approx(2 * number[one] / -number["cos(o1)"], rel=0.04)
    assert 5 < entry["half_life"] < 40
