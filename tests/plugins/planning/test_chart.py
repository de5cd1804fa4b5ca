from dataclasses import replace

import numpy as np
import pytest

from ndm_apps.plugins.planning.chart import Chart, Transitions
from ndm_apps.plugins.planning.laws import integrals

OPEN = np.array([[-np.inf, np.inf]] * 3)
BOX = np.array([[-np.pi, np.pi], [-2.0, 1.0], [-5.0, 5.0]])


@pytest.fixture
def chart() -> Chart:
    return Chart(3, 1, (0,), OPEN, BOX, mirror=(np.array([-1.0, 1.0, -1.0]), np.array([-1.0])))


def test_the_chain_rule_of_the_embedding(chart):
    rng = np.random.default_rng(1000)
    x, slope, step = rng.normal(size=(4, 3)), rng.normal(size=(4, 2, 4)), 1e-6
    numeric = np.stack(
        [(chart.embed(x + step * e) - chart.embed(x - step * e)) / (2 * step) for e in np.eye(3)], axis=-1
    )
    np.testing.assert_allclose(chart.pulled_back(x, slope), slope @ numeric, atol=1e-8)


def test_angles_go_the_short_way_and_lengths_do_not(chart):
    change = chart.difference(np.array([3.0, 0.0, 0.0]), np.array([-3.0, -6.0, 6.0]))
    np.testing.assert_allclose(change, [2 * np.pi - 6, -6, 6])


def test_mirroring_twice_gives_the_same_motion(chart):
    rng = np.random.default_rng(1000)
    seen = Transitions(rng.normal(size=(5, 3)), rng.normal(size=(5, 1)), rng.normal(size=(5, 3)))
    both = chart.mirrored(seen)
    again = chart.mirrored(Transitions(both.x[5:], both.u[5:], both.y[5:]))
    assert len(both.x) == 10
    for one, other in zip(again, seen, strict=True):
        np.testing.assert_array_equal(one[5:], other)


def test_steps_that_begin_or_end_where_the_motion_is_not_smooth_are_left_out(chart):
    x = np.array([[0.0, 0.0, 0.0], [2.9, 0.0, 0.0], [2.7, 0.0, 0.0], [0.0, 0.9, 0.0]])
    seen = Transitions(x, x[:, :1], x + np.array([0.1, 0.0, 9.0]))
    assert len(chart.regular(seen).x) == 4
    bounded = replace(chart, smooth=np.array([[-2.75, 2.75], [-np.inf, 0.5], [-np.inf, np.inf]]))
    assert bounded.regular(seen).x.tolist() == x[:1].tolist()


def test_only_coordinates_exactly_at_an_edge_have_touched_it(chart):
    touched = chart.touched(np.array([[np.pi, -2.0, 0.0], [0.0, 1.1, 5.0], [0.0, 0.999, 0.0]]))
    np.testing.assert_array_equal(touched.any(-1), [[False, True, False], [False, False, True], [False] * 3])


@pytest.mark.parametrize(("before", "after"), [(0.02, 0.0), (0.0, 0.05), (0.01, 0.01)])
def test_the_rule_of_the_integrator_is_found(chart, before, after):
    rng = np.random.default_rng(1000)
    x = rng.normal(size=(100, 3))
    y = x + 0.1 * rng.normal(size=(100, 3))
    y[:, 0] = x[:, 0] + before * x[:, 2] + after * y[:, 2]
    (law,) = integrals(chart, Transitions(x, x[:, :1], y))
    assert (law.position, law.rate, law.exact) == (0, 2, True)
    np.testing.assert_allclose([law.before, law.after], [before, after], atol=1e-12)


def test_what_is_no_integral_has_no_law(chart):
    rng = np.random.default_rng(1000)
    x, y = rng.normal(size=(2, 100, 3))
    assert integrals(chart, Transitions(x, x[:, :1], y)) == ()


def test_an_integral_that_holds_only_roughly_is_not_exact(chart):
    rng = np.random.default_rng(1000)
    x = rng.normal(size=(200, 3))
    y = x + 0.1 * rng.normal(size=(200, 3))
    y[:, 0] = x[:, 0] + 0.1 * (x[:, 2] + y[:, 2]) + 0.005 * rng.normal(size=200)
    (law,) = integrals(chart, Transitions(x, x[:, :1], y))
    assert not law.exact
    assert law.interval == pytest.approx(0.2, abs=0.01)
