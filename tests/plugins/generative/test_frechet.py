import math

import pytest
import torch

from ndm_apps.plugins.generative.frechet import frechet_distance


def with_moments(mean: list[float], sd: list[float]) -> torch.Tensor:
    """Features whose sample mean and (diagonal) sample covariance are exactly as given."""
    n = len(mean)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.double)] * n).reshape(-1, n)
    scale = math.sqrt((len(corners) - 1) / len(corners))
    return torch.tensor(mean, dtype=torch.double) + scale * corners * torch.tensor(sd, dtype=torch.double)


def test_the_closed_form_of_commuting_covariances():
    a, b = with_moments([0.0, 1.0, 2.0], [1.0, 2.0, 0.5]), with_moments([1.0, 1.0, 0.0], [3.0, 2.0, 1.0])
    assert frechet_distance(a, b) == pytest.approx(1 + 0 + 4 + (3 - 1) ** 2 + 0 + 0.5**2)


def test_it_is_symmetric_and_does_not_change_when_both_are_turned():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(500, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    b = 1 + torch.randn(400, 6, generator=generator)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-4)


def test_dead_features_do_no_harm():
    a = torch.nn.functional.pad(with_moments([0.0, 0.0], [1.0, 1.0]), (0, 3))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(5 * 4)


def test_one_sample_is_refused():
    with pytest.raises(ValueError, match="got 1 samples, must be at least 2"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))
