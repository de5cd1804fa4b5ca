import pytest
import torch

from ndm_apps import datasets
from ndm_apps.errors import InputError
from ndm_apps.plugins.supervised.data import Projection, draw_samples, even_first


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def rows(x):
    return {tuple(row) for row in x.flatten(1).tolist()}


def test_few_samples_are_spread_evenly_over_the_classes_and_drawn_by_the_seed(digits):
    first, again, other = (draw_samples(digits, 100, seed=seed, evaluate="test") for seed in (0, 0, 1))
    assert first.y.bincount().tolist() == [10] * 10
    assert torch.equal(first.x, again.x) and not torch.equal(first.x, other.x)
    assert torch.equal(first.x_test, digits.x_test) and (first.low, first.high) == (0.0, 1.0)


def test_validation_never_sees_the_test_set_and_trains_on_nothing_it_is_scored_on(digits):
    samples = draw_samples(digits, None, seed=3, evaluate="validation")
    assert len(samples.x_test) == len(digits.x_train) // 5
    assert len(samples.x) + len(samples.x_test) == len(digits.x_train)
    whole = torch.cat([samples.x, samples.x_test]).flatten(1)
    torch.testing.assert_close(whole.sum(0), digits.x_train.flatten(1).sum(0), rtol=1e-4, atol=1e-2)
    assert len(rows(samples.x_test) & rows(digits.x_test)) <= len(rows(digits.x_train) & rows(digits.x_test))


def test_classes_that_run_out_leave_their_turn_to_the_others():
    labels = torch.tensor([1, 1, 1, 1, 0])
    assert even_first(labels).tolist() == [0, 4, 1, 2, 3]


def test_more_samples_than_there_are_is_refused(digits):
    with pytest.raises(InputError, match="train_samples: got 5000, must be at most 1437 for digits"):
        draw_samples(digits, 5000, seed=0, evaluate="test")


def test_projected_samples_are_centred_uncorrelated_sorted_and_of_unit_mean_variance():
    x = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    z = Projection(x, 5)(x)
    covariance = z.mT @ z / len(z)
    torch.testing.assert_close(z.mean(0), torch.zeros(5, dtype=z.dtype), rtol=0, atol=1e-12)
    torch.testing.assert_close(covariance, covariance.diagonal().diag(), rtol=0, atol=1e-12)
    assert (covariance.diagonal().diff() < 0).all() and covariance.diagonal().mean().item() == pytest.approx(1)


def test_without_components_only_the_scale_changes():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = Projection(x)(x)
    ratio = (z[1:] - z[:1]) / (x[1:] - x[:1])
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))


def test_more_components_than_inputs_are_refused():
    with pytest.raises(InputError, match="components: got 7, must be at most the number of inputs, 6"):
        Projection(torch.zeros(3, 6), 7)
