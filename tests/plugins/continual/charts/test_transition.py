import pytest
import torch
from torch import Tensor

from ndm_apps.engine import NaturalGradientReadout
from ndm_apps.plugins.continual.charts.transition import Transition, match

D = 30


def samples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return correlated inputs of three classes; the same distribution for every seed."""
    mixing = torch.randn(D, D, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    means = torch.randn(3, D, generator=torch.Generator().manual_seed(98), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    noise = torch.randn(count, D, generator=generator, dtype=torch.float64) @ mixing / D**0.5
    return 2 * means[labels] + noise, labels


def learnt(x: Tensor, y: Tensor) -> NaturalGradientReadout:
    readout = NaturalGradientReadout(x.shape[1])
    readout.update(x, y)
    return readout


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_a_permutation_from_other_samples(seed: int):
    permutation = torch.randperm(D, generator=torch.Generator().manual_seed(seed))
    x, y = samples(600, 10 + seed)
    found = match(learnt(*samples(2000, 20 + seed)), learnt(x[:, permutation], y))
    assert torch.equal(permutation[found], torch.arange(D))


def test_covariances_tell_apart_what_the_means_do_not():
    permutation = torch.randperm(D, generator=torch.Generator().manual_seed(0))
    # Every mean is that of two coordinates.
    means = (torch.arange(D, dtype=torch.float64) // 2)[None]
    sets = [x - x.mean(0) + means for x, _ in (samples(4000, 1), samples(4000, 2))]
    labels = torch.zeros(4000, dtype=torch.long)
    found = match(learnt(sets[0], labels), learnt(sets[1][:, permutation], labels))
    assert (permutation[found] == torch.arange(D)).double().mean() > 0.9


def test_matching_needs_a_common_class():
    x, y = samples(100, 0)
    with pytest.raises(ValueError, match="class in common"):
        match(learnt(x, y), learnt(x, y + 3))


def search(x: Tensor, y: Tensor) -> Transition:
    """Carry a search through: home and own read-outs act on the inputs themselves."""
    home = learnt(*samples(2000, 1))
    transition = Transition(D, dtype=torch.float64)
    transition.gather(x[:1000], y[:1000])
    assert transition.gathered
    own = NaturalGradientReadout(D)
    own.update(x[:40], y[:40])
    transition.begin(home, (home.solution(), own.solution()))
    assert transition.state == "judging"
    transition.judge(transition(x[1000:]), x[1000:], y[1000:])
    return transition


def test_accepts_a_permutation():
    x, y = samples(1500, 2)
    permutation = torch.randperm(D, generator=torch.Generator().manual_seed(0))
    transition = search(x[:, permutation], y)
    assert transition.state == "accepted"
    assert torch.equal(transition(x[:, permutation]), x)
    assert transition.statistics is None


def test_refuses_what_is_no_permutation():
    x, y = samples(1500, 2)
    mixing = torch.randn(D, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64) / D**0.5
    assert search(x @ mixing, y).state == "refused"


def test_keeps_the_shape_of_inputs():
    transition = Transition(6)
    assert transition(torch.zeros(4, 1, 2, 3)).shape == (4, 1, 2, 3)


@pytest.mark.parametrize("gathered", [200, 1000], ids=["gathering", "judging"])
def test_state_loads_into_a_new_search(gathered: int):
    home = learnt(*samples(2000, 1))
    x, y = samples(1500, 2)

    def carried_on(transition: Transition) -> Transition:
        transition.gather(x[200:1000], y[200:1000])
        if transition.statistics is not None:
            transition.begin(home, (home.solution(), home.solution()))
        transition.judge(x[1000:], x[1000:], y[1000:])
        return transition

    one = Transition(D, dtype=torch.float64)
    one.gather(x[:gathered], y[:gathered])
    if one.gathered:
        one.begin(home, (home.solution(), home.solution()))
    two = Transition(D, dtype=torch.float64)
    two.load_state_dict(one.state_dict())
    one, two = carried_on(one), carried_on(two)
    assert torch.equal(one.permutation, two.permutation)
    assert one.state == two.state == "accepted"
    assert torch.equal(one.errors, two.errors)
