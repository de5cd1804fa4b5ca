import pytest
import torch
from torch import nn

from ndm_apps.engine.atlas import Atlas, HasCoordinates, Transition
from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.coordinates import Affine
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


def gaussian(centre, seed=0, count=40):
    chart = GaussianChart(2)
    chart.update(cloud(centre, seed, count))
    return chart


# A new chart joins this list and inherits the laws.
CHARTS = {"bowl": Bowl, "gaussian": gaussian}
EMPTY = {"bowl": Bowl, "gaussian": lambda: GaussianChart(2)}


def atlas_of(kind, *centres):
    atlas = Atlas(EMPTY[kind])
    for centre in centres:
        atlas.grow(CHARTS[kind](centre))
    return atlas


def old_view(atlas, x):
    """What two charts compute at points, and what they make of them between themselves."""
    energies = atlas.energies(x)[..., :2].contiguous()
    seen = [energies, torch.softmax(-energies, dim=-1), energies.argmin(-1)]
    if isinstance(atlas.charts[0], HasCoordinates):
        seen += [atlas.charts[0](x), *atlas.transition(0, 1)(x), *atlas.transition(0, 1).inverse(x)]
    return seen


@pytest.mark.parametrize("kind", CHARTS)
def test_growing_leaves_old_charts_alone_to_the_bit(kind):
    x = cloud(1.0, seed=3)
    atlas = atlas_of(kind, 0.0, 4.0)
    before, weights = old_view(atlas, x), atlas.partition_of_unity(x)
    assert torch.equal(weights, before[1])
    assert atlas.grow(CHARTS[kind](8.0)) == 2 and len(atlas) == 3
    assert all(torch.equal(old, new) for old, new in zip(before, old_view(atlas, x), strict=True))
    # The new chart takes its share from all old ones alike; dividing that share out again costs a rounding.
    among_old = atlas.partition_of_unity(x)[..., :2]
    torch.testing.assert_close(among_old / among_old.sum(-1, keepdim=True), weights, rtol=1e-13, atol=0)


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


def skewed_atlas(charts=3, n=4):
    generator = torch.Generator().manual_seed(7)
    atlas = Atlas()
    for _ in range(charts):
        mix = torch.randn(n, n, generator=generator).double() + 2 * torch.eye(n)
        chart = GaussianChart(n)
        chart.update(10 * torch.randn(n, generator=generator) + torch.randn(60, n, generator=generator) @ mix.float())
        atlas.grow(chart)
    return atlas, 10 * torch.randn(5, 8, n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("i", "j"), [(0, 1), (2, 0), (1, 1)])
def test_transitions_are_inverse_to_one_another(i, j):
    atlas, x = skewed_atlas()
    there, forth = atlas.transition(i, j)(x)
    for back, again in (atlas.transition(j, i)(there), atlas.transition(i, j).inverse(there)):
        torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(forth + again, torch.zeros(5, 8).double(), rtol=0, atol=1e-10)


def test_transitions_change_names_and_nothing_else():
    atlas, x = skewed_atlas()
    z = [chart(x) for chart in atlas.charts]
    change = atlas.transition(0, 1)
    moved, log_abs_det = change(z[0])
    torch.testing.assert_close(moved, z[1], rtol=1e-10, atol=1e-10)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda p: change(p)[0]))(z[0].reshape(-1, 4))
    torch.testing.assert_close(log_abs_det.flatten(), torch.linalg.slogdet(jacobian)[1], rtol=1e-10, atol=1e-10)


def test_transitions_satisfy_the_cocycle_condition():
    atlas, z0 = skewed_atlas()
    z1, first = atlas.transition(0, 1)(z0)
    z2, second = atlas.transition(1, 2)(z1)
    direct, whole = atlas.transition(0, 2)(z0)
    torch.testing.assert_close(z2, direct, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(first + second, whole, rtol=1e-10, atol=1e-10)


def drawn(seed, shift=0.0, scale=1.0, count=150, n=4):
    """An atlas of two charts, the second of a distribution that is moved by ``shift`` standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(n, n, generator=generator).double()
    direction = torch.nn.functional.normalize(torch.randn(n, generator=generator).double(), dim=0)
    atlas = Atlas()
    for moved, stretched in ((0.0, 1.0), (shift, scale)):
        white = torch.randn(count, n, generator=generator, dtype=torch.float64)
        chart = GaussianChart(n)
        chart.update((stretched * white + moved * direction) @ mix)
        atlas.grow(chart)
    return atlas


SEEDS = range(200)


def test_charts_of_one_distribution_are_found():
    assert sum(drawn(seed).duplicates() == [(0, 1)] for seed in SEEDS) >= 190


@pytest.mark.parametrize("different", [{"shift": 1.0}, {"scale": 1.5}])
def test_charts_of_two_distributions_are_not_merged(different):
    assert sum(drawn(seed, **different).merge_duplicates() == [0, 0] for seed in SEEDS) <= 10


def test_what_is_detectable_is_detected():
    """Means that are just as far apart as the test can notice are told apart 19 times in 20."""
    shift = drawn(0).charts[0].compare(drawn(0).charts[1]).detectable
    assert 0.3 < shift < 1.0
    assert 2 <= sum(drawn(seed, shift).duplicates(effect=10.0) == [(0, 1)] for seed in SEEDS) <= 20


def test_charts_that_know_too_little_are_left_alone():
    assert drawn(0, count=5).duplicates(effect=100.0) == []
    assert drawn(0, count=40).duplicates() == [] and drawn(0, count=40).duplicates(effect=2.0) == [(0, 1)]
    assert atlas_of("bowl", 0.0, 0.0).duplicates() == []


@pytest.mark.parametrize("frozen", [(), (0,), (0, 2)])
def test_merging_duplicates_pools_their_statistics_exactly(frozen):
    """Whole numbers, sixty-four at a time: sums and quotients by powers of two have no rounding."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randint(-8, 9, (64, 2), generator=generator).double() for _ in range(4)]
    parts = [part - part.sum(0) / 64 for part in parts]
    parts[1] = parts[1] + 32
    atlas = Atlas()
    for part in parts[:3]:
        atlas.grow(GaussianChart(2))
        atlas.charts[-1].update(part)
    for index in frozen:
        atlas.freeze(index)
    numbers = atlas.merge_duplicates(effect=2.0)
    assert numbers == {(): [0, 1, 0], (0,): [1, 0, 1], (0, 2): [0, 1, 2]}[frozen]
    assert len(atlas) == len(set(numbers))
    if len(atlas) == 2:
        whole = GaussianChart(2)
        whole.update(torch.cat([parts[0], parts[2]]))
        merged = atlas.charts[numbers[0]]
        assert all(torch.equal(getattr(merged, name), getattr(whole, name)) for name in ("count", "mean", "scatter"))
        assert not bool(atlas.frozen[numbers[0]])


def test_merging_goes_on_until_no_duplicates_are_left():
    atlas = Atlas()
    for seed, centre in enumerate((0.0, 9.0, 0.0, 9.0, 0.0)):
        atlas.grow(gaussian(centre, seed=seed, count=200))
    assert atlas.merge_duplicates() == [0, 1, 0, 1, 0]
    assert [int(chart.count) for chart in atlas.charts] == [600, 400]


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


def test_charts_that_a_state_asks_for_are_moved_to_where_the_atlas_is():
    class Moved(Bowl):
        def to(self, device):
            self.moved = device
            return super().to(device)

    atlas = Atlas(Moved)
    atlas.load_state_dict(atlas_of("bowl", 0.0, 4.0).state_dict())
    assert [chart.moved for chart in atlas.charts] == 2 * [atlas.frozen.device]


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
        (lambda: atlas.transition(0, 1), r"method coordinates\(\), got Bowl"),
        (lambda: Transition(Affine(2), Affine(3)), "got 2 and 3"),
        (lambda: atlas.duplicates(effect=0.0), "effect must be positive"),
        (lambda: atlas_of("gaussian", 0.0, 4.0).duplicates(level=1.0), "level must be between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert len(atlas) == 2
    atlas.freeze(0)
    with pytest.raises(ValueError, match="not frozen"):
        atlas.merge(0, 1)
