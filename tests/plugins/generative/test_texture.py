import pytest
import torch
from torch import nn

from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.texture import Texture


def noise(seed, side=16):
    return torch.rand(200, 1, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def texture():
    return Texture(noise(0))


def test_textures_tell_noise_from_its_mean_where_pixels_prefer_the_mean(texture):
    x, other, mean = noise(2), noise(3), torch.full((200, 1, 16, 16), 0.5)
    assert (x - mean).square().mean() < (x - other).square().mean()
    assert texture.distance(x, other) < texture.distance(x, mean)


def test_equal_images_have_equal_textures_and_grey_has_none(texture):
    assert texture.distance(noise(2), noise(2)) == 0
    inside = texture(torch.full((1, 1, 16, 16), 0.7))[0][..., 1:-1, 1:-1]
    assert inside.abs().max() < 1e-5


def test_the_unit_is_the_deviation_of_the_images_given(texture):
    assert all(abs(part.std() - 1) < 1e-5 for part in texture(noise(0)))
    assert all(torch.isfinite(part).all() for part in Texture(torch.ones(3, 1, 8, 8))(noise(0)))


def test_textures_are_those_of_each_channel(texture):
    colour = torch.cat([noise(2), noise(3)], 1)
    for both, first, second in zip(texture(colour), texture(noise(2)), texture(noise(3)), strict=True):
        assert torch.allclose(both, torch.cat([first, second], 1))


def test_blurring_lowers_the_response(texture):
    x = noise(2)
    assert texture(nn.functional.avg_pool2d(x, 3, 1, 1))[0].mean() < 0.6 * texture(x)[0].mean()


def test_tiny_images_have_no_texture():
    with pytest.raises(InputError, match=r"model.texture: images are \(1, 7, 7\), sides must be 8 or more"):
        Texture(noise(0, side=7))
