import numpy as np
import pytest
import torch

from ndm_apps.errors import InputError
from ndm_apps.geometry import scalar_curvature
from ndm_apps.plugins.physics.kinetic.analysis import NoGeometryError, analyse
from ndm_apps.plugins.physics.kinetic.columns import position_columns
from ndm_apps.plugins.physics.kinetic.counting import independent_laws
from ndm_apps.plugins.physics.kinetic.functions import has_distance
from ndm_apps.plugins.physics.kinetic.learning import learn
from ndm_apps.plugins.physics.kinetic.motion import motion, windows
from ndm_apps.plugins.physics.kinetic.objective import weak_objective
from ndm_apps.plugins.physics.kinetic.settings import KineticColumns, KineticSettings
from ndm_apps.plugins.physics.kinetic.values import refused_values, result_values
from ndm_apps.plugins.physics.kinetic.verdict import cyclic_coordinates, verdict
from ndm_apps.plugins.physics.trajectories import Trajectories
from tests.plugins.physics.kinetic.systems import great_circles, oscillators

SETTINGS = KineticSettings(window=20, stride=5, points=300)


def learned(data, settings=SETTINGS, seed=0):
    positions, velocities = data.state[:2], data.state[2:]
    return learn(data, positions, velocities, settings, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def sphere():
    found = learned(great_circles(1000))
    return analyse(found, SETTINGS, np.random.default_rng(0))


def test_metric_of_the_sphere(sphere):
    q = sphere.points
    metric = sphere.learned.lagrangian.metric
    true = torch.diag_embed(torch.stack((torch.ones_like(q[:, 0]), q[:, 0].sin() ** 2), -1))
    torch.testing.assert_close(metric(q), true, rtol=0, atol=2e-3)
    torch.testing.assert_close(scalar_curvature(metric, q), torch.full_like(q[:, 0], 2.0), rtol=0, atol=0.05)


def test_symmetries_of_the_sphere(sphere):
    assert len(sphere.symmetries.metric) == len(sphere.symmetries.both) == 3
    assert sphere.algebras == ("so(3)", "so(3)")
    assert max(sphere.symmetries.drifts) < 1e-2
    assert sphere.of_both[0].text == "rotation of the angle phi"
    assert cyclic_coordinates(sphere) == ["phi"]
    # Curvature forbids nothing, and the energy is a function of the momenta.
    assert sphere.bound.directions == 2
    assert independent_laws(sphere) == 3
    assert "breaks none" in verdict(sphere)


def test_acceleration_is_that_of_the_motion(sphere):
    lagrangian, judging = sphere.learned.lagrangian, sphere.learned.judging
    q, v = (torch.from_numpy(part[0]) for part in (judging.q, judging.v))
    fit = torch.from_numpy(np.gradient(judging.v[0], judging.step[0], axis=0, edge_order=2))
    torch.testing.assert_close(lagrangian.acceleration(q, v)[2:-2], fit[2:-2], rtol=0.02, atol=0.02)


def test_noise_is_calibrated_and_the_count_stays():
    found = learned(great_circles(1001, trajectories=20, noise=0.01))
    assert found.noisy
    assert found.residual == pytest.approx(1.0, abs=0.15)
    geometry = analyse(found, SETTINGS, np.random.default_rng(0))
    assert (len(geometry.symmetries.metric), len(geometry.symmetries.both)) == (3, 3)


def test_isotropic_oscillator_has_the_tensor_of_fradkin():
    found = learned(oscillators(1000))
    # Each spring may be weighted on its own, and mixed with the other: three Lagrangians.
    assert found.expansion.many == 3
    geometry = analyse(found, SETTINGS, np.random.default_rng(0))
    assert (len(geometry.symmetries.metric), len(geometry.symmetries.both)) == (3, 1)
    assert [one.text for one in geometry.of_both] == ["rotation about the origin"]
    assert (geometry.quadratic.reducible, geometry.quadratic.irreducible) == (2, 2)
    assert max(geometry.quadratic_drifts) < 1e-5
    assert independent_laws(geometry) == 3
    assert geometry.isometry_residual < 1e-3
    values = result_values(geometry, KineticColumns(positions=("x", "y"), velocities=("vx", "vy")))
    assert values["n_conserved"] == 3
    assert values["kinetic"]["broken_by_potential"] == ["translation along x", "translation along y"]
    assert values["worst_drift"] < 1e-5
    assert values["invariants"][0]["expression"].count("**2") == 4


def test_friction_has_no_such_lagrangian():
    found = learned(oscillators(1000, (1.0, 1.6), damping=0.1))
    assert not found.solves
    with pytest.raises(NoGeometryError, match="of the momenta on held-out"):
        analyse(found, SETTINGS, np.random.default_rng(0))
    values = refused_values(found, KineticColumns(positions=("x", "y"), velocities=("vx", "vy")), "reason")
    assert values["n_conserved"] == 0
    assert values["verdict"] == "No kinetic metric and potential explain the motions: reason."


def test_network_finds_the_rotation():
    settings = SETTINGS.model_copy(update={"solver": "metric_net", "hidden": (16, 16), "steps": 150, "refinement": 60})
    found = learned(oscillators(1000, noise=0.0), settings)
    assert found.solves and found.network is not None
    one = analyse(found, settings.model_copy(update={"tolerance": 0.2}), np.random.default_rng(0))
    assert len(one.symmetries.both) >= 1
    assert one.bound is None
    again = learned(oscillators(1000, noise=0.0), settings)
    assert again.residual == found.residual


def test_uneven_times_and_gaps():
    data = oscillators(1002)
    rng = np.random.default_rng(5)
    pieces = []
    for time, values in data.each():
        kept = np.sort(rng.choice(len(time), len(time) - 4, replace=False))
        pieces.append((time[kept], values[kept]))
    lengths = [len(time) for time, _ in pieces]
    uneven = Trajectories(
        data.state,
        data.angles,
        np.concatenate([time for time, _ in pieces]),
        np.concatenate([values for _, values in pieces]),
        np.concatenate([[0], np.cumsum(lengths)[:-1]]),
    )
    found = learned(uneven)
    assert found.solves
    gap = Trajectories(data.state, data.angles, *_without(data, 30, 40), data.starts - 10 * np.arange(len(data)))
    assert len(motion(gap, ("x", "y"), ("vx", "vy")).q) == 2 * len(data)


def _without(data, first, last):
    kept = np.concatenate(
        [np.r_[s : s + first, s + last : s + n] for s, n in zip(data.starts, data.lengths, strict=True)]
    )
    return data.time[kept], data.values[kept]


def test_columns_are_told_from_the_data():
    found = position_columns(oscillators(1000))
    assert (found.positions, found.velocities) == (("x", "y"), ("vx", "vy"))
    flat = Trajectories.on_grid(("a",), frozenset(), np.arange(30.0), np.random.default_rng(0).normal(size=(3, 30, 1)))
    with pytest.raises(InputError, match="no column of a is the velocity"):
        position_columns(flat)


@pytest.mark.parametrize(
    ("positions", "velocities", "message"),
    [(("z",), ("vx",), "positions must be columns among x, y, vx, vy, got 'z'"), (("x", "y"), ("vx",), "got 1 for 2")],
)
def test_wrong_columns(positions, velocities, message):
    with pytest.raises(ValueError, match=message):
        motion(oscillators(1000), positions, velocities)


def test_windows_longer_than_the_data():
    data = motion(oscillators(1000), ("x",), ("vx",))
    with pytest.raises(ValueError, match="window must be at most the 80 samples"):
        windows(data, 81, 1)


def test_one_trajectory_cannot_be_judged():
    with pytest.raises(ValueError, match="two or more"):
        learned(oscillators(1000).take(np.array([0])))


def test_objective_of_the_true_lagrangian_with_and_without_noise():
    class Springs:
        metric = staticmethod(lambda q: torch.eye(2, dtype=q.dtype).expand(*q.shape, 2))
        potential = staticmethod(lambda q: q.square().sum(-1) / 2)

    def value(data, noise):
        whole = motion(data, ("x", "y"), ("vx", "vy"))
        sizes = None if noise is None else tuple(torch.from_numpy(one) for one in noise)
        speeds = whole.samples()[1].std(0, correction=0)
        return weak_objective(whole, 20, 5, speeds, sizes, torch.Generator().manual_seed(0))

    exact = value(oscillators(1000), None)
    assert float(exact(Springs()).detach()) < 1e-10
    assert float(exact.exact(torch.tensor([0, 7]))(Springs()).detach()) < 1e-10
    spread = oscillators(1000).values.std(0)
    noisy = value(oscillators(1000, noise=0.01, trajectories=60), (0.01 * spread[:2], 0.01 * spread[2:]))
    assert float(noisy(Springs()).detach()) == pytest.approx(1.0, abs=0.15)


def test_distances_need_room_for_errors():
    q = torch.tensor([[0.05, 0.0], [1.0, 1.0], [0.0, 1.0]]).double()
    assert has_distance(q, (), None) and not has_distance(q, (0,), None) and not has_distance(q[:, :1], (), None)
    assert has_distance(q, (), torch.tensor([0.004, 0.004]))
    assert not has_distance(q, (), torch.tensor([0.001, 0.006]))
    assert not has_distance(q / torch.tensor([10.0, 1.0]), (), None)
