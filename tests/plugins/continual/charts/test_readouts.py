import copy

import pytest
import torch
from torch import Tensor

from ndm_apps.engine import NaturalGradientReadout
from ndm_apps.plugins.continual.charts.readouts import ChartReadouts

D = 24


def samples(count: int, seed: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Return correlated inputs of a few classes; the same distribution for every seed."""
    mixing = torch.randn(D, D, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    means = torch.randn(classes, D, generator=torch.Generator().manual_seed(98), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    noise = torch.randn(count, D, generator=generator, dtype=torch.float64) @ mixing / D**0.5
    return means[labels] + noise, labels


def permuted(x: Tensor, domain: int) -> Tensor:
    order = torch.randperm(D, generator=torch.Generator().manual_seed(domain)) if domain else torch.arange(D)
    return x[:, order]


def lifted(x: Tensor) -> Tensor:
    """Immerse inputs with a part that a permutation does not commute with."""
    weight = torch.randn(D, 16, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return torch.cat([x, torch.relu(x @ weight)], 1)


def chart(number: int, count: int) -> Tensor:
    return torch.full((count,), number)


def make(features: int = D, **settings) -> ChartReadouts:
    return ChartReadouts(features, dtype=torch.float64, **settings)


def accuracy(readouts: ChartReadouts, domains: int, rule: str = "combined", immerse=lambda x: x) -> float:
    x, y = samples(600, 1000)
    right = [readouts(immerse(permuted(x, k)), permuted(x, k), rule).argmax(1) == y for k in range(domains)]
    return torch.cat(right).double().mean().item()


def domain_stream(domains: int = 4, count: int = 1800, batch: int = 60, immerse=lambda x: x):
    for k in range(domains):
        x, y = samples(count, k)
        for part, labels in zip(permuted(x, k).split(batch), y.split(batch), strict=True):
            yield immerse(part), labels, chart(k, len(part)), part


@pytest.mark.parametrize("solver", ["lda", "ridge"])
def test_one_chart_is_exactly_the_shared_readout(solver: str):
    x, y = samples(300, 0)
    readouts, plain = make(solver=solver), NaturalGradientReadout(D, solver=solver)
    for part, labels in zip(x.split(50), y.split(50), strict=True):
        readouts.update(part, labels, chart(0, 50))
        plain.update(part, labels)
    assert torch.equal(readouts(x), plain(x))
    assert torch.equal(readouts.shared(x), plain(x))


@pytest.mark.parametrize("solver", ["lda", "ridge"])
def test_charts_of_new_labels_are_exactly_the_shared_readout(solver: str):
    x, y = samples(1200, 0, classes=6)
    readouts, plain = make(solver=solver, immerse=lambda x: x), NaturalGradientReadout(D, solver=solver)
    for number in range(3):
        here = y // 2 == number
        readouts.update(x[here], y[here], chart(number, int(here.sum())), x[here])
        plain.update(x[here], y[here])
    assert len(readouts.own) == 1
    assert torch.equal(readouts(x, x), plain(x))


@pytest.mark.parametrize("solver", ["lda", "ridge"])
def test_combination_beats_the_shared_readout(solver: str):
    readouts = make(solver=solver)
    for phi, labels, charts, _ in domain_stream():
        readouts.update(phi, labels, charts)
    assert len(readouts.own) == 4
    assert accuracy(readouts, 4) > accuracy(readouts, 4, "shared") + 0.05
    assert accuracy(readouts, 4) >= accuracy(readouts, 4, "hard") - 0.005


def test_shared_readout_knows_all_samples():
    readouts, plain = make(), NaturalGradientReadout(D)
    for phi, labels, charts, _ in domain_stream(3, 300):
        readouts.update(phi, labels, charts)
        plain.update(phi, labels)
    x = samples(20, 50)[0]
    torch.testing.assert_close(readouts.shared(x), plain(x))
    torch.testing.assert_close(readouts(x, rule="shared"), plain(x))


def test_transition_maps_join_domains_and_memory_stops_growing():
    readouts = make(D + 16, immerse=lifted)
    sizes = []
    for number, (phi, labels, charts, x) in enumerate(domain_stream(immerse=lifted)):
        readouts.update(phi, labels, charts, x)
        if number % 30 == 29:
            sizes.append(sum(buffer.nbytes for buffer in readouts.buffers()))
    assert list(readouts.accepted) == [1, 2, 3]
    assert list(readouts.own) == ["0"]
    # After the first map, a domain costs its means and its map.
    assert sizes[3] - sizes[2] == 3 * (D + 16) * 8 + 3 * 8 + D * 8 + 2 * 8
    alone = make(D + 16)
    for phi, labels, charts, _ in domain_stream(immerse=lifted):
        alone.update(phi, labels, charts)
    assert accuracy(readouts, 4, immerse=lifted) >= accuracy(alone, 4, immerse=lifted)
    x = samples(20, 50)[0]
    torch.testing.assert_close(readouts.shared(lifted(x)), alone.shared(lifted(x)))


@pytest.mark.parametrize("solver", ["lda", "ridge"])
def test_a_distribution_split_in_two_charts_of_few_labels_loses_nothing(solver: str):
    x, y = samples(1200, 0, classes=6)
    readouts, plain = make(solver=solver), NaturalGradientReadout(D, solver=solver)
    for number in range(3):
        here = y // 2 == number
        readouts.update(x[here], y[here], chart(number, int(here.sum())))
        plain.update(x[here], y[here])
    x_new, y_new = samples(900, 1, classes=6)
    here = y_new // 2 == 0
    readouts.update(x_new[here], y_new[here], chart(3, int(here.sum())))
    plain.update(x_new[here], y_new[here])
    assert list(readouts.own) == ["0", "1"]
    test, truth = samples(2000, 2, classes=6)
    ours, theirs = readouts(test), plain(test)
    if solver == "ridge":
        torch.testing.assert_close(ours, theirs)
    assert (ours.argmax(1) == theirs.argmax(1)).double().mean() > 0.97
    assert (ours.argmax(1) == truth).sum() >= (theirs.argmax(1) == truth).sum() - 10


def test_merged_domains_are_as_if_learnt_in_one():
    both, one = make(), make()
    for phi, labels, charts, _ in domain_stream(3, 240):
        both.update(phi, labels, charts)
        one.update(phi, labels, charts)
    x, y = samples(120, 60)
    both.update(x - 3, y, chart(7, 120))
    one.update(x - 3, y, chart(2, 120))
    both.merge(7, into=2)
    test = samples(30, 70)[0]
    torch.testing.assert_close(both(test), one(test))


def test_mapped_domains_merge():
    readouts = make(D + 16, immerse=lifted)
    for phi, labels, charts, x in domain_stream(3, immerse=lifted):
        readouts.update(phi, labels, charts, x)
    before = readouts.shared(lifted(samples(20, 50)[0]))
    for gone, into in ((2, 1), (1, 0)):
        readouts.merge(gone, into=into)
        torch.testing.assert_close(readouts.shared(lifted(samples(20, 50)[0])), before)
    x = samples(20, 50)[0]
    assert readouts(lifted(x), x).isfinite().all()


@pytest.mark.parametrize("stop", [20, 45, 50, 100], ids=["one domain", "gathering", "judging", "accepted"])
def test_resumed_stream_continues_bit_for_bit(stop: int):
    stream = list(domain_stream(4, immerse=lifted))
    one = make(D + 16, immerse=lifted)
    for part in stream[:stop]:
        one.update(*part)
    two = make(D + 16, immerse=lifted)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for part in stream[stop:]:
        one.update(*part)
        two.update(*part)
    x = samples(50, 50)[0]
    assert torch.equal(one(lifted(x), x), two(lifted(x), x))


def test_hard_rule_takes_the_class_means_of_one_domain():
    readouts = make(D + 16, immerse=lifted)
    for phi, labels, charts, x in domain_stream(3, immerse=lifted):
        readouts.update(phi, labels, charts, x)
    phi = lifted(permuted(samples(40, 50)[0], 1))
    pairs = readouts._solved().pairs
    home = pairs.domains(phi).argmax(1)
    by_pair = pairs.readout(phi)
    expected = torch.stack([by_pair[:, [pairs.names.index((k, c)) for c in range(3)]] for k in range(3)])
    assert list(readouts.accepted) == [1, 2] and (home == 1).double().mean() > 0.9
    torch.testing.assert_close(readouts(phi, permuted(phi, 1), "hard"), expected[home, torch.arange(40)])
    assert readouts.parameters == 9 * (D + 17) + 3 * (D + 17) + 2 * D


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phi": torch.full((4, D), torch.nan)}, "phi must be finite"),
        ({"phi": torch.zeros(4, D + 1)}, "phi must have shape"),
        ({"labels": torch.tensor([0, 1, -1, 0])}, "labels must be at least 0, got -1"),
        ({"labels": torch.zeros(4)}, "labels must be integers"),
        ({"charts": torch.tensor([0, 0, -2, 0])}, "charts must be at least 0, got -2"),
        ({"x": torch.zeros(3, D)}, "x must have 4 samples"),
    ],
    ids=["nan", "width", "negative label", "float label", "chart", "inputs"],
)
def test_bad_samples_are_refused_and_nothing_is_learnt(change: dict, message: str):
    x, y = samples(100, 0)
    readouts = make()
    readouts.update(x, y, chart(0, 100))
    before = readouts(x)
    part = {"phi": x[:4], "labels": y[:4], "charts": chart(0, 4), "x": None} | change
    with pytest.raises(ValueError, match=message):
        readouts.update(**part)
    assert torch.equal(readouts(x), before)
    assert readouts.domains.counts[0].sum() == 100


def test_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match="temperature must be finite and greater than 0, got 0"):
        make(temperature=0)
