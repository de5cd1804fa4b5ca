"""A session whose learner keeps domains apart, from settings to scores."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ndm_apps.plugins.continual.held_out import held_out
from ndm_apps.plugins.continual.schema import ContinualTask
from ndm_apps.plugins.continual.session import Session
from ndm_apps.plugins.continual.settings import NDMSettings
from ndm_apps.plugins.continual.stream import open_stream
from tests.plugins.continual.blobs import blobs

RUN = SimpleNamespace(seed=0, device="cpu", dtype="float32", evaluate="test")
DETECTOR = {"dimension": 8, "warmup": 64, "arm_samples": 20, "arm_scores": 20, "burn_in": 120}
SETTINGS = NDMSettings(immersion={"kind": "lift", "width": 60}, domains=4, detector=DETECTOR)


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """Six blobs, then the same with their coordinates in another order."""
    arrays = {}
    for part, count, seed in (("train", 3000, 0), ("test", 300, 1)):
        x, y = blobs([0, 1, 2, 3, 4, 5], count, seed)
        arrays |= {f"x_{part}": x.numpy(), f"y_{part}": y.numpy()}
    file = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(file, **arrays)
    task = ContinualTask(
        domain="continual", dataset={"npz": str(file)}, stream={"kind": "permuted", "experiences": 2, "passes": 1}
    )
    return open_stream(task, seed=0, evaluate="test", dtype=torch.float32)[0]


def feed(session, stream, start, stop):
    for here in range(start, stop, 32):
        session.feed(*stream.slice(here, min(here + 32, stop)))
    return session


def test_domains_are_found_mapped_and_resumed_bit_for_bit(stream):
    whole = feed(Session(SETTINGS, stream, shown=False, context=RUN), stream, 0, len(stream))
    part = feed(Session(SETTINGS, stream, shown=False, context=RUN), stream, 0, 3072)  # the new domain is burning in
    rest = Session(SETTINGS, stream, shown=False, context=RUN)
    rest.load_state_dict(part.state_dict())
    feed(rest, stream, 3072, len(stream))
    assert [alarm // 3000 for alarm in whole.learner.alarms] == [1] and rest.learner.alarms == whole.learner.alarms
    assert list(whole.learner.model.readouts.accepted) == [1]
    x = stream.tests[1][0]
    assert torch.equal(rest.learner.model(x), whole.learner.model(x))
    accuracies = whole.evaluate()
    assert min(accuracies) > 0.97
    others = whole.rule_accuracies()
    assert list(others) == ["shared", "hard"] and max(others.values()) <= sum(accuracies) / 2
    assert whole.learner.model.rule == "combined"
    # The detector looks at the learner's features.
    assert held_out(whole).features.shape == (600, 70)


def test_half_life_is_refused_with_several_domains():
    with pytest.raises(ValidationError, match="half_life"):
        NDMSettings(domains=2, half_life=100.0)
