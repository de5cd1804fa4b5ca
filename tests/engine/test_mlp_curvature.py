import pytest
import torch

from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.engine.mlp_curvature import Pattern, column_blocks, factor_curvature, random_signs
from ndm_apps.geometry import scalar_curvature, scalar_curvature_from_jets
from ndm_apps.geometry.scalar import mean_square_curvature
from tests.engine.test_metric_net import STRUCTURES, disturbed, points

close = torch.testing.assert_close
FACTORS = ["cholesky", "block", "low_rank"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("hidden", [(9,), (6, 7), (5, 6, 4), (5, 4, 6, 5)])
@pytest.mark.parametrize("n", [2, 4, 7])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_any_depth_is_exact(structure, n, hidden):
    net, x = disturbed(structure, n, hidden), points(n, 5)
    general = scalar_curvature_from_jets(net, x)
    assert general.abs().max() > 1e-2
    close(net.scalar_curvature(x), general, rtol=1e-10, atol=1e-10 * general.abs().max().item())


@pytest.mark.parametrize("width", [1, 2, 3, 16])
@pytest.mark.parametrize("structure", FACTORS)
def test_blocks_skip_zeros_only(structure, width):
    net, x = disturbed(structure, 7), points(7, 4)
    pattern = torch.zeros(net.structure.pattern_shape)
    pattern.view(-1)[net.structure.entries] = 1
    blocks = column_blocks(pattern, width)
    covered = torch.zeros_like(pattern)
    for block in blocks:
        covered[block.rows, block.columns] += 1
    assert (covered <= 1).all() and (covered >= pattern).all()
    *hidden, output = net.mlp.affine()
    got = factor_curvature(hidden, output, Pattern(net.structure.entries, pattern.shape[1], blocks), x, net.eps)
    close(got, scalar_curvature_from_jets(net, x), rtol=1e-10, atol=1e-10 * got.abs().max().item())


@pytest.mark.parametrize("structure", STRUCTURES)
def test_derivatives_of_curvature_of_every_order_are_right(structure):
    """Gradient and Hessian in x, by reverse over reverse and by forward over reverse: no step is hidden from torch."""
    net, (x,) = disturbed(structure, 3, (5, 4)), points(3, 1)

    def by(curvature):
        return lambda y: curvature(y.unsqueeze(0)).squeeze(0)

    fast, general = by(net.scalar_curvature), by(lambda y: scalar_curvature_from_jets(net, y))
    hessian = torch.autograd.functional.hessian(general, x)
    close(torch.autograd.functional.hessian(fast, x), hessian, rtol=1e-8, atol=1e-9 * hessian.abs().max().item())
    step = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    _, along = torch.func.jvp(torch.func.grad(fast), (x,), (step,))
    close(along, hessian @ step, rtol=1e-8, atol=1e-9 * hessian.abs().max().item())


@pytest.mark.parametrize("structure", STRUCTURES)
def test_gradient_in_the_weights_against_finite_differences(structure):
    net, x = disturbed(structure, 3, (3, 4)), points(3, 2)
    names, values = zip(*net.named_parameters(), strict=True)

    class Curvature(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net.scalar_curvature(x)

    def curvature(*parameters):
        state = {f"net.{name}": value for name, value in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Curvature(), state, (x,))

    assert torch.autograd.gradcheck(curvature, [value.detach().requires_grad_() for value in values])


@pytest.mark.parametrize("structure", STRUCTURES)
def test_float32_is_close(structure):
    net, x = disturbed(structure, 6, (8, 8)), points(6, 20)
    exact = net.scalar_curvature(x)
    close(net.float().scalar_curvature(x.float()).double(), exact, rtol=1e-3, atol=1e-4 * exact.abs().max().item())


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_lines_are_flat_and_batches_have_any_shape(structure, method):
    line = disturbed(structure, 1)
    flat = scalar_curvature(line, points(1, 4), method=method)
    scale = scalar_curvature_from_jets(line, points(1, 4)).abs().max() + 1
    close(flat, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12 * scale.item())
    for shape in ((), (3,), (2, 3), (0,), (2, 0, 3)):
        assert scalar_curvature(disturbed(structure, 4), points(4, *shape), method=method).shape == shape


@pytest.mark.parametrize("hidden", [(6, 6), (5, 6, 7)])
@pytest.mark.parametrize("structure", FACTORS)
def test_sketches_are_unbiased(structure, hidden):
    net, (x,) = disturbed(structure, 4, hidden), points(4, 1)
    exact = net.scalar_curvature(x)
    with torch.no_grad():
        samples = net.curvature_estimates(x, 1, generator(), copies=6000)
    error = samples.std() / len(samples) ** 0.5
    assert error > 1e-6 * exact.abs()  # the sketches do differ
    assert abs(samples.mean() - exact) < 3.5 * error


@pytest.mark.parametrize("structure", FACTORS)
def test_a_full_set_of_signs_is_exact(structure):
    net, x = disturbed(structure, 4, (5, 8)), points(4, 6)
    *hidden, output = net.mlp.affine()
    shape = net.structure.pattern_shape
    pattern = Pattern(net.structure.entries, shape[1], column_blocks(torch.ones(shape)))
    exact = net.scalar_curvature(x)
    full = factor_curvature(hidden, output, pattern, x, net.eps, random_signs((2, 8, 8), generator(), x))
    close(full, exact.expand(2, -1), rtol=1e-10, atol=1e-10)
    half = factor_curvature(hidden, output, pattern, x, net.eps, random_signs((2, 4, 8), generator(), x))
    assert not torch.allclose(half, full, rtol=1e-3)


@pytest.mark.parametrize(
    ("structure", "n", "hidden", "probes"),
    [
        ("cholesky", 2, (6, 5), 1),
        ("low_rank", 4, (7,), 1),
        ("block", 4, (6, 5), 5),
        ("diagonal", 4, (6, 5), 1),
        ("conformal", 4, (6, 5), 1),
    ],
)
def test_nothing_is_estimated_where_exact_is_as_cheap(structure, n, hidden, probes):
    net, x = disturbed(structure, n, hidden), points(n, 3)
    close(scalar_curvature(net, x, "stochastic", probes), net.scalar_curvature(x), rtol=0, atol=0)


def test_sketches_come_from_the_generator_and_are_averaged():
    net, (x,) = disturbed("cholesky", 4, (16, 16)), points(4, 1)

    def estimates(probes, seed):
        with torch.no_grad():
            return net.curvature_estimates(x, probes, generator(seed), copies=1500)

    close(estimates(2, 0), estimates(2, 0), rtol=0, atol=0)
    assert not torch.equal(estimates(2, 0), estimates(2, 1))
    # Rows of one set are orthogonal: 8 of 16 leave (16 - 8) / (16 - 1) / 8 of the variance, not 1 / 8.
    ratio = estimates(1, 0).var() / estimates(8, 1).var()
    assert 11 < ratio < 20


def test_mean_square_from_two_sketches_is_unbiased():
    net, x = disturbed("cholesky", 4, (6, 6)), points(4, 7)
    exact = net.scalar_curvature(x).square().mean()
    source = generator()
    with torch.no_grad():
        samples = torch.stack([mean_square_curvature(net, x, 1, source) for _ in range(500)])
        biased = net.curvature_estimates(x, 1, source, copies=1500).square().mean()
    error = samples.std() / len(samples) ** 0.5
    assert abs(samples.mean() - exact) < 3.5 * error
    assert biased - exact > 5 * error  # so the line above would notice the square of one estimate


def test_random_signs_have_the_identity_as_second_moment():
    signs = random_signs((4000, 2, 6), generator(), torch.zeros((), dtype=torch.float64))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    moment = (signs.mT @ signs / 2).mean(0)
    close(moment, torch.eye(6, dtype=torch.float64), rtol=0, atol=0.06)
    full = random_signs((3, 8, 8), generator(), signs)
    close(full @ full.mT, 8 * torch.eye(8, dtype=torch.float64).expand(3, 8, 8))
    with pytest.raises(ValueError, match="probes must be at most 8 for 6 units, got 9"):
        random_signs((1, 9, 6), None, signs)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_training_on_curvature_flattens_a_metric(structure):
    torch.manual_seed(0)
    net = MetricNet(4, (16, 16), structure, **STRUCTURES[structure])
    x = points(4, 32).float()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = net.scalar_curvature(x).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(5, 3, dtype=torch.long), "x must be .*float.*, got torch.int64"),
        (torch.zeros(5, 2), r"x must have shape \(\.\.\., 3\), got \(5, 2\)"),
        (torch.tensor([[0.0, 0.0, 0.0], [0.0, float("nan"), 0.0]]), r"x must be finite, got \[0.0, nan, 0.0\] at samp"),
    ],
)
def test_wrong_points(structure, x, message):
    net = MetricNet(3, (4,), structure)
    for method in ("exact", "stochastic"):
        with pytest.raises(ValueError, match=message):
            scalar_curvature(net, x, method=method)
    with pytest.raises(ValueError, match=message):
        net.scalar_curvature(x)
