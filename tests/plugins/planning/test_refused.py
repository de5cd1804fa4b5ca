import numpy as np
import pytest

from ndm_apps.plugins.planning.refused import Places, metric_of, shortest, trimmed_least_squares
from tests.plugins.planning import walls


@pytest.fixture(scope="module")
def metric():
    seen = walls.transitions()
    return metric_of(seen.x, walls.STEP * seen.u, seen.y - seen.x)


def test_walls_are_long_and_free_space_is_not(metric):
    rng = np.random.default_rng(1)
    points = rng.uniform(0.0, 2.0, (2000, 2))
    off = np.stack([walls.free(points + shift) for shift in 0.08 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])])
    s = metric.scale(points)
    assert np.median(s[off.all(0)]) < 1.01
    assert (s[off.all(0)] < 1.5).mean() > 0.99
    assert (s[~off.any(0)] > 5).mean() > 0.95


def test_slopes_are_derivatives(metric):
    points = np.random.default_rng(2).uniform(0.1, 1.9, (300, 2))
    for function in (metric.scale_and_slope, metric.depth):
        slope = function(points)[1]
        size = 1e-7
        numeric = np.stack(
            [(function(points + size * e)[0] - function(points - size * e)[0]) / (2 * size) for e in np.eye(2)], -1
        )
        close = np.isclose(numeric, slope, rtol=1e-3, atol=1e-3).all(-1)
        assert close.mean() > 0.97  # the neighbours change at a few points


def test_depth_is_positive_where_it_is_walled(metric):
    assert metric.depth(np.array([1.0, 0.6]))[0] > 0
    assert metric.depth(np.array([0.4, 0.6]))[0] < 0


def test_a_refusal_on_purpose_is_a_wall(metric):
    at = np.array([0.4, 1.6])
    taught = metric.with_refusal(at, np.array([0.05, 0.0]))
    assert metric.scale(at + np.array([0.05, 0.0])) < 1.5
    assert taught.scale(at + np.array([0.03, 0.0])) > 5


def test_angles_close_on_themselves():
    places = Places(np.array([[3.1, 0.0], [-3.1, 0.1], [0.0, 0.0]]), angles=(0,))
    distance, slope = places.distance(np.array([np.pi, 0.0]))
    first, second = np.pi - 3.1, np.hypot(np.pi - 3.1, 0.1)
    assert distance == pytest.approx((first + second) / 2)
    assert slope[1] == pytest.approx(-0.1 / second / 2)
    assert shortest(np.array([6.0, 6.0]), (0,)) == pytest.approx([6.0 - 2 * np.pi, 6.0])
    # A tiny negative angle is rounded to a full turn, which search trees refuse.
    assert np.isfinite(places.distance(np.array([-1e-18, 0.0]))[0])


def test_no_wall_was_met():
    x = np.random.default_rng(0).uniform(size=(50, 2))
    metric = metric_of(x, np.full((50, 2), 0.01), np.full((50, 2), 0.01))
    assert metric.scale(x) == pytest.approx(np.ones(50), abs=1e-9)


def test_trimming_finds_the_free_response_among_refusals():
    seen = walls.transitions(steps=1500)
    gain, agree = trimmed_least_squares(seen.u, seen.y - seen.x)
    assert gain == pytest.approx(walls.STEP * np.eye(2), abs=1e-9)
    assert 0.8 < agree.mean() < 1
