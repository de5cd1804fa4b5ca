import pytest
import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.compared import draw_pairs, metric_of
from ndm_apps.plugins.generative.settings import MetricSettings
from tests.plugins.generative.latent import codes, small_model

LABELS = torch.arange(400) % 5


def drawn(count: int, usable: torch.Tensor, seed: int = 1000):
    return draw_pairs(LABELS, usable, count, torch.Generator().manual_seed(seed))


def test_half_are_of_one_class_and_no_image_is_in_two_pairs():
    usable = LABELS != 3
    pairs = drawn(60, usable)
    assert pairs.images.shape == (60, 2)
    assert pairs.same.tolist() == [True] * 30 + [False] * 30
    assert torch.equal(LABELS[pairs.images], pairs.classes)
    assert len(pairs.images.unique()) == 120 and usable[pairs.images].all()


def test_pairs_are_drawn_anew_for_every_seed_and_the_same_for_one():
    usable = torch.ones(400, dtype=torch.bool)
    assert torch.equal(drawn(60, usable).images, drawn(60, usable).images)
    assert not torch.equal(drawn(60, usable).images, drawn(60, usable, seed=1001).images)


def test_too_few_images_are_refused_with_what_can_be_had():
    with pytest.raises(InputError, match=r"score.pairs: got 300, but 400 test images .* must be at most \d+"):
        drawn(300, torch.ones(400, dtype=torch.bool))


def test_what_is_called_without_labels_takes_no_notice_of_the_task_head():
    model, z, classes = small_model(), codes(5), torch.zeros(5, 2, dtype=torch.long)
    weights = {}
    for times in (1.0, 3.0):
        model.head[2].weight.mul_(times)
        weights[times] = {
            name: metric_of(name, model, MetricSettings(), classes).weight(z) for name in ("geodesic", "label_free")
        }
    assert torch.equal(weights[1.0]["label_free"], weights[3.0]["label_free"])
    assert not torch.equal(weights[1.0]["geodesic"], weights[3.0]["geodesic"])
    model.groups[2].weight.mul_(9.0)
    changed = metric_of("label_free", model, MetricSettings(), classes).weight(z)
    assert not torch.equal(weights[1.0]["label_free"], changed)
