import subprocess
import sys
from itertools import pairwise

import geoopt
import pytest
import torch

from ndm_apps.geometry import Euclidean, Hyperbolic, LearnedManifold, Sphere, exp_map, norm
from tests.geometry.examples import ALL, points, vectors

close = torch.testing.assert_close


def _around(metric, centre, count=8, radius=0.5):
    """Points whose mean is the centre: each with its reflection through it."""
    (v,) = vectors(centre.expand(count, -1), 1)
    v = radius * v / norm(metric, centre, v).unsqueeze(-1)
    return exp_map(metric, centre, torch.cat((v, -v)))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("metric", [Sphere(2), Hyperbolic(2)])
def test_geoopt_finds_the_mean_of_points(metric, optimiser):
    centre = torch.tensor([0.3, -0.2], dtype=torch.float64)
    cloud = _around(metric, centre)
    manifold = LearnedManifold(metric)
    x = geoopt.ManifoldParameter(torch.tensor([0.1, 0.3], dtype=torch.float64), manifold=manifold)
    descent: torch.optim.Optimizer
    if optimiser == "adam":
        descent, decay, steps = geoopt.optim.RiemannianAdam([x], lr=0.1, betas=(0.9, 0.9)), 0.97, 250
    else:
        descent, decay, steps = geoopt.optim.RiemannianSGD([x], lr=0.4), 1.0, 30
    schedule = torch.optim.lr_scheduler.ExponentialLR(descent, decay)
    for _ in range(steps):
        descent.zero_grad()
        loss = metric.distance(x, cloud).square().mean()
        loss.backward()
        descent.step()
        schedule.step()
    close(x.detach().as_subclass(torch.Tensor), centre, rtol=0, atol=1e-4)


def test_laws_of_a_manifold():
    metric = ALL["polynomial 3"]
    manifold = LearnedManifold(metric)
    x, other = points(metric, 2, 4)
    y = (x + other) / 2
    u, v = vectors(x, 2)
    with torch.no_grad():
        close(manifold.projx(x), x)
        close(manifold.proju(x, u), u)
        close(manifold.expmap(x, manifold.logmap(x, y)), y, rtol=0, atol=1e-6)
        close(manifold.norm(x, manifold.logmap(x, y)), manifold.dist(x, y), rtol=1e-6, atol=0)
        # Transport keeps inner products; the gradient represents the differential.
        moved = [manifold.transp(x, y, w) for w in (u, v)]
        close(manifold.inner(y, *moved), manifold.inner(x, u, v), rtol=1e-10, atol=1e-10)
        close(manifold.inner(x, manifold.egrad2rgrad(x, u), v), (u * v).sum(-1), rtol=1e-10, atol=1e-10)
        assert manifold.inner(x, u, keepdim=True).shape == (4, 1)
        assert manifold.dist(x, y, keepdim=True).shape == (4, 1)


def test_retraction_is_of_second_order():
    metric = ALL["polynomial 3"]
    manifold = LearnedManifold(metric)
    x = points(metric, 4)
    (u,) = vectors(x, 1)
    u = u / norm(metric, x, u).unsqueeze(-1)
    with torch.no_grad():
        gaps = [(manifold.retr(x, t * u) - manifold.expmap(x, t * u)).norm() for t in (0.1, 0.05, 0.025)]
    slopes = [(a / b).log2().item() for a, b in pairwise(gaps)]
    assert all(abs(slope - 3) < 0.3 for slope in slopes), slopes


def test_a_step_too_long_for_second_order_stays_of_its_length():
    metric = ALL["polynomial 3"]
    manifold = LearnedManifold(metric)
    x = points(metric, 4)
    (u,) = vectors(x, 1)
    with torch.no_grad():
        for factor in (1.0, 1e2, 1e6):
            step = manifold.retr(x, factor * u) - x
            assert (norm(metric, x, step) <= 2.0001 * norm(metric, x, factor * u)).all()
        close(manifold.retr(x, 0 * u), x)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimiser", [geoopt.optim.RiemannianAdam, geoopt.optim.RiemannianSGD])
def test_parameters_of_any_shape_move_as_they_would_alone(shape, dtype, optimiser):
    metric = Sphere(3)
    manifold = LearnedManifold(metric)
    start = points(metric, *shape, dtype=dtype)

    def end(start):
        x = geoopt.ManifoldParameter(start.clone(), manifold=manifold)
        descent = optimiser([x], lr=0.1, **({"momentum": 0.5} if optimiser is geoopt.optim.RiemannianSGD else {}))
        for _ in range(3):
            descent.zero_grad()
            (x - 0.3).square().sum().backward()
            descent.step()
        return x.detach().as_subclass(torch.Tensor)

    together = end(start)
    assert together.shape == start.shape
    assert together.dtype == dtype
    alone = torch.stack([end(point) for point in start.reshape(-1, 3)]).reshape(start.shape)
    close(together, alone)


def test_points_to_start_from():
    manifold = LearnedManifold(Sphere(2))
    x = manifold.random(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    again = manifold.random(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    close(x, again, rtol=0, atol=0)
    assert isinstance(x, geoopt.ManifoldTensor)
    assert x.manifold is manifold
    assert manifold.origin(4, 2).tolist() == [[0.0, 0.0]] * 4
    with pytest.raises(ValueError, match="metric\\(x\\) must be finite"):
        LearnedManifold(Hyperbolic(2, model="half_space")).origin(2)


def test_samplers_refuse_it():
    x = geoopt.ManifoldParameter(torch.zeros(2), manifold=LearnedManifold(Sphere(2)))
    for sampler in (geoopt.samplers.RHMC, geoopt.samplers.RSGLD, geoopt.samplers.SGRHMC):
        with pytest.raises(ValueError, match="reversible"):
            sampler([x])


def test_checks_give_reasons():
    manifold = LearnedManifold(Hyperbolic(2, model="half_space"))
    good, bad = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.0])
    assert manifold.check_point_on_manifold(good)
    fine, reason = manifold.check_point_on_manifold(bad, explain=True)
    assert not fine
    assert "metric(x) must be finite" in reason
    fine, reason = manifold.check_vector_on_tangent(good, torch.tensor([torch.nan, 0.0]), explain=True)
    assert not fine
    assert reason == "u is not finite"


def test_geoopt_is_imported_only_when_asked_for():
    code = "import sys, ndm_apps.geometry as g; print('geoopt' in sys.modules, g.LearnedManifold.__name__)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "LearnedManifold"]


def test_retraction_without_bend_has_derivatives():
    u = torch.ones(3, 2, requires_grad=True)
    LearnedManifold(Euclidean(2)).retr(torch.zeros(3, 2), u).sum().backward()
    assert (u.grad == 1).all()
