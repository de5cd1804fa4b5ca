from types import SimpleNamespace

import pytest
import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.data import load_data, split_data
from ndm_apps.plugins.generative.inspect import MAPS, inspect
from ndm_apps.plugins.generative.run import build_model
from ndm_apps.plugins.generative.schema import GenerativeTask
from ndm_apps.plugins.generative.settings import NDMSettings

TASK = GenerativeTask.model_validate({"domain": "generative", "dataset": {"name": "digits"}})
SETTINGS = NDMSettings.model_validate(
    {"model": {"dimension": 3, "hidden": (16,), "flow": 0}, "density": {"components": 4}, "paths": ("line",)}
)
RUN = SimpleNamespace(seed=1000, device="cpu", dtype="float32", evaluate="validation")


def test_it_draws_maps_through_codes_of_other_images_each():
    split = split_data(load_data(TASK), "validation")
    with torch.random.fork_rng():
        torch.manual_seed(1000)
        model = build_model(TASK, SETTINGS, split)
    model.density_levels.copy_(torch.tensor([-6.0, -4.0]))
    found = inspect(TASK, "ndm", SETTINGS, {"model": model.state_dict()}, RUN)
    assert list(found.pictures) == [f"latent_map_{number + 1}" for number in range(MAPS)]
    corners = [picture.figure.axes[0].lines[-1].get_xydata().tolist() for picture in found.pictures.values()]
    assert corners[0] != corners[1]
    assert found.values["log_density_median"] == -4.0


def test_a_run_without_a_model_is_told_so():
    with pytest.raises(InputError, match="no trained model yet"):
        inspect(TASK, "ndm", SETTINGS, {"training": {}}, RUN)
