import pytest
import torch

from ndm_apps.plugins.generative.judge import Judge, Reading
from ndm_apps.plugins.generative.scores import (
    Even,
    Reference,
    at_equal_lengths,
    even,
    interior_frechet,
    nearest,
    path_scores,
    summary,
)


class Ruler(torch.nn.Module):
    """A judge of vectors (2,): its features are the vectors, and its classes the signs of the first coordinate."""

    def read(self, images: torch.Tensor) -> Reading:
        return Reading(images, torch.stack([-8 * images[..., 0], 8 * images[..., 0]], -1).softmax(-1))

    def residual(self, images: torch.Tensor) -> torch.Tensor:
        return images[..., 1].abs()


REFERENCE = Reference(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
LINE = torch.stack([torch.linspace(-1, 1, 9), torch.zeros(9)], -1)[None]


def same_decoder(z: torch.Tensor) -> torch.Tensor:
    return z


def test_equal_lengths_on_a_broken_line():
    nodes = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]]])
    taken = at_equal_lengths(nodes, torch.tensor([[3.0, 1.0]]), 9)
    steps = (taken[:, 1:] - taken[:, :-1]).norm(dim=-1)
    torch.testing.assert_close(steps, torch.full((1, 8), 0.5))
    torch.testing.assert_close(taken[:, [0, -1]], nodes[:, [0, -1]])


def test_a_path_of_no_length_stays_where_it_is():
    taken = at_equal_lengths(torch.ones(1, 3, 2), torch.zeros(1, 2), 5)
    torch.testing.assert_close(taken, torch.ones(1, 5, 2))


def test_lingering_at_the_ends_earns_nothing():
    hasty = LINE.sign() * LINE.abs() ** 0.1  # crosses the middle within one step
    slow, fast = (even(path, 17, same_decoder, Ruler()) for path in (LINE, hasty))
    torch.testing.assert_close(fast.z, slow.z, atol=1e-5, rtol=0)
    scores = [path_scores(one, torch.tensor([[0, 1]]), Ruler(), REFERENCE, 0.8) for one in (slow, fast)]
    torch.testing.assert_close(scores[0]["low"], scores[1]["low"])
    assert scores[1]["unevenness"] > scores[0]["unevenness"] + 0.5
    assert scores[1]["roughness"] > 2 * scores[0]["roughness"]


def test_scores_of_a_straight_line_in_the_judges_features():
    scores = path_scores(even(LINE, 17, same_decoder, Ruler()), torch.tensor([[0, 1]]), Ruler(), REFERENCE, 0.8)
    assert scores["ratio"].item() == pytest.approx(1)
    assert scores["roughness"].item() == pytest.approx(1)
    assert scores["unevenness"].item() == pytest.approx(0, abs=1e-5)
    assert scores["classes"].item() == 2 and scores["third"].item() == 0
    # sigmoid(16 x) < 0.8 for |x| < 0.0866: the middle one of 17 points, 0.125 apart.
    assert scores["low"].item() == pytest.approx(1 / 17)
    assert scores["nearest"].item() == pytest.approx((1 - LINE[0, :, 0].abs()).mean().item(), abs=0.06)


def test_a_third_class_is_one_of_neither_end():
    scores = path_scores(even(LINE, 17, same_decoder, Ruler()), torch.tensor([[1, 1]]), Ruler(), REFERENCE, 0.8)
    assert scores["third"].item() == pytest.approx(8.5 / 17, abs=0.6 / 17)


def test_the_nearest_of_several_axes():
    points = torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]])
    torch.testing.assert_close(nearest(points, REFERENCE.pixels), torch.tensor([[1.0], [2.0]]))


def test_differences_are_of_pairs_and_kinds_are_apart():
    same = torch.tensor([True, True, False, False, False])
    base = torch.tensor([1.0, 5.0, 2.0, 4.0, 9.0])
    everything, few = torch.arange(5), torch.tensor([0, 1, 3, 4])
    scores = {"line": {"low": base}, "geodesic": {"low": base - 1}, "slow": {"low": base[few] + 2}}
    found = summary(scores, {"line": everything, "geodesic": everything, "slow": few}, same, ("line", "slerp"))
    assert found["slow"]["different"]["against"] == {"line": {"low": [2.0, 0.0]}}
    assert found["geodesic"]["different"]["low"] == pytest.approx(4)
    assert found["geodesic"]["different"]["against"] == {"line": {"low": [-1.0, 0.0]}}
    assert found["geodesic"]["same"]["error"]["low"] == pytest.approx(base[:2].std().item() / 2**0.5)
    assert found["line"]["same"]["against"] == {}


def test_the_frechet_distance_leaves_the_ends_out():
    points = torch.zeros(1, 9, 2)
    points[:, [0, -1]] = 1e6
    points[:, 1:-1] = torch.randn(1, 7, 2, generator=torch.Generator().manual_seed(0))
    one = Even(points, points, Ruler().read(points), *[torch.ones(1)] * 3)
    assert interior_frechet(one, torch.tensor([True]), REFERENCE) < 100


def test_the_judge_of_images_serves():
    judge = Judge((1, 8, 8), 3)
    z = torch.rand(2, 5, 64, generator=torch.Generator().manual_seed(0))
    taken = even(z, 7, lambda z: z.reshape(*z.shape[:-1], 1, 8, 8), judge)
    assert taken.images.shape == (2, 7, 1, 8, 8) and taken.steps.shape == (2, 4)
