import pytest
import torch

from ndm_apps.plugins.generative.trust import auroc


def by_pairs(score: torch.Tensor, target: torch.Tensor) -> float:
    difference = score[target][:, None] - score[~target]
    return ((difference > 0).double() + (difference == 0).double() / 2).mean().item()


def test_auroc_is_the_share_of_pairs_in_order_and_ties_count_half():
    generator = torch.Generator().manual_seed(0)
    score = torch.randint(6, (200,), generator=generator).float()
    target = torch.rand(200, generator=generator) < 0.3
    assert auroc(score, target) == pytest.approx(by_pairs(score, target))
    assert auroc(-score, target) == pytest.approx(1 - by_pairs(score, target))
    assert auroc(score.exp(), target) == pytest.approx(by_pairs(score, target))


def test_a_score_that_tells_nothing_and_a_target_of_one_kind():
    target = torch.tensor([True, False, True])
    assert auroc(torch.ones(3), target) == 0.5
    assert auroc(torch.arange(3.0), torch.ones(3, dtype=torch.bool)) is None
