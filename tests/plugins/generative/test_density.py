import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from ndm_apps.engine.coordinates import alternating_couplings
from ndm_apps.plugins.generative.density import FlowDensity, MixtureDensity
from ndm_apps.plugins.generative.fused import Mixture


@pytest.fixture
def mixture():
    generator = torch.Generator().manual_seed(1)
    density = MixtureDensity(3, 2).double()
    density.log_weights.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    density.means.copy_(torch.randn(3, 2, generator=generator))
    density.factors.copy_(torch.tensor([[1.5, 0.4], [0.0, 0.8]]) * torch.tensor([1.0, 0.7, 1.6])[:, None, None])
    return density


def covariances(density):
    return torch.linalg.inv(density.factors @ density.factors.mT)


def test_a_mixture_is_that_of_torch(mixture):
    theirs = MixtureSameFamily(
        Categorical(logits=mixture.log_weights), MultivariateNormal(mixture.means, covariances(mixture))
    )
    z = torch.randn(4, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(mixture.log_prob(z), theirs.log_prob(z), atol=1e-6)


@pytest.mark.parametrize("kind", ["mixture", "flow"])
def test_densities_integrate_to_one(kind, mixture):
    density = mixture
    if kind == "flow":
        torch.manual_seed(3)
        coordinates = alternating_couplings(2, 4, (8,), mixing=True)
        for weight in coordinates.parameters():
            weight.data.add_(0.2 * torch.randn(weight.shape))
        density = FlowDensity(2, coordinates).double()
    axis = torch.linspace(-14, 14, 600, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    total = density.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total.item() - 1) < 1e-3


def test_samples_have_the_moments_of_the_mixture(mixture):
    z = mixture.sample(200_000, torch.Generator().manual_seed(4))
    weights = mixture.log_weights.exp()
    mean = weights @ mixture.means
    offsets = mixture.means - mean
    covariance = torch.einsum("k,kij->ij", weights, covariances(mixture) + offsets[:, :, None] * offsets[:, None, :])
    assert torch.allclose(z.mean(0), mean, atol=0.01)
    assert torch.allclose(z.mT.cov(), covariance, atol=0.02)


def test_a_fit_finds_two_clouds_again():
    generator = torch.Generator().manual_seed(5)
    near, far = torch.randn(3000, 2, generator=generator), torch.randn(1000, 2, generator=generator) * 0.5 + 8
    density = MixtureDensity(2, 2)
    density.fit(torch.cat([near, far]), regular=1e-6, seed=0)
    order = density.log_weights.argsort(descending=True)
    assert torch.allclose(density.log_weights[order].exp(), torch.tensor([0.75, 0.25]), atol=1e-3)
    assert torch.allclose(density.means[order], torch.tensor([[0.0, 0.0], [8.0, 8.0]]), atol=0.1)
    assert torch.allclose(covariances(density)[order[1]], torch.eye(2) / 4, atol=0.05)


def test_standard_normal_where_there_is_no_map():
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(6))
    expected = -z.square().sum(-1) / 2 - 1.5 * math.log(2 * math.pi)
    assert torch.allclose(FlowDensity(3).log_prob(z), expected)
    assert FlowDensity(3).sample(7, torch.Generator().manual_seed(0)).shape == (7, 3)


def test_the_samples_of_a_flow_are_normal_in_its_coordinates():
    torch.manual_seed(7)
    coordinates = alternating_couplings(2, 3, (8,), mixing=True)
    for weight in coordinates.parameters():
        weight.data.add_(0.3 * torch.randn(weight.shape))
    density = FlowDensity(2, coordinates)
    with torch.no_grad():
        u = coordinates(density.sample(50_000, torch.Generator().manual_seed(8)))[0]
    assert torch.allclose(u.mean(0), torch.zeros(2), atol=0.02)
    assert torch.allclose(u.mT.cov(), torch.eye(2), atol=0.03)


def test_a_mixture_takes_the_gaussians_that_it_is_given(mixture):
    copy = MixtureDensity(3, 2).double()
    copy.assign(mixture.log_weights.exp(), mixture.means, covariances(mixture))
    z = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(copy.log_prob(z), mixture.log_prob(z))
    with pytest.raises(ValueError, match=r"means must have shape \(3, 2\), got \(3, 3\)"):
        copy.assign(torch.ones(3) / 3, torch.zeros(3, 3), torch.eye(2).expand(3, 2, 2))
    with pytest.raises(ValueError, match="covariances must be positive definite, got another of component 1"):
        copy.assign(torch.ones(3) / 3, torch.zeros(3, 2), torch.eye(2) * torch.tensor([1.0, -1.0, 1.0])[:, None, None])


def test_the_score_is_the_gradient_of_the_log_density(mixture):
    z = 3 * torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    z[0] = 1e3  # a share of a component is least there
    log_p, score = Mixture.of(mixture)(z)
    torch.testing.assert_close(log_p, mixture.log_prob(z))
    torch.testing.assert_close(score, torch.func.grad(lambda x: mixture.log_prob(x).sum())(z))
