import pytest
import torch

from ndm_apps.plugins.generative.judge import Reading
from ndm_apps.plugins.generative.samples import least_of_each, sample_scores
from ndm_apps.plugins.generative.scores import Reference


class Brightness(torch.nn.Module):
    """A judge whose class is whether the first pixel is bright; its features are the pixels."""

    def read(self, images: torch.Tensor) -> Reading:
        bright = images.flatten(1)[:, 0]
        return Reading(images.flatten(1), torch.stack([1 - bright, bright], -1))


def test_rejection_within_classes_keeps_their_shares():
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(4, (1000,), generator=generator)
    score = torch.rand(1000, generator=generator) + label  # class 3 scores worst throughout
    kept = least_of_each(score, label, 0.5)
    torch.testing.assert_close(label[kept].bincount() / len(kept), label.bincount() / 1000, atol=2e-3, rtol=0)
    assert torch.equal(kept, kept.sort().values)
    for one in range(4):
        mine = score[label == one]
        assert score[kept][label[kept] == one].max() <= mine.median()


def test_scores_of_samples():
    images = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.7, 0.0], [0.1, 0.0]])
    reference = Reference(images, images)
    scores = sample_scores(images, Brightness(), reference, 0.8, kept=0.5)
    assert scores["confidence"] == pytest.approx((1 + 1 + 0.7 + 0.9) / 4)
    assert scores["low"] == 0.25 and scores["kept"] == 0.5
    assert scores["classes"] == pytest.approx(2)  # two of each class
    assert scores["nearest"] == pytest.approx(0, abs=1e-3) and scores["frechet"] == pytest.approx(0, abs=1e-6)


def test_samples_of_one_class_have_lost_the_other():
    images = torch.tensor([[1.0, 0.1], [0.9, 0.0], [0.8, 0.2]])
    scores = sample_scores(images, Brightness(), Reference(images, images), 0.5)
    assert scores["classes"] == pytest.approx(1)
