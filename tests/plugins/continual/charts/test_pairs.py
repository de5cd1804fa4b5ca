import pytest
import torch
from torch import Tensor

from ndm_apps.engine import NaturalGradientReadout
from ndm_apps.plugins.continual.charts.pairs import Pairs, joined, shrunk, total


def samples(count: int, seed: int, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    x = torch.randn(count, 6, generator=generator, dtype=torch.float64) @ torch.randn(
        6, 6, generator=generator, dtype=torch.float64
    )
    return x + labels[:, None] + shift, labels


def learnt(*parts: tuple[Tensor, Tensor], solver: str = "lda") -> NaturalGradientReadout:
    readout = NaturalGradientReadout(6, solver=solver, shrinkage=1e-6)
    for x, y in parts:
        readout.update(x, y)
    return readout


def test_total_is_the_readout_of_all_samples():
    one, two = samples(60, 0), samples(90, 1, shift=2.0)
    x = samples(10, 2)[0]
    torch.testing.assert_close(total([learnt(one), learnt(two)])(x), learnt(one, two)(x))


@pytest.mark.parametrize("strength", [0.0, 5.0, 1e9])
def test_shrunk_scatter_in_closed_form(strength: float):
    own, pooled = learnt(samples(60, 0)), learnt(samples(90, 1), samples(60, 0))
    blend = shrunk(own, pooled, strength)
    expected = (own.scatter.dense() + strength * pooled.scatter.dense() / 150) / (60 + strength)
    torch.testing.assert_close(blend.scatter.dense() / 60, expected)
    torch.testing.assert_close(blend.trace, blend.scatter.dense().trace())
    assert torch.equal(blend.means, own.means)


def test_shrinking_changes_neither_readout():
    own, pooled = learnt(samples(60, 0)), learnt(samples(90, 1))
    before = own.scatter.dense(), pooled.scatter.dense()
    shrunk(own, pooled, 10.0)
    assert torch.equal(own.scatter.dense(), before[0])
    assert torch.equal(pooled.scatter.dense(), before[1])


def test_pairs_are_the_linear_discriminant_of_joint_labels():
    one, two = samples(60, 0), samples(90, 1, shift=2.0)
    pairs = joined({0: learnt(one), 3: learnt(two)}, None)
    plain = learnt(one, (two[0], two[1] + 3))
    x = samples(10, 2)[0]
    assert pairs.names == [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (3, 2)]
    torch.testing.assert_close(pairs.readout(x), plain(x))
    evidence = pairs.domains(x)
    torch.testing.assert_close(evidence[:, 3], torch.logsumexp(plain(x)[:, 3:], 1))
    assert evidence[:, 1:3].isneginf().all()


def test_pairs_come_apart_into_what_they_were_made_of():
    one, two = samples(60, 0), samples(90, 1, shift=2.0)
    pairs = Pairs(learnt(one))
    pairs.update(2, *one)
    pairs.update(1, *two)
    parts = pairs.parts(learnt(one))
    torch.testing.assert_close(parts[2].means, learnt(one).means)
    torch.testing.assert_close(parts[1].means, learnt(two).means)
    x = samples(10, 2)[0]
    torch.testing.assert_close(total(parts.values())(x), learnt(one, two)(x))
