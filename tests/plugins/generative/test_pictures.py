import numpy as np
import pytest
import torch

from ndm_apps.plugins.generative import pictures
from ndm_apps.plugins.generative.latent_map import plane_through

RNG = np.random.default_rng(0)


def test_what_the_judge_doubts_is_framed():
    images, confidence = RNG.random((5, 1, 8, 8)), np.array([0.9, 0.5, 0.7, 0.9, 0.79])
    picture = pictures.strips([{"line": (images, confidence), "geodesic": (images, np.ones(5))}] * 3, 0.8, "All.")
    frames = [len(axes.patches) for axes in picture.figure.axes]
    assert frames == [3, 0] * 3
    assert "80%" in picture.caption and picture.caption.endswith("All.")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_montage_has_every_image_in_its_place(channels):
    images = np.stack([np.full((channels, 2, 3), number / 9) for number in range(9)])
    picture = pictures.sample_grid({"density": images}, {"density": "density: 3"})
    whole = np.asarray(picture.figure.axes[0].images[0].get_array())
    height, width = 2 + pictures.GAP, 3 + pictures.GAP
    assert whole.shape[:2] == (2 * height, 7 * width)
    assert whole[0, width].max() == pytest.approx(1 / 9)
    assert whole[height, 0].max() == pytest.approx(7 / 9)


def test_unknown_scores_leave_no_dot():
    picture = pictures.trust_bars({"density": {"low": 0.6, "far": None}, "entropy": {"low": 0.8, "far": 0.7}}, {}, "x")
    dots = [len(line.get_xdata()) for line in picture.figure.axes[0].lines[1:]]
    assert dots == [2, 1]


def test_a_plane_holds_its_corners_and_keeps_distances():
    corners = torch.randn(3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    plane = plane_through(corners)
    at = plane.coordinates(corners)
    torch.testing.assert_close(plane.points(at), corners)
    torch.testing.assert_close(torch.pdist(at), torch.pdist(corners))
