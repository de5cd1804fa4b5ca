"""What ``ndm inspect`` finds in the charts of a run of method ``ndm_trained``."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ndm_apps.plugins.continual.inspect import inspect
from ndm_apps.plugins.continual.schema import ContinualTask
from ndm_apps.plugins.continual.session import Session
from ndm_apps.plugins.continual.settings import TrainedNDMSettings
from ndm_apps.plugins.continual.stream import open_stream
from tests.plugins.continual.blobs import blobs

RUN = SimpleNamespace(seed=0, device="cpu", dtype="float32", evaluate="test")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A stream of two experiences, learnt in two charts, and what inspection says of them."""
    arrays = {}
    for part, count, seed in (("train", 800, 0), ("test", 120, 1)):
        x, y = blobs([0, 1, 2, 3], count, seed)
        arrays |= {f"x_{part}": x.numpy(), f"y_{part}": y.numpy()}
    file = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(file, **arrays)
    task = ContinualTask(
        domain="continual",
        dataset={"npz": str(file)},
        stream={"kind": "class_incremental", "experiences": 2, "boundaries": "hidden"},
    )
    detector = {"dimension": 8, "warmup": 64, "arm_samples": 30, "arm_scores": 30, "burn_in": 64}
    settings = TrainedNDMSettings(geometric=0.0, detector=detector)
    stream, _ = open_stream(task, seed=0, evaluate="test", dtype=torch.float32)
    session = Session(settings, stream, shown=False, context=RUN)
    session.feed(*stream.slice(0, len(stream)))
    state = {"session": session.state_dict()}
    return stream, session.learner, inspect(task, "ndm_trained", settings, state, RUN)


def test_each_chart_is_interpreted(seen):
    _, learner, found = seen
    assert learner.charts == 2
    values = found.values
    json.dumps(values, allow_nan=False)
    assert len(values["charts"]) == 2 and len(values["scalar_curvature"]) == 4
    assert values["chart_1_samples"] + values["chart_2_samples"] == 120
    assert values["chart_1_train_samples"] + values["chart_2_train_samples"] == 800
    for number in (1, 2):
        assert values[f"chart_{number}_verdict"].startswith("The metric is untrained (weight 0")
        assert values[f"chart_{number}_accuracy"] > 0.9
        assert values[f"chart_{number}_dimension"] == 10
    assert set(found.pictures) == {
        "inspect_charts", "geometry_slice", "geometry_samples", "geometry_paths", "geometry_layers",
    }  # fmt: skip


def test_flat_samples_are_numbered_as_the_test_set_is(seen):
    stream, learner, found = seen
    x, y = (torch.cat(column) for column in zip(*stream.tests, strict=True))
    home = learner.model.route(x)
    for number in (1, 2):
        rows = found.values[f"chart_{number}_flat_samples"]
        assert (home[rows] == number - 1).all()
        assert y[rows].tolist() == found.values[f"chart_{number}_flat_labels"]


def test_accuracy_is_that_of_the_classifier(seen):
    stream, learner, found = seen
    x, y = (torch.cat(column) for column in zip(*stream.tests, strict=True))
    right = (learner.model.float()(x).argmax(1) == y).sum().item()
    inside = [found.values[f"chart_{number}_accuracy"] * found.values[f"chart_{number}_samples"] for number in (1, 2)]
    assert sum(inside) == pytest.approx(right)
