import numpy as np
import pytest

from ndm_apps.plugins.planning.baselines.objective import OUTSIDE, Objective, far
from ndm_apps.plugins.planning.baselines.proposals import Categorical, Normal, coloured
from ndm_apps.plugins.planning.baselines.sampling import cem, mppi, random_shooting
from ndm_apps.plugins.planning.baselines.settings import CemSettings, MppiSettings, ShootingSettings
from tests.plugins.planning.baselines.carts import CART, cart_problem


def driven(controller, problem, steps=30):
    x = np.array([1.0, 0.0])
    controller.start(x)
    cost = 0.0
    for _ in range(steps):
        u = controller.control(x)
        assert (problem.low <= u).all() and (u <= problem.high).all()
        cost += float(np.square(problem.residual(x)).sum() + u @ problem.control_cost @ u)
        x = CART.step(x[None], u[None])[0]
    return cost, x


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (cem, CemSettings(horizon=15, colour=1.0)),
        (mppi, MppiSettings(horizon=15, colour=1.0)),
        (random_shooting, ShootingSettings(horizon=15)),
    ],
)
@pytest.mark.parametrize("discrete", [False, True])
def test_a_cart_is_brought_to_rest_at_the_goal(method, settings, discrete):
    problem = cart_problem(levels=np.array([[-1.0], [0.0], [1.0]]) if discrete else None)
    cost, x = driven(method(CART, problem, settings, np.random.default_rng(0)), problem)
    idle = 30 * 1.0
    assert cost < 0.5 * idle
    assert np.linalg.norm(x) < 0.4


def test_a_plan_is_repeated_exactly_with_the_same_generator():
    problem = cart_problem()
    runs = [driven(cem(CART, problem, CemSettings(horizon=8), np.random.default_rng(3)), problem, 5)[0] for _ in "ab"]
    assert runs[0] == runs[1]


def test_the_cost_of_a_sequence_is_the_sum_over_its_rollout():
    problem = cart_problem()
    u = np.array([[[0.5], [-1.0]]])
    x0 = np.array([1.0, 0.2])
    x1 = CART.step(x0[None], u[:, 0])[0]
    expected = sum(np.square(problem.residual(x)).sum() for x in (x0, x1)) + 0.1 * (0.25 + 1.0)
    assert Objective(CART, problem)(x0, u) == pytest.approx([expected])
    held = Objective(CART, problem, hold=2)(x0, u[:, :1])
    assert held == pytest.approx(Objective(CART, problem)(x0, np.repeat(u[:, :1], 2, axis=1)))


def test_time_stops_at_the_goal_and_limits_are_refused():
    problem = cart_problem(objective="time", limits=(-2.0, 2.0))
    objective = Objective(CART, problem)
    push = np.ones((1, 20, 1))
    assert objective(np.array([0.005, 0.0]), 0 * push) == pytest.approx([1.0])  # there after the first step
    assert objective(np.array([1.9, 1.0]), push)[0] > OUTSIDE
    assert far(CART, problem, problem.goal) == 0
    assert far(CART, problem, np.array([1.0, 0.0])) > far(CART, problem, np.array([0.5, 0.0]))


def test_normal_is_fitted_to_the_samples_that_count():
    proposal = Normal(cart_problem(), 3, spread=0.5, colour=0.0)
    samples = np.linspace(-1.0, 1.0, 12).reshape(4, 3, 1)
    proposal.fit(samples, np.array([0.0, 0.5, 0.5, 0.0]))
    assert proposal.mean == pytest.approx(samples[1:3].mean(0))
    before = proposal.mean
    proposal.advance(over=False)
    assert proposal.mean == pytest.approx(before) and (proposal.deviation == 0.5).all()
    proposal.advance(over=True)
    assert proposal.mean[-1] == proposal.mean[-2] == pytest.approx(samples[1:3].mean(0)[-1])


def test_a_held_control_is_dropped_when_its_time_is_over():
    problem = cart_problem()
    over = []

    class Watched(Normal):
        def advance(self, *args, **kwargs):
            over.append(args[0])
            super().advance(*args, **kwargs)

    planner = cem(CART, problem, CemSettings(horizon=6, hold=3, iterations=1), np.random.default_rng(0))
    planner.start_proposal = lambda: Watched(problem, 6, spread=0.5, colour=0.0)
    driven(planner, problem, steps=7)
    assert over == [False, False, True] * 2


def test_categorical_draws_levels_by_their_chances():
    proposal = Categorical(np.array([[-1.0], [1.0]]), 2, spread=0.1)
    proposal.fit(np.array([[[1.0], [-1.0]]]), np.ones(1))
    drawn = proposal.sample(50, np.random.default_rng(0))
    assert (drawn == [[1.0], [-1.0]]).all()
    assert proposal.first() == 1.0


def test_coloured_noise_has_its_spectrum():
    noise = coloured(np.random.default_rng(0), (4000, 64, 1), 2.0)[..., 0]
    power = np.square(np.abs(np.fft.rfft(noise, axis=1))).mean(0)
    assert power[4] / power[16] == pytest.approx(16.0, rel=0.1)
    assert noise.std() == pytest.approx(1.0, rel=0.02)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="kept, elites and samples must not fall"):
        CemSettings(samples=10, elites=20)
