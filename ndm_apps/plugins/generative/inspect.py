"""The latent space of a finished generative run: a map of it around other images than the run's page shows."""

from __future__ import annotations

from typing import Any

from ndm_apps.plugins.base import Result
from ndm_apps.plugins.generative.drawn import of_latent_space
from ndm_apps.plugins.generative.evaluate import NODES
from ndm_apps.plugins.generative.run import restore
from ndm_apps.plugins.generative.schema import GenerativeTask
from ndm_apps.plugins.generative.settings import LatentSettings
from ndm_apps.plugins.generative.train import codes

#: Maps that are drawn, each through images of its own.
MAPS, IMAGES = 3, 60


def inspect(task: GenerativeTask, method: str, settings: LatentSettings, state: dict[str, Any], run: Any) -> Result:
    """Draw the latent space on planes through codes of test images, in the order of the file.

    Raises
    ------
    InputError
        If the run was stopped before its model was trained.
    """
    model, split = restore(task, method, settings, state, run)
    pictures = {}
    for number in range(MAPS):
        part = slice(number * IMAGES, (number + 1) * IMAGES)
        code = codes(model, split.x_test[part]).mean
        for name, picture in of_latent_space(model, settings, code, split.y_test[part], NODES).items():
            pictures[f"{name}_{number + 1}"] = picture
    low, middle = model.density_levels.tolist()
    values = {"log_density_q05": low, "log_density_median": middle, "scale": model.scale.item()}
    return Result(values=values, pictures=pictures)
