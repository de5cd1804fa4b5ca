"""A critic of images, and a decoder taught by it: what pixels alone would have it blur, it draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ndm_apps.errors import InputError

#: Smallest side of an image that can be halved twice.
SMALLEST = 4
#: Channels behind the first convolution, and numbers in front of the verdict.
CHANNELS, WIDTH = 16, 128


class Critic(nn.Module):
    """A small network that gives real images higher values than others; the weights of each layer have norm 1.

    Parameters
    ----------
    shape
        (channels, height, width) of an image.

    Raises
    ------
    InputError
        If images are smaller than 4 x 4.

    Examples
    --------
    >>> Critic((1, 8, 8))(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        if min(shape[-2:]) < SMALLEST:
            told = f"images are {tuple(shape)}, sides must be {SMALLEST} or more; smaller ones want critic: 0"
            raise InputError(f"model.critic: {told}")
        flat = 2 * CHANNELS * (shape[-2] // 4) * (shape[-1] // 4)
        layers = (
            nn.Conv2d(shape[0], CHANNELS, 4, 2, 1),
            nn.Conv2d(CHANNELS, 2 * CHANNELS, 4, 2, 1),
            nn.Linear(flat, WIDTH),
            nn.Linear(WIDTH, 1),
        )
        first, second, third, last = (spectral_norm(layer) for layer in layers)
        bend = nn.LeakyReLU(0.2)
        self.layers = nn.Sequential(first, bend, second, bend, nn.Flatten(), third, bend, last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the values of images (b, *shape), (b,)."""
        return self.layers(images)[:, 0]


class Duel:
    r"""A decoder and a critic, taught by each other.

    The critic c descends the hinge loss

    .. math:: \mathrm{E}\, [1 - c(x)]_+ + \mathrm{E}\, [1 + c(\hat x)]_+

    of images x and of what the decoder makes, :math:`\hat x`; the decoder descends :math:`-\mathrm{E}\, c(\hat x)`
    for each number of an image, besides its own loss. The mean of all images that a code could stand for, which pixels
    are best served by, is no image: the critic tells it from one. Neither knows of labels.

    Parameters
    ----------
    shape
        Of an image.
    decoder
        Whose weights are taught.
    weight
        Of the critic.
    like
        Where the critic is, and its type.
    seed
        Of the critic's weights; global generators are left as they were.

    References
    ----------
    Larsen, Soenderby, Larochelle and Winther, "Autoencoding beyond pixels using a learned similarity metric", 2016,
    arXiv:1512.09300. Miyato, Kataoka, Koyama and Yoshida, "Spectral normalization for generative adversarial
    networks", 2018, arXiv:1802.05957.
    """

    def __init__(self, shape: tuple[int, ...], decoder: nn.Module, weight: float, *, like: Tensor, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critic = Critic(shape).to(like)
        self.weight = weight
        self._parts = tuple(torch.optim.Adam(part.parameters(), betas=(0.5, 0.99)) for part in (self.critic, decoder))

    def advance(self, x: Tensor, made: Tensor, loss: Tensor, rate: float) -> float:
        """Make one step of both; return the decoder's loss.

        Parameters
        ----------
        x, made
            Images, and what the decoder makes, (b, *shape) both.
        loss
            The decoder's own loss.
        rate
            Size of the decoder's step.
        """
        of_critic, of_decoder = self._parts
        of_critic.zero_grad(set_to_none=True)
        real, false = self.critic(torch.cat([x, made.detach()])).chunk(2)
        ((1 - real).relu().mean() + (1 + false).relu().mean()).backward()
        of_critic.step()
        of_decoder.zero_grad(set_to_none=True)
        total = loss - self.weight * x[0].numel() * self.critic(made).mean()
        total.backward()
        of_decoder.param_groups[0]["lr"] = rate
        of_decoder.step()
        return total.item()

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {"critic": self.critic.state_dict(), "optimisers": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.critic.load_state_dict(state["critic"])
        for part, saved in zip(self._parts, state["optimisers"], strict=True):
            part.load_state_dict(saved)
