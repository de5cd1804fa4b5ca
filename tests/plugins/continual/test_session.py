"""What a session hands to a method that sees the samples themselves."""

from types import SimpleNamespace

import pytest
import torch

from ndm_apps.plugins.continual.baselines.settings import StreamingLDASettings
from ndm_apps.plugins.continual.immersion.settings import LiftSettings
from ndm_apps.plugins.continual.session import Session
from ndm_apps.plugins.continual.settings import NDMSettings
from tests.plugins.continual.blobs import blobs

RUN = SimpleNamespace(seed=0, device="cpu", dtype="float32")
STREAM = SimpleNamespace(
    shape=(10,), classes=6, batch_size=32, tests=[blobs([0, 1, 2], 100, 1)], dtype=torch.float32, stops=(400,)
)


@pytest.mark.parametrize(
    "settings",
    [
        StreamingLDASettings(),
        StreamingLDASettings(immersion=LiftSettings(width=20)),
        NDMSettings(immersion=None, detector=None),
        NDMSettings(immersion=LiftSettings(width=20), detector=None),
    ],
    ids=["slda raw", "slda", "ndm raw", "ndm"],
)
def test_a_bad_piece_is_refused_and_the_learner_has_not_seen_it(settings):
    session = Session(settings, STREAM, shown=False, context=RUN)
    x, y = blobs([0, 1, 2], 400, 0)
    session.feed(x, y)
    before = session.evaluate()
    assert before[0] > 0.95
    for pair, message in (
        ((x * torch.nan, y), "x: sample 0 of the mini-batch is not finite"),
        ((x[:, :9], y), r"x: got samples of shape \(9,\), earlier ones had \(10,\)"),
        ((x, y + 4), "y: got label 6, labels must be below 6"),
    ):
        with pytest.raises(ValueError, match=message):
            session.feed(*pair)
    assert session.evaluate() == before
