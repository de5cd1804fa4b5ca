import pytest
import torch
from torch import nn

from ndm_apps.plugins.supervised.robustness import CORRUPTIONS, add_noise, fgsm, pgd

EPS = 0.1
SHAPES = [(6, 8, 8), (5, 28, 28), (3, 2, 9, 7)]


@pytest.fixture
def linear():
    """A classifier of two inputs into two classes whose loss has the same gradient sign everywhere."""
    model = nn.Linear(2, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))
    return model


ATTACKS = [fgsm, pgd]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_on_a_linear_model_goes_to_the_worst_corner(linear, attack):
    x = torch.full((4, 2), 0.5, dtype=torch.float64)
    y = torch.zeros(4, dtype=torch.long)
    # The logit of class 0 falls fastest towards (-, +), whatever the point.
    torch.testing.assert_close(attack(linear, x, y, EPS, 0.0, 1.0), x + EPS * torch.tensor([-1.0, 1.0]).double())


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_stays_in_the_ball_and_in_the_range_and_raises_the_loss(attack):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x, y = torch.rand(40, 5, dtype=torch.float64), torch.randint(3, (40,))
    spoilt = attack(model, x, y, EPS, 0.0, 1.0)
    assert (spoilt - x).abs().max() <= EPS + 1e-12 and spoilt.min() >= 0 and spoilt.max() <= 1
    loss = nn.functional.cross_entropy
    assert loss(model(spoilt), y) > loss(model(x), y)


def test_projected_ascent_is_at_least_as_strong_as_one_step():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x, y = torch.rand(40, 5, dtype=torch.float64), torch.randint(3, (40,))
    one, many = (nn.functional.cross_entropy(model(attack(model, x, y, EPS, 0, 1)), y) for attack in ATTACKS)
    assert many >= one - 1e-6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_keeps_shape_and_range_and_does_the_same_every_time(name, shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    spoilt = CORRUPTIONS[name](x, 0.0, 1.0)
    assert spoilt.shape == x.shape and not torch.equal(spoilt, x)
    assert spoilt.min() >= -1e-6 and spoilt.max() <= 1 + 1e-6
    assert torch.equal(spoilt, CORRUPTIONS[name](x, 0.0, 1.0))


@pytest.mark.parametrize("name", ["blur", "contrast"])
def test_an_even_image_is_not_changed_by_smoothing(name):
    x = torch.full((2, 8, 8), 0.3)
    torch.testing.assert_close(CORRUPTIONS[name](x, 0.0, 1.0), x)


def test_blur_of_a_point_keeps_its_mass_and_its_centre():
    x = torch.zeros(1, 29, 29)
    x[0, 14, 14] = 1
    spoilt = CORRUPTIONS["blur"](x, 0.0, 1.0)
    assert spoilt.sum().item() == pytest.approx(1)
    torch.testing.assert_close(spoilt, spoilt.flip(1))
    torch.testing.assert_close(spoilt, spoilt.mT)


def test_shift_moves_a_point_one_way_after_the_other():
    x = torch.zeros(4, 8, 8)
    x[:, 4, 4] = 1
    places = CORRUPTIONS["shift"](x, 0.0, 1.0).nonzero()
    assert places.tolist() == [[0, 5, 4], [1, 3, 4], [2, 4, 5], [3, 4, 3]]


def test_occlusion_blanks_one_square_and_salt_and_pepper_about_a_tenth():
    x = torch.full((200, 9, 9), 0.5)
    assert ((CORRUPTIONS["occlusion"](x, 0.0, 1.0) == 0).sum((1, 2)) == 9).all()
    changed = CORRUPTIONS["salt_and_pepper"](x, 0.0, 1.0)
    assert (changed != 0.5).double().mean().item() == pytest.approx(0.1, abs=0.01)
    assert set(changed.unique().tolist()) == {0.0, 0.5, 1.0}


def test_noise_has_the_standard_deviation_asked_for():
    x = torch.zeros(100, 10, 10)
    assert add_noise(x, 0.3).std().item() == pytest.approx(0.3, rel=0.02)
