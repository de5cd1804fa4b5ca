import math

import pytest
import torch

from ndm_apps.plugins.supervised.calibration import calibration, reliability


def test_a_forecaster_that_knows_its_chances_has_no_calibration_error():
    p = torch.tensor([0.8, 0.2], dtype=torch.float64)
    logits = p.log().expand(10, 2)
    labels = torch.tensor([0] * 8 + [1] * 2)
    scores = calibration(logits, labels)
    assert scores["ece"] == pytest.approx(0.0, abs=1e-12)
    assert scores["nll"] == pytest.approx(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))
    assert scores["brier"] == pytest.approx(0.8 * 2 * 0.2**2 + 0.2 * 2 * 0.8**2)


def test_a_sure_and_wrong_forecaster_gets_the_worst_scores():
    scores = calibration(torch.tensor([[100.0, 0.0]]), torch.tensor([1]))
    assert scores["ece"] == pytest.approx(1.0) and scores["brier"] == pytest.approx(2.0)
    assert scores["nll"] == pytest.approx(100.0)


def test_the_calibration_error_weighs_each_bin_by_its_share():
    # Three samples at confidence 0.9, one right of them; one at 0.6, right.
    confidence = torch.tensor([0.9, 0.9, 0.9, 0.6], dtype=torch.float64)
    logits = torch.stack([confidence, 1 - confidence], 1).log()
    scores = calibration(logits, torch.tensor([0, 1, 1, 0]), bins=10)
    assert scores["ece"] == pytest.approx(0.75 * (0.9 - 1 / 3) + 0.25 * 0.4)
    share, _, _ = reliability(logits, torch.tensor([0, 1, 1, 0]), bins=10)
    assert share.sum() == 1 and (share > 0).sum() == 2
