import numpy as np
import pytest
import torch

from ndm_apps.engine.frequent_directions import FrequentDirections
from ndm_apps.engine.symmetric import SymmetricSum

SIZES = [1, 7, 512, 1100]  # below, at and above the width of a column of blocks


def samples(count, size, dtype=torch.float64, decay=None):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(count, size))
    if decay is not None:
        rows = rows * np.arange(1, size + 1) ** -decay @ np.linalg.qr(rng.normal(size=(size, size)))[0]
    return torch.from_numpy(rows).to(dtype)


def summed(kind, rows, batch=32, **settings):
    total = kind(rows.shape[1], dtype=rows.dtype, **settings)
    for part in rows.split(batch):
        total.update(part)
    return total


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sum_of_outer_products(size, dtype):
    rows = samples(700, size, dtype)
    total = summed(SymmetricSum, rows)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    expected = (rows.double().mT @ rows.double()).to(dtype)
    torch.testing.assert_close(total.dense(), expected, rtol=tolerance, atol=tolerance)
    assert total.packed.numel() <= size * (size + 512) / 2 + 512 * 512


def test_cutting_into_batches_does_not_matter_to_the_bit():
    rows = samples(1300, 40)
    assert torch.equal(summed(SymmetricSum, rows, 1).dense(), summed(SymmetricSum, rows, 1300).dense())


def test_reading_changes_nothing():
    rows = samples(1300, 40)
    read = SymmetricSum(40)
    for part in rows.split(32):
        read.update(part)
        read.dense()
        read.solve(rows[:1], ridge=1.0)
    assert torch.equal(read.packed, summed(SymmetricSum, rows).packed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("extra", [False, True])
def test_solution(size, extra):
    rows, right = samples(700, size), samples(3, size)
    few = samples(5, size)[2:] if extra else None
    matrix = rows.mT @ rows + 2.0 * torch.eye(size) + (few.mT @ few if extra else 0)
    solution = summed(SymmetricSum, rows).solve(right, ridge=2.0, rows=few)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, right.mT).mT, rtol=1e-9, atol=1e-11)


def test_float64_steps_in_where_float32_fails():
    # One large direction and a small ridge; every entry of the sum is a float32 to the bit.
    large = torch.from_numpy(np.random.default_rng(0).integers(1200, 2000, size=(1, 40)))
    total = summed(SymmetricSum, torch.cat([large, 0.5 * torch.eye(40)]).float())
    assert torch.linalg.cholesky_ex(total.dense()).info > 0
    right = samples(2, 40, torch.float32)
    exact = torch.linalg.solve(total.dense().double(), right.double().mT).mT
    torch.testing.assert_close(total.solve(right, ridge=0.0), exact.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [SymmetricSum, lambda size, dtype: FrequentDirections(size, rank=4, dtype=dtype)])
def test_singular_matrix_is_refused(kind):
    total = summed(kind, samples(3, 20))
    with pytest.raises(ValueError, match="ridge must be larger"):
        total.solve(torch.ones(1, 20, dtype=torch.float64), ridge=0.0)


@pytest.mark.parametrize("seen", [0, 511, 512, 700])
def test_resumed_stream_is_the_same_to_the_bit(seen):
    rows = samples(1300, 30)
    resumed = SymmetricSum(30)
    resumed.load_state_dict(summed(SymmetricSum, rows[:seen]).state_dict())
    for part in rows[seen:].split(32):
        resumed.update(part)
    whole = summed(SymmetricSum, rows)
    assert torch.equal(resumed.packed, whole.packed)
    assert torch.equal(resumed.dense(), whole.dense())


def test_merge_is_the_sum():
    rows = samples(1500, 30)
    total = summed(SymmetricSum, rows[:700])
    total.merge(summed(SymmetricSum, rows[700:]))
    torch.testing.assert_close(total.dense(), rows.mT @ rows, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 5, 20])
@pytest.mark.parametrize("merged", [False, True])
def test_sketch_keeps_its_bounds(rank, merged):
    rows = samples(900, 60, decay=1.0)
    total = summed(FrequentDirections, rows[: 500 if merged else 900], rank=rank)
    if merged:
        total.merge(summed(FrequentDirections, rows[500:], rank=rank))
    exact = rows.mT @ rows
    low = total.rows[: total.filled]
    missing = torch.linalg.eigvalsh(exact - low.mT @ low)
    bound = float(total.bound)
    assert 0 < bound
    assert missing.min() > -1e-9 * bound
    assert missing.max() <= bound * (1 + 1e-9)
    assert torch.linalg.matrix_norm(exact - total.dense(), 2) <= bound * (1 + 1e-9)
    spectrum = torch.linalg.eigvalsh(exact).flip(0)
    for k in range(rank if not merged else 1):  # the tails of two parts need not be those of the whole
        assert bound <= spectrum[k:].sum() / (rank + 1 - k)
    torch.testing.assert_close(total.dense().diagonal(), exact.diagonal(), rtol=1e-10, atol=1e-12)


def test_sketch_is_exact_while_it_has_room():
    rows = samples(16, 40)
    total = summed(FrequentDirections, rows, batch=5, rank=8)
    torch.testing.assert_close(total.dense(), rows.mT @ rows, rtol=1e-12, atol=1e-12)
    assert total.bound == 0


def test_sketch_is_as_good_in_float32():
    rows = samples(900, 60, decay=1.0)
    single = summed(FrequentDirections, rows.float(), rank=10)
    gap = torch.linalg.matrix_norm(rows.mT @ rows - single.dense().double(), 2)
    assert gap <= 1.01 * summed(FrequentDirections, rows, rank=10).bound


@pytest.mark.parametrize("extra", [False, True])
def test_solution_of_the_sketch(extra):
    rows, right = samples(300, 40), samples(3, 40)
    few = samples(5, 40)[2:] if extra else None
    total = summed(FrequentDirections, rows, rank=6)
    matrix = total.dense() + 2.0 * torch.eye(40) + (few.mT @ few if extra else 0)
    solution = total.solve(right, ridge=2.0, rows=few)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, right.mT).mT, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("seen", [0, 11, 16, 100])
def test_resumed_sketch_is_the_same_to_the_bit(seen):
    rows = samples(200, 30)
    resumed = FrequentDirections(30, rank=8)
    resumed.load_state_dict(summed(FrequentDirections, rows[:seen], rank=8).state_dict())
    whole = summed(FrequentDirections, rows[:seen], rank=8)
    for part in rows[seen:].split(32):
        resumed.update(part)
        whole.update(part)
    assert torch.equal(resumed.dense(), whole.dense())
    assert torch.equal(resumed.bound, whole.bound)


def test_rank_must_be_positive():
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        FrequentDirections(3, rank=0)
