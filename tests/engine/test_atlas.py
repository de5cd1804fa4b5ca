import pytest
import torch
from torch import nn

from ndm_apps.engine.atlas import Atlas
from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.gaussian_chart import GaussianChart


class Bowl(nn.Module):
    """A chart with parameters and nothing but an energy."""

    def __init__(self, centre=0.0):
        super().__init__()
        self.centre = nn.Parameter(torch.full((2,), centre, dtype=torch.float64))

    def energy(self, x):
        return (x - self.centre).square().sum(-1)


def cloud(centre, seed=0, count=40):
    generator = torch.Generator().manual_seed(seed)
    return centre + torch.randn(count, 2, generator=generator, dtype=torch.float64)


def gaussian(centre, seed=0):
    chart = GaussianChart(2)
    chart.update(cloud(centre, seed))
    return chart


# A new chart joins this list and inherits the laws.
CHARTS = {"bowl": Bowl, "gaussian": gaussian}
EMPTY = {"bowl": Bowl, "gaussian": lambda: GaussianChart(2)}


def atlas_of(kind, *centres):
    atlas = Atlas(EMPTY[kind])
    for centre in centres:
        atlas.grow(CHARTS[kind](centre))
    return atlas


@pytest.mark.parametrize("kind", CHARTS)
def test_growing_leaves_old_charts_alone(kind):
    x = cloud(1.0, seed=3)
    atlas = atlas_of(kind, 0.0, 4.0)
    before = atlas.energies(x)
    assert atlas.grow(CHARTS[kind](8.0)) == 2 and len(atlas) == 3
    assert torch.equal(atlas.energies(x)[..., :2], before)


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("kind", CHARTS)
def test_partition_of_unity(kind, temperature):
    atlas = atlas_of(kind, 0.0, 4.0, 8.0)
    x = cloud(4.0, seed=3).reshape(5, 8, 2) * 3
    weights = atlas.partition_of_unity(x, temperature)
    assert weights.shape == (5, 8, 3) and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(5, 8).double(), rtol=1e-14, atol=0)
    assert torch.equal(weights.argmax(-1), atlas.route(x))
    assert torch.equal(atlas(x), atlas.partition_of_unity(x))


@pytest.mark.parametrize("kind", CHARTS)
def test_routes_points_home(kind):
    atlas = atlas_of(kind, 0.0, 10.0, 20.0)
    for chart, centre in enumerate((0.0, 10.0, 20.0)):
        assert (atlas.route(cloud(centre, seed=5)) == chart).all()


def test_partition_is_that_of_the_densities():
    atlas = atlas_of("gaussian", 0.0, 2.0)
    x = cloud(1.0, seed=3)
    densities = torch.stack(
        [torch.distributions.MultivariateNormal(c.mean, c.covariance()).log_prob(x).exp() for c in atlas.charts], dim=-1
    )
    expected = densities / densities.sum(-1, keepdim=True)
    torch.testing.assert_close(atlas.partition_of_unity(x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", CHARTS)
def test_remove_renumbers(kind):
    x = cloud(1.0, seed=3)
    atlas = atlas_of(kind, 0.0, 4.0, 8.0)
    atlas.freeze(2)
    before, chart = atlas.energies(x), atlas.charts[1]
    assert atlas.remove(1) is chart
    assert torch.equal(atlas.energies(x), before[..., [0, 2]])
    assert atlas.frozen.tolist() == [False, True]


def test_freezing():
    atlas = atlas_of("bowl", 0.0, 4.0)
    atlas.freeze(0)
    atlas.energies(cloud(1.0)).sum().backward()
    assert atlas.charts[0].centre.grad is None and atlas.charts[1].centre.grad is not None
    assert atlas.frozen.tolist() == [True, False]
    atlas = atlas_of("gaussian", 0.0)
    atlas.freeze(0)
    before = atlas.energies(cloud(1.0))
    atlas.charts[0].update(cloud(9.0))
    assert torch.equal(atlas.energies(cloud(1.0)), before)


@pytest.mark.parametrize(("index", "other", "merged"), [(0, 2, 0), (2, 0, 1)])
def test_merge(index, other, merged):
    atlas = atlas_of("gaussian", 0.0, 4.0, 8.0)
    assert atlas.merge(index, other) == merged and len(atlas) == 2
    both = GaussianChart(2)
    both.update(torch.cat([cloud(0.0), cloud(8.0)]))
    x = cloud(1.0, seed=3)
    torch.testing.assert_close(atlas.charts[merged].energy(x), both.energy(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", CHARTS)
@pytest.mark.parametrize("size", [0, 1, 5])
def test_state_round_trip_sets_the_number_of_charts(tmp_path, kind, size):
    x = cloud(1.0, seed=3)
    atlas = atlas_of(kind, 0.0, 4.0, 8.0)
    atlas.freeze(1)
    save_state(tmp_path / "s", nn.ModuleDict({"atlas": atlas}).state_dict())
    other = nn.ModuleDict({"atlas": atlas_of(kind, *map(float, range(size)))})
    other.load_state_dict(load_state(tmp_path / "s"))
    loaded = other["atlas"]
    assert torch.equal(loaded.energies(x), atlas.energies(x))
    assert loaded.frozen.tolist() == [False, True, False]
    assert not any(parameter.requires_grad for parameter in loaded.charts[1].parameters())
    assert all(parameter.requires_grad for parameter in loaded.charts[0].parameters())


def test_without_factory_the_number_of_charts_must_fit():
    saved = atlas_of("bowl", 0.0, 4.0).state_dict()
    atlas = Atlas()
    with pytest.raises(RuntimeError, match="size mismatch"):
        atlas.load_state_dict(saved)
    for centre in (1.0, 2.0):
        atlas.grow(Bowl(centre))
    atlas.load_state_dict(saved)
    assert atlas.charts[1].centre.tolist() == [4.0, 4.0]


def test_wrong_use():
    atlas = atlas_of("bowl", 0.0, 4.0)
    for call, message in (
        (lambda: Atlas().route(cloud(0.0)), "no charts"),
        (lambda: atlas.grow(nn.Linear(2, 2)), "energy"),
        (lambda: atlas.grow(atlas.charts[0]), "already"),
        (lambda: atlas.freeze(2), r"0 \.\.\. 1, got 2"),
        (lambda: atlas.remove(-1), "got -1"),
        (lambda: atlas.merge(0, 0), "0 twice"),
        (lambda: atlas.merge(0, 1), "method merge"),
        (lambda: atlas.partition_of_unity(cloud(0.0), 0.0), "temperature"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert len(atlas) == 2
    atlas.freeze(0)
    with pytest.raises(ValueError, match="not frozen"):
        atlas.merge(0, 1)
