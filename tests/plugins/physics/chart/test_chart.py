import numpy as np
import pytest
import torch

from ndm_apps.plugins.physics.chart import fit
from ndm_apps.plugins.physics.chart.fit import Candidate, judge
from ndm_apps.plugins.physics.chart.model import StateChart
from ndm_apps.plugins.physics.chart.opinion import Opinion, second_opinion
from ndm_apps.plugins.physics.chart.samples import OFFSETS, STRETCHES, States, directions, spread_out, stretches
from ndm_apps.plugins.physics.trajectories import Trajectories
from tests.plugins.physics.kinetic.systems import oscillators


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Enough for springs; what real motions need takes too long for a test."""
    monkeypatch.setattr(fit, "STEPS", 60)
    monkeypatch.setattr(fit, "REFINEMENT", 20)


def bent_chart(angles=()):
    torch.manual_seed(0)
    chart = StateChart(torch.zeros(3).double(), torch.ones(3).double(), angles)
    with torch.no_grad():
        for one in chart.parameters():
            one.add_(0.3 * torch.randn_like(one))
    return chart


@pytest.mark.parametrize("angles", [(), (1,)])
def test_slopes_are_those_of_the_products(angles):
    chart = bent_chart(angles)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double()
    exact = torch.func.vmap(torch.func.jacfwd(lambda y: chart.products(y[None])[0][0]))(x)
    torch.testing.assert_close(chart.products(x)[1], exact.mT)
    turned = x + 2 * torch.pi * torch.tensor([k in angles for k in range(3)]).double()
    torch.testing.assert_close(chart.products(turned)[0], chart.products(x)[0])


def two_springs(seed, frequencies=(1.0, 2**0.5), **options):
    data = oscillators(seed, frequencies, **options)
    halves = data.take(np.arange(10)), data.take(np.arange(10, 14))
    return *halves, np.zeros(4), np.arange(4), np.random.default_rng(seed)


def energy(number, frequency):
    """Gradient of the energy of one spring; columns are x, y, vx, vy."""
    weights = np.zeros(4)
    weights[[number, number + 2]] = frequency**2, 1.0
    return lambda x: weights * x


def test_sees_the_law_that_was_not_written_and_no_more():
    fitting, judging, *rest = two_springs(1000)
    one = second_opinion(fitting, judging, [energy(0, 1.0)], [], *rest)
    assert (one.written, one.seen) == (1, 2)
    assert one.tried[0].distance < 1.0 and one.tried[0].separation > 1e3
    assert "sees 2 laws; the dictionary wrote down 1: something outside the dictionary is conserved" in one.sentence
    # Its gradient lies in the span of those of the two energies.
    x = judging.values[::7]
    gradient = one.laws[0].gradient(torch.from_numpy(x)).numpy()
    span = np.stack([energy(0, 1.0)(x), energy(1, 2**0.5)(x)], -1)
    left = gradient - (span @ np.linalg.pinv(span) @ gradient[..., None])[..., 0]
    assert np.linalg.norm(left) < 0.05 * np.linalg.norm(gradient)


def test_friction_leaves_nothing():
    data = oscillators(1000, damping=0.1)
    keep = [0, 2]
    data = Trajectories(("x", "vx"), frozenset(), data.time, data.values[:, keep], data.starts)
    halves = data.take(np.arange(10)), data.take(np.arange(10, 14))
    one = second_opinion(*halves, [], [], np.zeros(2), np.arange(2), np.random.default_rng(0))
    assert one.seen == 0 and one.values()["agrees"] is True
    assert "sees 0 laws; the dictionary wrote down 0 (its best further function" in one.sentence


def test_no_room_for_more():
    fitting, judging, *rest = two_springs(1000)
    one = second_opinion(fitting, judging, [energy(0, 1.0)] * 2, [energy(1, 1.0)], *rest)
    assert one == Opinion(2, (), ())
    assert one.sentence.endswith("wrote down 2, and there is no room for another.")


def test_a_steep_wave_is_near_its_levels_and_yet_no_law():
    judging = two_springs(1000)[1]
    x, owner = spread_out(judging)
    unit = torch.from_numpy(judging.values.std(0))
    states = States(
        torch.from_numpy(x), torch.from_numpy(owner), unit, directions(np.empty((*x.shape, 0)), unit.numpy())
    )

    class Wave:
        def __call__(self, x):
            return (200 * x[:, 0]).sin()

        def gradient(self, x):
            return 200 * (200 * x[:, :1]).cos() * torch.eye(4, dtype=x.dtype)[0]

    found = judge(Wave(), states)
    assert found.distance < 4.0 and found.separation < 1.0


def test_samples_stay_within_their_trajectory():
    data = oscillators(1000, points=6)
    x, owner = stretches(data, np.random.default_rng(0))
    assert x.shape == (len(data) * STRETCHES * len(OFFSETS), 4)
    for number in range(len(data)):
        mine = data.values[6 * number : 6 * number + 6]
        assert all((row == mine).all(1).any() for row in x[owner == number])


def test_known_directions_are_taken_away():
    gradients = np.random.default_rng(0).standard_normal((5, 3, 2))
    unit = np.array([1.0, 2.0, 0.5])
    known = directions(gradients, unit)
    states = States(torch.zeros(5, 3).double(), torch.zeros(5).long(), torch.from_numpy(unit), known)
    inside = torch.from_numpy(gradients @ np.array([1.0, -2.0]) * unit)
    assert float(states.outside(inside).abs().max()) < 1e-12


def test_candidates_are_functions_of_states():
    chart = bent_chart()
    coefficients = torch.randn(34, generator=torch.Generator().manual_seed(2)).double()
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(3)).double().requires_grad_(True)
    one = Candidate(chart, coefficients)
    (slope,) = torch.autograd.grad(one(x).sum(), x)
    torch.testing.assert_close(one.gradient(x), slope)
