import pytest
import torch

from ndm_apps.geometry import geodesic
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.paths import geodesic_paths, line, slerp
from ndm_apps.plugins.generative.pull_back import pull_back
from tests.plugins.generative.latent import codes, small_model


def test_great_arcs_turn_at_equal_speed_between_the_ends():
    x, y = codes(5), codes(5, seed=1)
    y = y * (x.norm(dim=1) / y.norm(dim=1))[:, None]
    arc = slerp(x, y, 9)
    torch.testing.assert_close(arc[:, 0], x)
    torch.testing.assert_close(arc[:, -1], y)
    torch.testing.assert_close(arc.norm(dim=2), x.norm(dim=1)[:, None].expand(5, 9))
    steps = arc.diff(dim=1).norm(dim=2)
    torch.testing.assert_close(steps, steps[:, :1].expand(5, 8))


def test_great_arcs_of_one_direction_are_lines():
    x = codes(3)
    torch.testing.assert_close(slerp(x, 2 * x, 5), line(x, 2 * x, 5))
    assert slerp(x, -x, 5).isfinite().all()


@pytest.mark.parametrize("name", ["labels", "free", "avoid", "head", "pixels"])
def test_geodesics_are_those_of_newton(name):
    model, x, y = small_model(), codes(6), codes(6, seed=1)
    metric = {
        "labels": lambda: latent_metric(model),
        "free": lambda: latent_metric(model, entropy=0.0),
        "avoid": lambda: latent_metric(model, avoid=1.0, keep=(0, 1)),
        "head": lambda: latent_metric(model, head=0.3),
        "pixels": lambda: pull_back(model),
    }[name]()
    found = geodesic_paths(metric, x, y, 17, iterations=60, tolerance=1e-15)
    # From where they are, Newton's method finds nothing better near by.
    best = geodesic(lambda z: metric(z), x, y, 17, refinements=0, initial=found.points)
    assert found.converged.all() and best.converged.all()
    torch.testing.assert_close(found.energy, best.energy, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.points, best.points, rtol=0, atol=1e-5)
    assert (found.length.square() <= found.energy * (1 + 1e-12)).all()
    assert torch.equal(found.points[:, 0], x) and torch.equal(found.points[:, -1], y)


def test_geodesics_are_no_longer_than_lines_and_go_where_data_are():
    model, x, y = small_model(), codes(20), codes(20, seed=1)
    metric = latent_metric(model)
    found, straight = geodesic_paths(metric, x, y, 33), line(x, y, 33)
    middle, chord = (straight[:, 1:] + straight[:, :-1]) / 2, straight.diff(dim=1)
    energy = 32 * (metric.weight(middle) * chord.square().sum(-1)).sum(1) / model.scale
    assert (found.energy <= energy * (1 + 1e-12)).all() and (found.energy < 0.95 * energy).any()
    assert metric.weight(found.points).mean() < metric.weight(straight).mean()


def test_way_points_are_on_the_way():
    model, x, y, through = small_model(), codes(4), codes(4, seed=1), codes(4, 2, seed=2)
    keep = torch.tensor([[0, 1], [1, 2], [0, 2], [2, 2]])
    metric = latent_metric(model, avoid=1.0, keep=keep)
    found = geodesic_paths(metric, x, y, 9, through=through)
    assert found.points.shape == (4, 25, 4) and found.converged.all()
    torch.testing.assert_close(found.points[:, [0, 8, 16, 24]], torch.cat((x[:, None], through, y[:, None]), 1))
    leg = geodesic_paths(metric, through[:, 0], through[:, 1], 9)
    torch.testing.assert_close(found.points[:, 8:17], leg.points, rtol=0, atol=1e-6)


def test_ends_without_data_are_refused():
    model, x = small_model(), codes(3)
    far = x.clone()
    far[1] = 100.0
    with pytest.raises(ValueError, match="y: "):
        geodesic_paths(latent_metric(model), x, far)
    with pytest.raises(ValueError, match="x: "):
        geodesic_paths(pull_back(model), x * torch.nan, x)
    with pytest.raises(ValueError, match="through: "):
        geodesic_paths(latent_metric(model), x, x, through=far[:, None])
