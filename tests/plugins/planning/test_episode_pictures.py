import numpy as np
import pytest

from ndm_apps.plugins.planning.episode_pictures import broken, measures, portrait
from ndm_apps.plugins.planning.evaluate import Episode
from ndm_apps.tasks import load_task


def episode(columns, success=True, optimum=None):
    states = np.random.default_rng(1000).normal(size=(6, columns))
    return Episode(
        1000, states, np.zeros((5, 1)), np.full(5, -1.0), success, 5.0, optimum, np.zeros(2), np.zeros((5, 2))
    )


@pytest.mark.parametrize("name", ["pendulum", "swing_up", "zermelo_wind"])
@pytest.mark.parametrize("optimum", [None, 4.0])
def test_every_task_has_them(name, optimum):
    task = load_task(f"planning/{name}")[1]
    episodes = [episode(len(task.columns), success, optimum) for success in (True, False)]
    shown = measures(task, episodes)
    labels = [text.get_text() for text in shown.figure.axes[0].get_legend().get_texts()]
    assert labels == ["success", "no success", *(["least possible"] if optimum else [])]
    assert ("least possible" in shown.caption) is bool(optimum)
    ways = portrait(task, episodes)
    assert ways.figure.axes[0].get_xlabel() == task.columns[0] and task.columns[1] in ways.caption


def test_angles_are_drawn_with_gaps_where_they_turn_over():
    drawn = broken(np.array([3.0, 3.2, 3.4]), True)
    assert np.isnan(drawn[0]) and drawn[1] == pytest.approx(3.2 - 2 * np.pi)
    assert broken(np.array([3.0, 3.2]), False).tolist() == [3.0, 3.2]
