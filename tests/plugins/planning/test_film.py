"""Films of episodes: acted again from the seed, and none where there is no way to render."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from ndm_apps.plugins.planning.evaluate import evaluate
from ndm_apps.plugins.planning.film import film, gif
from ndm_apps.plugins.planning.problem_of import open_environment
from ndm_apps.tasks import load_task


class Still:
    def start(self, x):
        pass

    def control(self, x):
        return np.zeros(2)


def episode():
    task = load_task("planning/zermelo_wind")[1]
    task = task.model_copy(update={"environment": task.environment.model_copy(update={"steps": 25})})
    return task, evaluate(task, open_environment(task), lambda problem: Still(), [1000])[0]


def test_a_film_shows_each_step_of_a_short_episode(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "egl")  # another test may have imported MuJoCo
    task, seen = episode()
    shown = Image.open(io.BytesIO(film(task, seen).gif))
    assert shown.n_frames == len(seen.controls) + 1 and max(shown.size) == 320
    first = np.asarray(shown.convert("RGB"))
    shown.seek(shown.n_frames - 1)
    assert (np.asarray(shown.convert("RGB")) != first).any()


def test_long_episodes_are_thinned_and_large_frames_made_smaller():
    frames = [np.full((50, 900, 3), n % 256, np.uint8) for n in range(10)]
    assert Image.open(io.BytesIO(gif(frames, 1.0))).size == (320, 18)


@pytest.mark.parametrize("why", ["display", "pygame"])
def test_there_is_no_film_where_nothing_renders(monkeypatch, why):
    task, seen = episode()
    if why == "display":
        monkeypatch.setitem(sys.modules, "mujoco", sys)
        monkeypatch.delenv("MUJOCO_GL", raising=False)
        monkeypatch.delenv("DISPLAY", raising=False)
    else:
        task = load_task("planning/pendulum")[1]
        monkeypatch.setitem(sys.modules, "pygame", None)
        monkeypatch.setenv("DISPLAY", ":0")
    assert film(task, seen) is None
