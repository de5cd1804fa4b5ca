import geoopt
import pytest
import torch
from torch.func import jacfwd, jacrev, vmap

from ndm_apps.engine.coordinates import (
    Affine,
    AffineCoupling,
    Composition,
    CoordinateMap,
    OrthogonalMixing,
    SmoothCoupling,
    SplineCoupling,
    alternating_couplings,
)

# A new map joins this list and inherits the laws.
MAPS = {
    "coupling-2": lambda: AffineCoupling(2, (8,)),
    "coupling-5": lambda: AffineCoupling(5, (8, 8)),
    "coupling-reverse": lambda: AffineCoupling(3, (8,), reverse=True, bound=1.0),
    "coupling-linear": lambda: AffineCoupling(3, ()),
    "smooth-2": lambda: SmoothCoupling(2, (8,)),
    "smooth-5": lambda: SmoothCoupling(5, (8,), reverse=True, bumps=1),
    "spline-2": lambda: SplineCoupling(2, (8,)),
    "spline-5": lambda: SplineCoupling(5, (8,), reverse=True, bins=3, radius=1.5),
    "orthogonal-2": lambda: OrthogonalMixing(2),
    "orthogonal": lambda: OrthogonalMixing(4),
    "affine-1": lambda: Affine(1),
    "affine": lambda: Affine(4),
    "affine-diagonal": lambda: Affine(3, diagonal=True),
    "composition": lambda: Composition([Affine(3), AffineCoupling(3, (8,)), Affine(3, diagonal=True)]),
    "couplings": lambda: alternating_couplings(4, 3, (8,)),
    "couplings-1": lambda: alternating_couplings(1),
    **{
        f"mixed-{family}": lambda family=family: alternating_couplings(
            4, 2, (8,), coordinates=family, mixing=True, normalise=True
        )
        for family in ("affine", "smooth", "spline")
    },
}


def disturbed(name, dtype=torch.float64, size=0.3):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    module = MAPS[name]().to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=dtype))
            if isinstance(parameter, geoopt.ManifoldParameter):
                parameter.proj_()
    return module


def points(n, dtype=torch.float64, shape=(2, 7)):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("name", MAPS)
def test_starts_as_the_identity(name):
    module = MAPS[name]().double()
    x = points(module.n)
    z, log_abs_det = module(x)
    torch.testing.assert_close(z, x, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(log_abs_det, torch.zeros(2, 7, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", MAPS)
def test_inverse(name, dtype, tolerance):
    module = disturbed(name, dtype)
    x = points(module.n, dtype)
    z, forward = module(x)
    back, backward = module.inverse(z)
    assert z.dtype == back.dtype == dtype
    assert not torch.allclose(z, x, atol=1e-2)
    # z is rounded, so x can be had back no better than the inverse derivative of the map allows.
    derivative = vmap(jacfwd(lambda p: module(p)[0]))(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
    reach = 1 + torch.linalg.matrix_norm(torch.linalg.inv(derivative), 2) * z.abs().amax(-1)
    assert ((back - x).abs().amax(-1) <= tolerance * reach).all()
    assert ((forward + backward).abs() <= 10 * tolerance * reach).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", MAPS)
def test_inverse_near_the_start(name, dtype, tolerance):
    module = disturbed(name, dtype, size=0.05)
    x = points(module.n, dtype)
    back, _ = module.inverse(module(x)[0])
    torch.testing.assert_close(back, x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MAPS)
def test_log_determinant_is_that_of_the_jacobian(name):
    module = disturbed(name)
    x = points(module.n, shape=(4,))
    derivative = torch.stack([torch.autograd.functional.jacobian(lambda p: module(p)[0], row) for row in x])
    torch.testing.assert_close(module(x)[1], torch.linalg.slogdet(derivative).logabsdet, rtol=1e-12, atol=1e-12)
    # The same by forward mode, one point at a time, and for the inverse through its own derivative.
    torch.testing.assert_close(vmap(jacfwd(lambda p: module(p)[0]))(x), derivative, rtol=1e-12, atol=1e-12)
    z = module(x)[0].detach()
    for differentiate in (jacfwd, jacrev):
        inverse = vmap(differentiate(lambda p: module.inverse(p)[0]))(z)
        torch.testing.assert_close(
            inverse @ derivative, torch.eye(module.n).double().expand_as(inverse), atol=1e-11, rtol=0
        )


@pytest.mark.parametrize("name", MAPS)
def test_push_forward(name):
    module = disturbed(name)
    x, v = points(module.n), points(module.n, shape=(2, 7, 3))
    z, pushed = module.push_forward(x, v)
    torch.testing.assert_close(z, module(x)[0], rtol=1e-14, atol=1e-14)
    _, expected = CoordinateMap.push_forward(module, x, v)
    torch.testing.assert_close(pushed, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_gradients_of_parameters(name):
    module = disturbed(name)
    parameters = {key: value.detach().as_subclass(torch.Tensor) for key, value in module.named_parameters()}
    x = points(module.n, shape=(3,))

    def outputs(*values):
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (x,))

    values = [value.requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(outputs, values, fast_mode=True)
    z = module(x)[0].detach()
    there = [part.sum() for part in module(module.inverse(z)[0])]  # constant: the identity, whatever the parameters
    gradients = torch.autograd.grad(there[0], list(module.parameters()), allow_unused=True)
    for gradient in gradients:
        assert gradient is None or gradient.abs().max() < 1e-10


@pytest.mark.parametrize("name", MAPS)
def test_device_and_dtype_are_those_of_the_module(name):
    module = MAPS[name]().to(
        "meta", torch.float64
    )  # a device without values: what is made on the CPU meets it and fails
    x = torch.zeros(3, module.n, dtype=torch.float64, device="meta")
    for direction in (module, module.inverse):
        z, log_abs_det = direction(x)
        assert z.is_meta and log_abs_det.is_meta and z.dtype == log_abs_det.dtype == torch.float64


@pytest.mark.parametrize("name", MAPS)
def test_empty_batch(name):
    module = disturbed(name)
    z, log_abs_det = module(points(module.n, shape=(0,)))
    assert z.shape == (0, module.n) and log_abs_det.shape == (0,)
    assert module.inverse(z)[0].shape == (0, module.n)


def test_coupling_scale_is_bounded():
    module = AffineCoupling(2, (4,), bound=1.5)
    with torch.no_grad():
        module.conditioner.layers[-1].weight.fill_(1e6)
    assert module(torch.tensor([[5.0, 1.0]]))[1].abs().item() <= 1.5


def test_whitening():
    x = points(3, shape=(500,)) @ points(3, shape=(3,))
    module = Affine.whitening(x.mean(0), x.mT.cov())
    z, _ = module(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(z.mT.cov(), torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["affine-diagonal", "affine", "mixed-affine", "mixed-spline"])
def test_initialise_standardises_the_sample(name):
    module = disturbed(name)
    x = 3 + 0.2 * points(module.n, shape=(500,)) @ points(module.n, shape=(module.n,))
    x[:, 0] = 7.0  # a coordinate that does not vary is shifted only
    module.initialise(x)
    first = module if isinstance(module, Affine) else module.maps[0]
    z, _ = first(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(module.n).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(z[:, 1:].var(0, correction=0), torch.ones(module.n - 1).double())
    assert torch.equal(z[:, 0], torch.zeros(500).double())
    if isinstance(module, Composition):
        before = [value.clone() for value in module.state_dict().values()]
        module.initialise(x)
        assert all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))


def test_initialise_needs_a_sample():
    with pytest.raises(ValueError, match=r"x must be at least two finite points, got shape \(1, 2\)"):
        Affine(2).initialise(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="finite"):
        Affine(2).initialise(torch.full((3, 2), torch.nan))


@pytest.mark.parametrize(("bumps", "bound"), [(1, 2.0), (8, 3.0), (6, 4.0)])
def test_smooth_inverse_in_the_worst_case(bumps, bound):
    # Every bounded parameter at its bound, signs at random, and centres anywhere.
    module = SmoothCoupling(2, (), bumps=bumps, bound=bound).double()
    generator = torch.Generator().manual_seed(0)
    theta = 1e3 * torch.randn(20_000, 2 + 3 * bumps, generator=generator, dtype=torch.float64)
    theta[:, -bumps:] /= 1e3
    x = 6 * torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    z, log_slope = module._move(x, theta)
    back, log_back = module._move_back(z, theta)
    assert ((back - x).abs() * log_slope.exp() <= 1e-12 * (1 + z.abs())).all()
    assert log_slope.abs().max() <= 2 * bound + 1e-12
    torch.testing.assert_close(log_back, -log_slope, rtol=1e-8, atol=1e-8)


def test_smooth_inverse_has_three_derivatives():
    module = disturbed("smooth-2")
    z, direction = points(2, shape=()), torch.tensor([0.3, 1.0], dtype=torch.float64)

    def back(t):
        return module.inverse(z + t * direction)[0].sum()

    def there(t):
        return module.inverse(module(z + t * direction)[0])[0].sum()  # linear in t

    t = torch.tensor(0.2, dtype=torch.float64)
    for order in range(1, 4):
        derivative, identity = back, there
        for _ in range(order):
            derivative, identity = jacfwd(derivative), jacfwd(identity)
        expected = 1.3 if order == 1 else 0.0
        assert identity(t).item() == pytest.approx(expected, abs=1e-9)
        assert derivative(t).abs() > 1e-3


def test_spline_derivative_is_continuous_and_its_second_derivative_is_not():
    module = disturbed("spline-2")
    kept = torch.tensor([0.3], dtype=torch.float64)
    knots = module.knots(module.conditioner(kept))

    def moved(x):
        return module(torch.stack([kept[0], x]))[0][1]

    step = 1e-9
    jumps = []
    for knot in knots.x[0]:
        below, above = (jacfwd(moved)(knot + sign * step) for sign in (-1, 1))
        torch.testing.assert_close(below, above, rtol=0, atol=1e-6)
        below, above = (jacfwd(jacfwd(moved))(knot + sign * step) for sign in (-1, 1))
        jumps.append((below - above).abs().item())
    assert max(jumps) > 0.1
    for x in (-5.0 - 1e-6, 5.0 + 1e-6, 1e6):  # straight outside
        assert moved(torch.tensor(x, dtype=torch.float64)).item() == x


def test_spline_knots_are_bounded():
    module = SplineCoupling(2, (), bound=1.5)
    knots = module.knots(1e6 * torch.randn(500, 23, generator=torch.Generator().manual_seed(0)))
    assert knots.slope.log().abs().max() <= 1.5 + 1e-5
    for part in (knots.x, knots.z):
        widths = part.diff(dim=-1)
        assert (widths > 0).all() and (widths.amax(-1) / widths.amin(-1)).log().max() <= 1.5 + 1e-4
        torch.testing.assert_close(part[..., [0, -1]], torch.tensor([-5.0, 5.0]).expand(500, 1, 2))


def learn(module, optimiser, steps=200):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x = torch.randn(32, module.n, generator=generator)
        target = x.flip(-1) * torch.tensor([1.0, 1.0, -1.0])
        optimiser.zero_grad()
        loss = (module(x)[0] - target).square().mean()
        loss.backward()
        optimiser.step()
    return loss.item()


def test_rotation_is_learnt_on_the_orthogonal_group():
    module = OrthogonalMixing(3)
    loss = learn(module, geoopt.optim.RiemannianAdam(module.parameters(), lr=0.05))
    weight = module.weight.detach()
    assert loss < 1e-3
    torch.testing.assert_close(weight.mT @ weight, torch.eye(3), rtol=0, atol=1e-6)


def test_mixing_stays_exact_off_the_orthogonal_group():
    module = OrthogonalMixing(3)
    learn(module, torch.optim.Adam(module.parameters(), lr=0.05), steps=10)
    module.double()
    weight, x = module.weight.detach(), points(3)
    assert (weight.mT @ weight - torch.eye(3)).abs().max() > 1e-2
    z, log_abs_det = module(x)
    torch.testing.assert_close(module.inverse(z)[0], x, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_abs_det[0, 0], torch.linalg.slogdet(weight).logabsdet)
    assert log_abs_det[0, 0].abs() > 1e-3
    with torch.no_grad():
        module.weight.proj_()
    torch.testing.assert_close(module(x)[1], torch.zeros(2, 7).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AffineCoupling(1), "n must be"),
        (lambda: AffineCoupling(2, bound=0.0), "bound must be"),
        (lambda: AffineCoupling(2, (0,)), "hidden"),
        (lambda: Affine(0), "n must be"),
        (lambda: Affine.whitening(torch.zeros(2), -torch.eye(2)), "covariance"),
        (lambda: Affine.whitening(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "covariance"),
        (lambda: Composition([]), "maps"),
        (lambda: Composition([Affine(2), Affine(3)]), r"\[2, 3\]"),
        (lambda: alternating_couplings(2, 0), "depth"),
        (
            lambda: alternating_couplings(2, coordinates="cubic"),
            r"coordinates must be one of \['affine', 'smooth', 'spline'\], got 'cubic'",
        ),
        (lambda: OrthogonalMixing(0), "n must be"),
        (lambda: SmoothCoupling(2, bumps=0), "bumps must be at least 1, got 0"),
        (lambda: SplineCoupling(2, bins=0), "bins must be at least 1, got 0"),
        (lambda: SplineCoupling(2, radius=-1.0), "radius must be positive, got -1.0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
