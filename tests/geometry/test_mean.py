import pytest
import torch

from ndm_apps.geometry import Euclidean, GeodesicWarning, Hyperbolic, Sphere, exp_map, log_map
from ndm_apps.geometry.mean import frechet_mean
from tests.geometry.examples import ALL, points

close = torch.testing.assert_close


@pytest.mark.parametrize("name", ["plane", "S2", "H3", "S2 x H2", "torus", "polynomial 3"])
def test_gradient_vanishes_at_the_mean(name):
    metric = ALL[name]
    x = points(metric, 2, 4) / 2
    weights = torch.tensor([1.0, 2.0, 3.0, 0.5], dtype=torch.float64)
    mean = frechet_mean(metric, x, weights)
    assert mean.converged.all()
    assert (mean.gradient_norm <= 1e-8 * mean.variance.sqrt()).all()
    logarithms = log_map(metric, mean.point.unsqueeze(-2), x)
    close((weights.unsqueeze(-1) * logarithms).sum(-2), torch.zeros_like(mean.point), rtol=0, atol=1e-7)


def test_flat_space_has_the_weighted_mean():
    x = points(Euclidean(3), 2, 5)
    weights = points(Euclidean(5), 2).abs()
    mean = frechet_mean(Euclidean(3), x, weights)
    share = (weights / weights.sum(-1, keepdim=True)).unsqueeze(-1)
    expected = (share * x).sum(-2)
    close(mean.point, expected)
    close(mean.variance, (share * (x - expected.unsqueeze(-2)).square()).sum((-2, -1)))


@pytest.mark.parametrize("metric", [Sphere(2), Hyperbolic(2), Hyperbolic(3)], ids=["S2", "H2", "H3"])
def test_symmetric_sets_have_their_centre(metric):
    # Points opposite to each other around a centre that is not the mean in the chart.
    centre = points(metric, 1) / 2
    v = points(metric, 3, seed=5) / metric(centre).diagonal(dim1=-2, dim2=-1).sqrt()
    x = exp_map(metric, centre, torch.cat((v, -v)))
    mean = frechet_mean(metric, x)
    assert mean.converged
    assert (x.mean(0) - centre[0]).abs().max() > 1e-3
    close(mean.point, centre[0], rtol=0, atol=1e-7)


def test_the_mean_of_two_points_divides_their_geodesic():
    metric = Hyperbolic(2, model="half_space")
    heights = torch.tensor([[1.0, 8.0], [2.0, 3.0]], dtype=torch.float64)
    x = torch.stack((torch.zeros_like(heights), heights), -1)
    mean = frechet_mean(metric, x, torch.tensor([1.0, 2.0], dtype=torch.float64))
    close(mean.point[:, 1], (heights[:, 0] * heights[:, 1] ** 2) ** (1 / 3), rtol=1e-7, atol=0)
    logarithm = (heights[:, 1] / heights[:, 0]).log()
    close(mean.variance, 2 / 9 * logarithm**2, rtol=1e-7, atol=0)


def test_one_point_is_its_own_mean():
    x = points(Sphere(2), 3, 1)
    mean = frechet_mean(Sphere(2), x)
    assert mean.converged.all()
    close(mean.point, x[:, 0])


def test_float32_and_shapes():
    x = points(Sphere(2), 2, 3, 4, dtype=torch.float32) / 2
    mean = frechet_mean(Sphere(2), x)
    assert mean.point.shape == (2, 3, 2)
    assert mean.point.dtype == torch.float32
    assert mean.converged.shape == (2, 3)
    assert mean.converged.all()
    close(mean.point.double(), frechet_mean(Sphere(2), x.double()).point, rtol=0, atol=1e-4)


def test_what_does_not_converge_is_told():
    spread = points(Hyperbolic(2), 4)
    x = torch.stack((spread[:1].expand(4, 2), spread))
    with pytest.warns(GeodesicWarning, match=r"frechet_mean: 1 of 2 sets \(sample \(1,\)\)"):
        mean = frechet_mean(Hyperbolic(2), x, iterations=1)
    assert mean.converged.tolist() == [True, False]


def test_a_point_of_balance_that_is_no_minimum_is_not_convergence():
    # Three points near the equator of a sphere pull evenly at one pole, from so far that the sum has a maximum there.
    angles = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64) * torch.pi / 3
    x = 2 * torch.stack((angles.cos(), angles.sin()), -1)
    with pytest.warns(GeodesicWarning, match="frechet_mean: 1 of 1 sets lead to no mean"):
        mean = frechet_mean(Sphere(2), x)
    assert mean.gradient_norm < 1e-8


@pytest.mark.parametrize(
    ("x", "weights", "message"),
    [
        (torch.zeros(2), None, r"x must have shape \(\.\.\., k, n\) with k >= 1, got \(2,\)"),
        (torch.full((3, 2), torch.nan), None, r"x must be finite, got \[nan, nan\] at sample \(0,\)"),
        (
            torch.zeros(3, 2),
            torch.ones(2),
            r"weights must have shape \(3,\) or \(3,\) and dtype torch.float32, got \(2,\)",
        ),
        (torch.zeros(2, 3, 2), torch.tensor([[1.0, 1, 1], [1, -1, 1]]), r"not negative .* at sample \(1,\)"),
        (torch.zeros(3, 2), torch.zeros(3), "not all zero"),
        (torch.zeros(3, 2), 1.0, "weights must have shape .* got float"),
    ],
)
def test_wrong_arguments(x, weights, message):
    with pytest.raises(ValueError, match=message):
        frechet_mean(Euclidean(2), x, weights)
