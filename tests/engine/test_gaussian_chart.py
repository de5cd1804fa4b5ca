import math

import pytest
import torch

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.gaussian_chart import GaussianChart
from ndm_apps.geometry import Conformal, Euclidean, scalar_curvature


def stream(count=60, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return 1e3 + torch.randn(count, n, generator=generator, dtype=torch.float64) @ mix


def fitted(x, batch=None, **settings):
    chart = GaussianChart(x.shape[1], **settings)
    for part in x.split(batch or len(x)):
        chart.update(part)
    return chart


def same(a, b):
    for name in ("count", "mean", "scatter"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("batch", [1, 7, 60])
def test_batches_give_the_statistics_of_the_whole(batch):
    x = stream()
    chart = fitted(x, batch)
    assert chart.count == 60
    torch.testing.assert_close(chart.mean, x.mean(0), rtol=1e-13, atol=0)
    torch.testing.assert_close(chart.scatter / 60, x.mT.cov(correction=0), rtol=1e-9, atol=1e-10)


def test_merge_is_the_union():
    x = stream()
    chart, other = fitted(x[:13]), fitted(x[13:])
    chart.merge(other)
    same(chart, fitted(x))
    empty = GaussianChart(3)
    empty.merge(fitted(x))
    same(empty, fitted(x))
    empty.merge(GaussianChart(3))
    same(empty, fitted(x))


def test_mean_scaled_curvature_at_home_is_zero():
    """The sample mean of |z|^2 under the covariance of the sample itself (divisor N) is n, whatever the sample."""
    x = stream(n=5)
    chart = fitted(x, strength=0.0, ridge=0.0)
    assert chart.scaled_curvature(x).mean().abs() < 1e-9
    assert (chart.scaled_curvature(x + 5 * x.std(0)) > 0).all()


def test_scaled_curvature_is_that_of_the_conformal_metric():
    n = 5
    chart = fitted(stream(n=n))
    z = torch.randn(4, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def exponent(points):  # g = e^{2f} I = p^{4/(n-2)} I with log p = -|z|^2 / 2
        return -points.square().sum(-1) / (n - 2)

    curvature = scalar_curvature(Conformal(exponent, Euclidean(n)), z)
    scaled = -curvature * (2 * exponent(z)).exp() * (n - 2) / (4 * (n - 1))
    x, _ = chart.coordinates().inverse(z)
    torch.testing.assert_close(chart.scaled_curvature(x), scaled, rtol=1e-7, atol=1e-7)


def test_coordinates_whiten():
    chart = fitted(stream())
    x = stream(seed=1)
    z, log_abs_det = chart.coordinates()(x)
    torch.testing.assert_close(z, chart(x), rtol=1e-9, atol=1e-9)
    expected = (z.square().sum(-1) - 2 * log_abs_det) / 2
    torch.testing.assert_close(chart.energy(x), expected, rtol=1e-9, atol=1e-9)


def test_energy_is_the_negative_log_density():
    chart = fitted(stream())
    x = stream(seed=1).reshape(5, 12, 3)
    density = torch.distributions.MultivariateNormal(chart.mean, chart.covariance())
    expected = -density.log_prob(x) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(chart.energy(x), expected, rtol=1e-9, atol=1e-8)


def test_shrinkage():
    x = stream()
    prior = torch.diag(torch.tensor([1.0, 2.0, 3.0]).double())
    assert torch.equal(GaussianChart(3, prior_covariance=prior, ridge=0.0).covariance(), prior)
    chart = fitted(x, prior_covariance=prior, strength=20.0, ridge=0.1)
    shrunk = (60 * x.mT.cov(correction=0) + 20 * prior) / 80
    expected = shrunk + 0.1 * shrunk.trace() / 3 * torch.eye(3)
    torch.testing.assert_close(chart.covariance(), expected, rtol=1e-9, atol=1e-9)


def log_likelihood(x):
    """The largest log-likelihood of points under any normal distribution."""
    return torch.distributions.MultivariateNormal(x.mean(0), x.mT.cov(correction=0)).log_prob(x).sum()


def test_comparison_is_the_likelihood_ratio_test():
    x = stream(count=90, n=3)
    (one, other), both = (x[:30], x[30:] + 0.1 * x.std(0)), 90.0
    ratio = 2 * (log_likelihood(one) + log_likelihood(other) - log_likelihood(torch.cat([one, other])))
    bartlett = 1 - (1 / 30 + 1 / 60 - 1 / both) * (2 * 9 + 9 * 3 + 11) / (6 * 6)
    expected = torch.special.gammaincc(torch.tensor(4.5).double(), bartlett * ratio / 2)
    found = fitted(one).compare(fitted(other))
    assert found.p_value == pytest.approx(float(expected), rel=1e-6) and 1e-6 < found.p_value < 1
    assert fitted(other).compare(fitted(one)) == pytest.approx(found)


@pytest.mark.parametrize(("n", "counts"), [(1, (20, 30)), (3, (15, 60)), (6, (60, 60))])
def test_p_values_of_one_distribution_are_uniform(n, counts):
    generator = torch.Generator().manual_seed(0)
    p = []
    for _ in range(400):
        pair = (fitted(torch.randn(count, n, generator=generator, dtype=torch.float64)) for count in counts)
        p.append(next(pair).compare(next(pair)).p_value)
    above = torch.tensor(p).sort().values - torch.arange(1, 401) / 400
    assert above.abs().max() < 1.63 / 400**0.5  # Kolmogorov's bound at 0.01


def test_comparison_of_too_few_points_says_so():
    x = stream()
    few = fitted(x[:4])
    assert few.compare(fitted(x)) == (1.0, math.inf) == fitted(x).compare(few)
    flat = x.clone()
    flat[:, 0] = 1.0
    assert fitted(flat).compare(fitted(x)) == (1.0, math.inf)


def test_frozen_chart_stays():
    x = stream()
    chart = fitted(x)
    chart.freeze()
    before = chart.energy(x)
    chart.update(x + 1)
    assert torch.equal(chart.energy(x), before)
    with pytest.raises(ValueError, match="frozen"):
        chart.merge(fitted(x))


def test_state_round_trip(tmp_path):
    x = stream()
    chart = fitted(x)
    chart.freeze()
    save_state(tmp_path / "s", chart.state_dict())
    other = GaussianChart(3)
    other.load_state_dict(load_state(tmp_path / "s"))
    assert torch.equal(other.energy(x), chart.energy(x)) and bool(other.frozen)


def test_wrong_input_leaves_no_trace():
    chart = fitted(stream())
    before = {name: value.clone() for name, value in chart.state_dict().items()}
    for x, message in (
        (torch.full((2, 3), math.nan), "finite"),
        (torch.zeros(2, 2), r"\(batch, 3\)"),
        (torch.zeros(3), r"\(batch, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            chart.update(x)
    assert all(torch.equal(chart.state_dict()[name], value) for name, value in before.items())
    with pytest.raises(ValueError, match="x must have shape"):
        chart.energy(torch.zeros(4, 2))


def test_too_few_points():
    with pytest.raises(ValueError, match="no points"):
        GaussianChart(3, strength=0.0).energy(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="2 points in 3 dimensions"):
        fitted(torch.eye(3)[:2].double(), strength=0.0, ridge=0.0).energy(torch.zeros(2, 3))


@pytest.mark.parametrize(
    "arguments",
    [{"n": 0}, {"strength": -1.0}, {"ridge": math.inf}, {"prior_covariance": -torch.eye(2)}],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        GaussianChart(**{"n": 2, **arguments})
    for use in (GaussianChart(2).merge, GaussianChart(2).compare):
        with pytest.raises(ValueError, match="other must have dimension 2, got 3"):
            use(GaussianChart(3))
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 0"):
        GaussianChart(2).compare(GaussianChart(2), level=0.0)
