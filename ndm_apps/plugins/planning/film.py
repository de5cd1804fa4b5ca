"""An episode as a film, where the environment can be rendered."""

from __future__ import annotations

import io
import os
import sys

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.base import Animation
from ndm_apps.plugins.planning.evaluate import Episode
from ndm_apps.plugins.planning.problem_of import action_of, open_environment
from ndm_apps.plugins.planning.schema import PlanningTask

#: Frames of a film at most, their longer side in pixels, and steps a second.
_FRAMES, _SIDE, _RATE = 80, 320, 30


def film(task: PlanningTask, episode: Episode) -> Animation | None:
    """Return an episode as a film, acted again from its seed; None where there is no way to render.

    MuJoCo renders where ``MUJOCO_GL`` is set (to ``egl`` on a machine without a display) before the run starts.
    """
    frames = _rendered(task, episode)
    if frames is None:
        return None
    return Animation(gif(frames, seconds=len(episode.controls) / _RATE), f"The episode of seed {episode.seed}.")


def _needs_display() -> bool:
    """Whether MuJoCo would look for a display that is not there, and take the process down."""
    return "mujoco" in sys.modules and not (os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY"))


def _rendered(task: PlanningTask, episode: Episode) -> list[NDArray[np.uint8]] | None:
    """Return frames of an episode, evenly spaced; None where nothing renders."""
    wanted = set(np.linspace(0, len(episode.controls), _FRAMES).astype(int).tolist())
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        os.environ.setdefault(driver, "dummy")  # pygame draws on memory, and looks for no display
    try:
        env = open_environment(task, render=True)
        if _needs_display():
            return None
        act = action_of(task, env)
        env.reset(seed=episode.seed)
        frames = [env.render()]
        for step, u in enumerate(episode.controls, start=1):
            env.step(act(u))
            if step in wanted:
                frames.append(env.render())
        env.close()
    except (ImportError, gymnasium.error.Error, ValueError):
        return None  # no pygame, or no rgb_array
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
