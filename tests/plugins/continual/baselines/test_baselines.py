"""What every baseline promises."""

import importlib.util

import pytest
import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.baselines.settings import METHODS
from tests.plugins.continual.baselines.learners import accuracy, feed, logits, make, needs_boundaries, pieces
from tests.plugins.continual.blobs import blobs

RIVER = ("hoeffding_tree", "adaptive_forest")
FORGETS = ("naive", "ewc", "lwf", "adaptive_forest")


def runnable(method):
    if method in RIVER:
        pytest.importorskip("river")


@pytest.mark.parametrize(
    ("method", "settings"), [*((method, {}) for method in METHODS), ("icarl", {"standardise": True, "hidden": ()})]
)
def test_a_resumed_stream_goes_on_bit_for_bit(method, settings, tmp_path):
    runnable(method)
    stream = pieces(method)
    whole = feed(make(method, **settings), stream)
    middle = len(stream) // 2
    torch.save(feed(make(method, **settings), stream[:middle]).state_dict(), tmp_path / "state")
    resumed = make(method, **settings)
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    feed(resumed, stream[middle:])
    x, _ = blobs([0, 3, 5], 50, 8)
    assert torch.equal(logits(resumed, x), logits(whole, x))
    assert resumed.stored_exemplars == whole.stored_exemplars


@pytest.mark.parametrize("method", METHODS)
def test_all_but_the_known_forgetters_still_know_the_first_classes(method):
    runnable(method)
    learner = feed(make(method), pieces(method))
    assert accuracy(learner, [4, 5]) > 0.7
    if method in FORGETS:
        assert accuracy(learner, [0, 1]) < 0.5
    else:
        assert accuracy(learner) > 0.7


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_learner_and_another_seed_another(method):
    runnable(method)
    x, _ = blobs([0, 3], 50, 8)
    stream = pieces(method)[:2]
    first, again, other = (logits(feed(make(method, seed=seed), stream), x) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    if method not in ("slda", "densities", "hoeffding_tree"):  # nothing in these is random
        assert not torch.equal(first, other)


@pytest.mark.parametrize("method", METHODS)
def test_double_precision_and_images(method):
    runnable(method)
    stream = pieces(method, dtype=torch.float64, shape=(2, 5))[:3]
    learner = feed(make(method, shape=(2, 5), dtype=torch.float64), stream)
    out = logits(learner, torch.randn(7, 2, 5, dtype=torch.float64))
    assert out.dtype == torch.float64 and out.shape == (7, 6)


@pytest.mark.parametrize("method", ["slda", "randumb", "naive", "icarl", "gdumb"])
def test_the_frozen_classifier_is_the_learner_as_plain_layers(method):
    learner = feed(make(method), pieces(method))
    x, _ = blobs([0, 3, 5], 20, 8)
    expected = logits(learner, x)
    frozen = learner.frozen()
    torch.testing.assert_close(frozen(x), expected)
    program = torch.export.export(frozen, (x,))
    torch.testing.assert_close(program.module()(x), expected)


def test_numbers_of_weights_and_exemplars():
    linear = make("naive", hidden=())
    assert linear.parameters == 10 * 6 + 6 and linear.stored_exemplars == 0
    for method in ("replay", "er_ace", "der", "gdumb", "icarl"):
        assert feed(make(method), pieces(method)).stored_exemplars == 60
    assert feed(make("joint"), pieces("joint")).stored_exemplars == 3 * 320
    assert feed(make("slda"), pieces("slda")).parameters == 6 * 10 + 10 * 10


def test_convolutions_need_images():
    with pytest.raises(InputError, match="channels"):
        make("naive", channels=(4,))
    learner = make("naive", shape=(8, 8), channels=(4, 8))
    assert logits(learner, torch.zeros(3, 8, 8)).shape == (3, 6)
    assert logits(make("naive", shape=(3, 9, 9), channels=(4,)), torch.zeros(2, 3, 9, 9)).shape == (2, 6)


def test_only_three_are_told_where_experiences_end():
    assert [method for method in METHODS if needs_boundaries(method)] == ["icarl", "ewc", "lwf"]


@pytest.mark.skipif(importlib.util.find_spec("river") is not None, reason="river is installed")
@pytest.mark.parametrize("method", RIVER)
def test_without_river_the_error_says_how_to_get_it(method):
    with pytest.raises(InputError, match="pip install river"):
        make(method)
