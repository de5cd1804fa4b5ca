import pytest
import sympy
import torch

from ndm_apps.geometry import pullback, riemann, scalar, scalar_curvature, scalar_curvature_from_jets
from ndm_apps.geometry.scalar import mean_square_curvature
from tests.geometry.examples import ALL, ANALYTIC, GENERIC, PolynomialMetric, cholesky_net, points, size

close = torch.testing.assert_close


@pytest.mark.parametrize("name", ANALYTIC)
def test_frame_formula_gives_the_closed_form(name):
    metric = ANALYTIC[name]
    x = points(metric, 7)
    exact = metric.scalar_curvature(x)
    scale = size(exact)
    close(scalar_curvature_from_jets(metric, x), exact, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize("name", GENERIC)
def test_frame_formula_is_the_contraction_of_riemann(name):
    metric = GENERIC[name]
    x = points(metric, 7)
    inverse = torch.linalg.inv(metric(x))
    contracted = torch.einsum("...ad,...bc,...abcd->...", inverse, inverse, riemann(metric, x))
    close(scalar_curvature_from_jets(metric, x), contracted, rtol=1e-10, atol=1e-10 * size(contracted))


def test_against_sympy():
    # The textbook way, d Gamma + Gamma Gamma with derivatives of the inverse, in exact rational arithmetic.
    n = 3
    metric = PolynomialMetric(n, seed=5)
    at = [sympy.Rational(1, 4), sympy.Rational(-1, 2), sympy.Rational(3, 8)]
    y = sympy.symbols("y0:3")
    linear, square = ([sympy.Rational(float(v)) for v in p.detach().flatten()] for p in (metric.linear, metric.square))

    def entry(i, j):
        first = sum(linear[(i * n + j) * n + k] * y[k] for k in range(n))
        return first + sum(square[((i * n + j) * n + k) * n + m] * y[k] * y[m] for k in range(n) for m in range(n))

    a = sympy.Matrix(n, n, entry)
    g = sympy.eye(n) + a * a.T / 2
    here = dict(zip(y, at, strict=True))
    span = range(n)
    g0 = g.subs(here)
    d = [g.diff(y[k]).subs(here) for k in span]
    dd = [[g.diff(y[k]).diff(y[m]).subs(here) for m in span] for k in span]
    inv = g0.inv()
    dinv = [-inv * d[k] * inv for k in span]
    low = [[[(d[i][c, j] + d[j][c, i] - d[c][i, j]) / 2 for j in span] for i in span] for c in span]
    gamma = [[[sum(inv[c, e] * low[e][i][j] for e in span) for j in span] for i in span] for c in span]

    def dgamma(k, c, i, j):
        dlow = [(dd[k][i][e, j] + dd[k][j][e, i] - dd[k][e][i, j]) / 2 for e in span]
        return sum(dinv[k][c, e] * low[e][i][j] + inv[c, e] * dlow[e] for e in span)

    def ricci(i, j):
        value = sum(dgamma(c, c, i, j) - dgamma(j, c, i, c) for c in span)
        return value + sum(
            gamma[c][c][e] * gamma[e][i][j] - gamma[c][j][e] * gamma[e][i][c] for c in span for e in span
        )

    expected = float(sum(inv[i, j] * ricci(i, j) for i in span for j in span))
    x = torch.tensor([float(v) for v in at], dtype=torch.float64)
    assert abs(expected) > 0.1
    close(scalar_curvature(metric, x), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ["S3", "S2 x H2", "polynomial 3"])
def test_no_change_under_a_change_of_coordinates(name):
    metric = ALL[name]
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(metric.n, metric.n, generator=generator, dtype=torch.float64)

    def phi(y):
        return 0.6 * y + 0.1 * (y @ mix).sin()

    y = 2 * torch.rand(6, metric.n, generator=generator, dtype=torch.float64) - 1
    pulled = scalar_curvature_from_jets(pullback(metric, phi), y)
    close(pulled, scalar_curvature_from_jets(metric, phi(y)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_float32_is_close(name):
    metric = ALL[name]
    x = points(metric, 5)
    exact = scalar_curvature_from_jets(metric, x)
    single = metric.float() if isinstance(metric, torch.nn.Module) else metric
    try:
        got = scalar_curvature_from_jets(single, x.float())
    finally:
        if isinstance(metric, torch.nn.Module):
            metric.double()
    assert got.dtype == torch.float32
    close(got.double(), exact, rtol=1e-3, atol=1e-3 * size(exact))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,), (1, 0, 2)])
@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_shapes(shape, method):
    for metric in (ANALYTIC["S2 x H2"], GENERIC["polynomial 3"], ANALYTIC["line"]):
        x = points(metric, *shape)
        assert scalar_curvature(metric, x, method=method).shape == shape


def test_batched_is_looped():
    metric = GENERIC["network 3"]
    x = points(metric, 2, 3)
    looped = torch.stack([scalar_curvature(metric, p) for p in x.flatten(0, 1)]).reshape(2, 3)
    close(scalar_curvature(metric, x), looped, rtol=1e-12, atol=1e-12)


def test_chunks_do_not_change_the_value(monkeypatch):
    metric = GENERIC["polynomial 5"]
    x = points(metric, 3)
    whole = scalar_curvature(metric, x)
    monkeypatch.setattr(scalar, "_CHUNK", 1)
    close(scalar_curvature(metric, x), whole, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_gradient_of_mean_square_against_finite_differences(method):
    metric = cholesky_net(3, seed=4)
    x = points(metric, 4)
    parameters = list(metric.net.parameters())
    generator = torch.Generator().manual_seed(9)
    step = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]

    def loss():
        # The same planes each time: the estimate is then a smooth function of the parameters.
        planes = torch.Generator().manual_seed(2)
        return scalar_curvature(metric, x, method=method, generator=planes).square().mean()

    gradient = torch.autograd.grad(loss(), parameters)
    slope = sum((g * s).sum() for g, s in zip(gradient, step, strict=True))

    def shifted(h):
        with torch.no_grad():
            for p, s in zip(parameters, step, strict=True):
                p += h * s
            value = loss()
            for p, s in zip(parameters, step, strict=True):
                p -= h * s
        return value

    h = 1e-4
    # Fourth-order central difference: the error of the reference stays below the tolerance.
    reference = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h)
    assert abs(reference) > 1e-3
    close(slope, reference, rtol=1e-7, atol=0)


def test_gradient_with_respect_to_points():
    torus = ANALYTIC["torus"]
    x = points(torus, 5).requires_grad_()
    (got,) = torch.autograd.grad(scalar_curvature_from_jets(torus, x).sum(), x)
    (exact,) = torch.autograd.grad(torus.scalar_curvature(x).sum(), x)
    close(got, exact, rtol=1e-10, atol=1e-10)


def test_training_on_curvature_flattens_a_metric():
    metric = cholesky_net(2, seed=1)
    x = points(metric, 32)
    optimiser = torch.optim.Adam(metric.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = scalar_curvature(metric, x).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("name", ["S6", "H6 half-space", "H3"])
def test_one_plane_is_exact_for_constant_curvature(name):
    metric = ANALYTIC[name]
    x = points(metric, 5)
    got = scalar_curvature(metric, x, method="stochastic", generator=torch.Generator().manual_seed(0))
    close(got, metric.scalar_curvature(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["torus", "ellipsoid", "H2", "polynomial 2"])
def test_one_plane_is_exact_for_surfaces(name):
    metric = ALL[name]
    x = points(metric, 200)
    got = scalar_curvature(metric, x, method="stochastic", generator=torch.Generator().manual_seed(0))
    exact = scalar_curvature_from_jets(metric, x)
    close(got, exact, rtol=1e-9, atol=1e-9 * size(exact))


@pytest.mark.parametrize("name", ["S2 x H2", "polynomial 3", "polynomial 5", "H2 warped with S3"])
def test_random_planes_are_unbiased(name):
    metric = ALL[name]
    (x,) = points(metric, 1, seed=7)
    exact = scalar_curvature_from_jets(metric, x)
    samples = scalar_curvature(
        metric, x.expand(20000, -1), method="stochastic", generator=torch.Generator().manual_seed(0)
    ).detach()
    error = samples.std() / len(samples) ** 0.5
    assert error > 0  # the planes do differ, so that the next line can fail
    assert abs(samples.mean() - exact) < 3.5 * error
    # A frame that is not uniform, or one that is not orthonormal, would be off by a good part of the spread.
    assert error < 0.01 * samples.std() * 1.01


def test_probes_are_averaged_and_come_from_the_generator():
    metric = GENERIC["polynomial 5"]
    (x,) = points(metric, 1)

    def estimate(probes, seed):
        x_many = x.expand(400, -1)
        return scalar_curvature(metric, x_many, "stochastic", probes, torch.Generator().manual_seed(seed)).detach()

    close(estimate(2, 0), estimate(2, 0), rtol=0, atol=0)
    assert not torch.equal(estimate(2, 0), estimate(2, 1))
    ratio = estimate(1, 0).var() / estimate(16, 1).var()
    assert 10 < ratio < 24  # 16 up to sampling error of a variance from 400 draws


@pytest.mark.parametrize("name", ["S2 x H2", "polynomial 3"])
def test_mean_square_is_unbiased(name):
    metric = ALL[name]
    x = points(metric, 2, seed=7)
    exact = scalar_curvature_from_jets(metric, x).square().mean().detach()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # The mean over copies of the points is a mean over draws of the planes.
        many = torch.stack([mean_square_curvature(metric, x.repeat(100, 1), 1, generator) for _ in range(60)])
        single = scalar_curvature(metric, x.repeat(6000, 1), "stochastic", 1, generator).square().mean()
    error = many.std() / len(many) ** 0.5
    assert abs(many.mean() - exact) < 3.5 * error
    assert single - exact > 5 * error  # so the line above would notice the square of one estimate


def test_mean_square_is_exact_for_constant_curvature():
    sphere = ANALYTIC["S6"]
    got = mean_square_curvature(sphere, points(sphere, 2, 3), generator=torch.Generator().manual_seed(0))
    close(got, sphere.scalar_curvature(points(sphere, 1)).square().squeeze(), rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match=r"x must hold at least one point, got shape \(0, 6\)"):
        mean_square_curvature(sphere, points(sphere, 0))


def test_a_metric_that_has_estimates_of_its_own_is_asked():
    class Knows:
        def __call__(self, x):
            return torch.diag_embed(torch.ones_like(x))

        def curvature_estimates(self, x, probes, generator, copies):
            return probes + torch.arange(float(copies))[:, None].expand(copies, len(x))

    x = torch.zeros(3, 2)
    close(scalar_curvature(Knows(), x, "stochastic", 4), torch.full((3,), 4.0))
    close(mean_square_curvature(Knows(), x, 4), torch.tensor(20.0))
    close(scalar_curvature(Knows(), x), torch.zeros(3))


def test_a_metric_that_knows_its_curvature_is_asked():
    class Knows:
        def __call__(self, x):
            return torch.diag_embed(torch.ones_like(x))

        def scalar_curvature(self, x):
            return torch.full_like(x[..., 0], 42.0)

    x = torch.zeros(3, 2)
    close(scalar_curvature(Knows(), x), torch.full((3,), 42.0))
    close(scalar_curvature_from_jets(Knows(), x), torch.zeros(3))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_without_gradients(mode):
    metric = GENERIC["network 3"]
    with_gradients = scalar_curvature(metric, points(metric, 2))
    with mode():
        x = points(metric, 2)
        close(scalar_curvature(metric, x), with_gradients.detach())
        planes = scalar_curvature(metric, x, method="stochastic", generator=torch.Generator().manual_seed(0))
        assert torch.isfinite(planes).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "fast"}, "method must be 'exact' or 'stochastic', got 'fast'"),
        ({"method": "stochastic", "probes": 0}, "probes must be an integer, at least 1, got 0"),
        ({"method": "stochastic", "probes": 1.5}, "probes must be an integer, at least 1, got 1.5"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        scalar_curvature(ANALYTIC["S2"], torch.zeros(2), **arguments)
