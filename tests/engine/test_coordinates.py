import pytest
import torch

from ndm_apps.engine.coordinates import Affine, AffineCoupling, Composition, alternating_couplings

# A new map joins this list and inherits the laws.
MAPS = {
    "coupling-2": lambda: AffineCoupling(2, (8,)),
    "coupling-5": lambda: AffineCoupling(5, (8, 8)),
    "coupling-reverse": lambda: AffineCoupling(3, (8,), reverse=True, bound=1.0),
    "coupling-linear": lambda: AffineCoupling(3, ()),
    "affine-1": lambda: Affine(1),
    "affine": lambda: Affine(4),
    "affine-diagonal": lambda: Affine(3, diagonal=True),
    "composition": lambda: Composition([Affine(3), AffineCoupling(3, (8,)), Affine(3, diagonal=True)]),
    "couplings": lambda: alternating_couplings(4, 3, (8,)),
    "couplings-1": lambda: alternating_couplings(1),
}


def disturbed(name, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    module = MAPS[name]().to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return module


def points(n, dtype=torch.float64, shape=(2, 7)):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("name", MAPS)
def test_starts_as_the_identity(name):
    module = MAPS[name]().double()
    x = points(module.n)
    z, log_abs_det = module(x)
    assert torch.equal(z, x)
    assert torch.equal(log_abs_det, torch.zeros(2, 7, dtype=torch.float64))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", MAPS)
def test_inverse(name, dtype, tolerance):
    module = disturbed(name, dtype)
    x = points(module.n, dtype)
    z, forward = module(x)
    back, backward = module.inverse(z)
    assert z.dtype == back.dtype == dtype
    assert not torch.allclose(z, x, atol=1e-2)
    torch.testing.assert_close(back, x, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(forward, -backward, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MAPS)
def test_log_determinant_is_that_of_the_jacobian(name):
    module = disturbed(name)
    for x in points(module.n, shape=(4,)):
        _, expected = torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda p: module(p)[0], x))
        torch.testing.assert_close(module(x)[1], expected, rtol=1e-12, atol=1e-12)


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
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
