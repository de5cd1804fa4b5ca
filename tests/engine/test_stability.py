"""Short forms of what ``bench_stability`` measures in full."""

import math

import pytest
import torch

from tests.engine import bench_robust_loss
from tests.engine.bench_stability import QUANTITIES, STRUCTURES, gradient, gradient_error, ill_conditioned, train


@pytest.mark.parametrize("structure", STRUCTURES)
def test_metric_stays_sound_through_a_stiff_task(structure):
    history = list(train(structure, torch.float32, "adaptive", steps=300))
    assert len(history) == 300
    assert all(math.isfinite(value) for record in history for value in record.values())
    assert max(record["condition"] for record in history) <= 1e4 * 1.02
    assert min(record["smallest"] for record in history) >= 0.99e-6
    assert history[-1]["task"] < history[0]["task"]


def test_without_the_bound_it_does_not():
    history = list(train("diagonal", torch.float32, "fixed", steps=100))
    assert max(record["condition"] for record in history) > 1e7


@pytest.mark.parametrize("structure", STRUCTURES)
def test_gradients_are_finite_at_the_largest_condition_number(structure):
    for condition, dtype in ((1e6, torch.float64), (1e3, torch.float32)):
        net = ill_conditioned(structure, condition)
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        values = torch.linalg.eigvalsh(net(x))
        if structure != "conformal":
            assert 0.1 < (values[:, -1] / values[:, 0]).median() / condition < 10
        for quantity in QUANTITIES:
            found = gradient(net.to(dtype), x.to(dtype), quantity)
            assert found.isfinite().all() and found.norm() > 0


@pytest.mark.parametrize("structure", STRUCTURES)
def test_float32_gradients_point_where_those_of_float64_do(structure):
    for quantity in QUANTITIES:
        assert gradient_error(structure, 1e3, quantity) < 1e-6
        assert gradient_error(structure, 1e4, quantity) < 1e-4


def test_robust_form_and_relative_volume_survive_a_step_size_that_the_plain_loss_does_not():
    """Conformal metrics of 64 dimensions on digits; the volume goes away and the curvature explodes."""
    plain, robust = (
        bench_robust_loss.train(bench_robust_loss.FORMS[form], 1e-2, seed=0, batches=6)
        for form in ("plain", "robust, relative volume")
    )
    assert plain["final E[R^2]"] > 10 and plain["final log volume"] < -5
    assert robust["final E[R^2]"] < 1 and robust["final log volume"] > 0
    assert robust["accuracy, last two classes"] > 0.95
