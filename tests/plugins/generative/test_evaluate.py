import json
from types import SimpleNamespace

import pytest
import torch

from ndm_apps.plugins.generative import evaluate as module
from ndm_apps.plugins.generative.data import load_data, split_data
from ndm_apps.plugins.generative.evaluate import evaluate
from ndm_apps.plugins.generative.groups import train_groups
from ndm_apps.plugins.generative.head import train_head
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings, HeadSettings
from ndm_apps.plugins.generative.schema import GenerativeTask
from ndm_apps.plugins.generative.settings import JudgeSettings, NDMSettings
from ndm_apps.plugins.generative.train import Training, calibrate, codes, fit_density

MODEL = AutoencoderSettings(dimension=3, hidden=(64,), flow=0, epochs=20, batch=64)
SCORE = {"pairs": 20, "points": 9, "samples": 100}
TASK = GenerativeTask.model_validate({"domain": "generative", "dataset": {"name": "digits"}, "score": SCORE})
CONTEXT = SimpleNamespace(seed=1000, device="cpu", dtype="float32", progress=lambda done, total, text: None)


@pytest.fixture(scope="module")
def split():
    return split_data(load_data(TASK), "validation")


def trained(split, classes: int) -> LatentModel:
    with torch.random.fork_rng():
        torch.manual_seed(1000)
        density, head = (
            DensitySettings(components=10, samples=1000),
            HeadSettings(steps=200, teacher_steps=100, points=2000),
        )
        model = LatentModel(split.shape, classes, MODEL, density, head)
    training = Training(model, split.x, MODEL, seed=1000)
    while training.step < training.steps:
        training.advance()
    code = codes(model, split.x)
    fit_density(model, code, density, seed=1000)
    if classes:
        train_head(model, code, split.x[: split.labelled], split.y[: split.labelled], head, seed=1000)
    train_groups(model, code, split.x[: split.labelled], head, seed=1000)
    calibrate(model, split.x_held, seed=1000)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def whole(split):
    """The model, what was saved after each stage, and the values and pictures of a run that nothing stopped."""
    model, saved = trained(split, 10), []
    settings = NDMSettings(model=MODEL, judge=JudgeSettings(epochs=1), paths=("geodesic", "label_free"))
    done = evaluate(
        model, split, TASK, settings, CONTEXT, saved=None, save=lambda state: saved.append((dict(state), settings))
    )
    return model, saved, *done


def timeless(values: dict) -> dict:
    paths = {name: {**one, "milliseconds": None} for name, one in values["interpolation"].items()}
    return {**values, "interpolation": paths}


def test_values_are_json_and_complete(whole):
    _, saved, values, pictures = whole
    assert json.loads(json.dumps(values)) == values
    assert list(values["interpolation"]) == ["line", "slerp", "geodesic", "label_free"]
    assert set(values["samples"]) > {"reconstruction", "prior", "density", "geodesic", "walk", "certain_by_class"}
    assert set(pictures) >= {"strips", "profiles", "samples", "latent_map", "class_means", "trust"}
    assert len(saved) == 4
    assert values["judge"]["accuracy"] > 0.85


def test_scores_lie_where_they_must(whole):
    values = whole[2]
    for one in values["interpolation"].values():
        for kind in ("same", "different"):
            assert 0 <= one[kind]["low"] <= 1 and one[kind]["ratio"] >= 1 - 1e-4
            assert one[kind]["classes"] >= 1 and one[kind]["frechet"] >= 0
        assert one["different"]["classes"] > one["same"]["classes"]
    assert values["interpolation"]["geodesic"]["converged"] <= 1
    # What is decoded from codes of test images is nearer to them than what is drawn from the prior.
    assert values["samples"]["reconstruction"]["frechet"] < values["samples"]["prior"]["frechet"]


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_stopped_run_ends_as_one_that_was_not(whole, split, stages, monkeypatch):
    model, saved, values, _ = whole
    state, settings = saved[stages - 1]
    monkeypatch.setattr(module, "train_judge", None)  # it must not be trained twice
    again, _ = evaluate(model, split, TASK, settings, CONTEXT, saved=state, save=lambda state: None)
    assert timeless(again) == timeless(values)


def test_without_labels_geodesics_and_samples_need_none(split):
    model = trained(split, 0)
    settings = NDMSettings(model=MODEL, judge=JudgeSettings(epochs=1))
    settings = settings.model_copy(update={"paths": ("geodesic", "avoid", "label_free")})
    values, _ = evaluate(model, split, TASK, settings, CONTEXT, saved=None, save=lambda state: None)
    assert list(values["interpolation"]) == ["line", "slerp", "geodesic"]
    assert "certain" not in values["samples"] and "dense" in values["samples"]
    told = values["trust"]["images"]["density"]["auroc"]
    assert "entropy" not in told and {"groups", "weight"} <= set(told)
