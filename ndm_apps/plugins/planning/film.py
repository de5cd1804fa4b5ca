"""An episode as an animated picture, where the environment can be rendered."""

from __future__ import annotations

import io
import os
import sys

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.planning.evaluate import Episode
from ndm_apps.plugins.planning.problem_of import action_of, open_environment
from ndm_apps.plugins.planning.schema import PlanningTask

#: Frames at most, and their longer side in pixels.
_FRAMES, _SIDE = 80, 320


def film(task: PlanningTask, episode: Episode) -> bytes | None:
    """Return a GIF of an episode, acted again from its seed; None where there is no way to render.

    MuJoCo renders where ``MUJOCO_GL`` is set (to ``egl`` on a machine without a display) before the run starts.
    """
    try:
        env = open_environment(task, render=True)
        if _needs_display():
            return None
        frames = _frames(task, env, episode)
        env.close()
    except (ImportError, gymnasium.error.Error, ValueError):
        return None  # no pygame, or no rgb_array
    return gif(frames, seconds=len(episode.controls) / env.metadata.get("render_fps", 30))


def _needs_display() -> bool:
    """Whether MuJoCo would look for a display that is not there, and take the process down."""
    return "mujoco" in sys.modules and not (os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY"))


def _frames(task: PlanningTask, env: gymnasium.Env, episode: Episode) -> list[NDArray[np.uint8]]:
    act, every = action_of(task, env), max(1, -(-len(episode.controls) // _FRAMES))
    env.reset(seed=episode.seed)
    frames = [env.render()]
    for number, u in enumerate(episode.controls, start=1):
        env.step(act(u))
        if number % every == 0 or number == len(episode.controls):
            frames.append(env.render())
    return frames


def gif(frames: list[NDArray[np.uint8]], seconds: float) -> bytes:
    """Return frames (height, width, 3) as an endless GIF that takes so long, and stands still for a second at the end.

    Examples
    --------
    >>> gif([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)], 0.2)[:6]
    b'GIF89a'
    """
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    scale = min(1.0, _SIDE / max(images[0].size))
    size = tuple(max(1, round(side * scale)) for side in images[0].size)
    images = [image.resize(size, Image.Resampling.BILINEAR).quantize(32) for image in images]
    each = max(20, round(1000 * seconds / len(images)))
    written = io.BytesIO()
    images[0].save(
        written, "GIF", save_all=True, append_images=images[1:], duration=[each] * (len(images) - 1) + [1000], loop=0
    )
    return written.getvalue()
