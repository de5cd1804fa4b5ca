import numpy as np
import pytest

from ndm_apps.plugins.planning.pictures import current_map, learning_curve, metric_map, phase_portrait, value_map

BOX = np.array([[-2.0, 2.0], [-1.0, 1.0]])
PATHS = [np.array([[-1.0, 0.0], [0.0, 0.5], [3.0, 0.0]])]


def ranges(picture):
    axes = picture.figure.axes[0]
    assert picture.caption
    return axes.get_xlabel(), axes.get_ylabel(), axes.get_xlim(), axes.get_ylim()


def test_value_map_reaches_as_far_as_the_plans():
    x, y, horizontal, _ = ranges(value_map(lambda s: np.square(s).sum(-1), BOX, "ab", PATHS, np.zeros(2)))
    assert (x, y) == ("a", "b")
    assert horizontal[1] >= 3.0


def test_value_map_of_more_coordinates_tells_what_the_others_are():
    box = np.concatenate((BOX, BOX))
    picture = value_map(lambda s: np.square(s).sum(-1), box, "abcd", [], np.array([0.0, 0.0, 1.0, 1.0]))
    assert "those of the goal" in picture.caption


def test_metric_map_shows_true_walls_only_where_they_are_known():
    def scale(x):
        return 1 + np.abs(x[..., 0])

    told = metric_map(scale, BOX, "ab", PATHS, lambda x: x[..., 0] < 1)
    assert "Red" in told.caption
    assert "Red" not in metric_map(scale, BOX, "ab", PATHS).caption


def test_current_map_draws_an_arrow_for_each_grid_point():
    picture = current_map(lambda x: 0.1 * x[..., ::-1], BOX, "ab", PATHS)
    arrows = picture.figure.axes[0].collections[0]
    assert arrows.U == pytest.approx(0.1 * np.repeat(np.linspace(-1, 1, 15), 15))


def test_phase_portrait_holds_both_paths():
    driven = PATHS[0] + [0.0, 4.0]
    _, _, horizontal, vertical = ranges(
        phase_portrait(lambda s: 0.1 * s, BOX, "ab", PATHS[0], driven, (0, 1), np.zeros(2))
    )
    assert horizontal[1] >= 3.0
    assert vertical[1] >= 4.5


def test_learning_curve_draws_the_mean():
    returns = np.array([[-3.0, -1.0], [-1.0, -0.5]])
    picture = learning_curve([10, 20], returns, {"optimum": -0.4})
    assert picture.figure.axes[0].lines[0].get_ydata().tolist() == [-2.0, -0.75]
