import copy

import pytest
import torch
from torch import nn

from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.critic import Critic, Duel

SHAPE = (1, 8, 8)


class Level(nn.Module):
    """A decoder that makes images of one level of noise, which it can change."""

    def __init__(self):
        super().__init__()
        self.log_sd = nn.Parameter(torch.tensor(-3.0))

    def forward(self, noise):
        return 0.5 + self.log_sd.exp() * noise


def noise(seed, count=64):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def duel(decoder, seed=0):
    return Duel(SHAPE, decoder, 1.0, like=torch.zeros(()), seed=seed)


def fought(one, decoder, steps, begin=0):
    for step in range(begin, begin + steps):
        one.advance(0.5 + 0.3 * noise(2 * step), decoder(noise(2 * step + 1)), torch.zeros(()), 1e-2)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 20), (1, 7, 5)])
def test_a_critic_stretches_no_difference(shape):
    critic = Critic(shape)
    a, b = torch.rand(2, 50, *shape, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        critic(a)
    # Convolutions are normed as matrices on patches, and each pixel is in four of them.
    assert ((critic(a) - critic(b)).abs() <= 4 * (a - b).flatten(1).norm(dim=1)).all()
    assert (critic(a) - critic(b)).abs().max() > 0


def test_a_decoder_learns_the_noise_that_its_own_loss_tells_nothing_of():
    decoder = Level()
    fought(duel(decoder), decoder, 200)
    # From 0.05 on; the two circle around it.
    assert abs(decoder.log_sd.exp() - 0.3) < 0.1


def test_the_critic_values_real_images_above_others():
    decoder = Level()
    one = duel(decoder)
    decoder.requires_grad_(False)
    for step in range(150):
        made = decoder(noise(2 * step + 1)).requires_grad_()
        one.advance(0.5 + 0.3 * noise(2 * step), made, torch.zeros(()), 0.0)
    assert one.critic(0.5 + 0.3 * noise(1001)).mean() > one.critic(decoder(noise(1002))).mean() + 0.5


def test_the_global_generator_is_left_alone_and_the_seed_counts():
    before = torch.get_rng_state()
    one, same, other = duel(Level()), duel(Level()), duel(Level(), seed=1)
    assert torch.equal(before, torch.get_rng_state())
    x = noise(0)
    assert torch.equal(one.critic(x), same.critic(x)) and not torch.equal(one.critic(x), other.critic(x))


def test_a_saved_duel_goes_on_bit_for_bit():
    decoder = Level()
    one = duel(decoder)
    fought(one, decoder, 5)
    state, weights = copy.deepcopy(one.state_dict()), copy.deepcopy(decoder.state_dict())
    fought(one, decoder, 5, begin=5)
    again = Level()
    second = duel(again, seed=7)
    again.load_state_dict(weights)
    second.load_state_dict(state)
    fought(second, again, 5, begin=5)
    assert torch.equal(decoder.log_sd, again.log_sd) and torch.equal(one.critic(noise(0)), second.critic(noise(0)))


def test_tiny_images_have_no_critic():
    with pytest.raises(InputError, match=r"model.critic: images are \(1, 3, 7\), sides must be 4 or more"):
        Critic((1, 3, 7))
