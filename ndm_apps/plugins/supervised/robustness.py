"""Spoilt inputs: noise, adversarial perturbations, and common corruptions of images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

#: Seed of every random choice here: all runs of a task are scored on the same spoilt inputs.
SEED = 0


def add_noise(x: Tensor, sd: float, seed: int = SEED) -> Tensor:
    """Return inputs with Gaussian noise of this standard deviation."""
    return x + sd * _randn(x, seed)


def fgsm(model: nn.Module, x: Tensor, y: Tensor, eps: float, low: float, high: float) -> Tensor:
    r"""Return adversarial inputs :math:`x + \epsilon\, \mathrm{sign}(\nabla_x L)`, kept between ``low`` and ``high``.

    References
    ----------
    Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", 2015, arXiv:1412.6572.
    """
    return (x + eps * _gradient(model, x, y).sign()).clamp(low, high)


def pgd(
    model: nn.Module, x: Tensor, y: Tensor, eps: float, low: float, high: float, steps: int = 20, seed: int = SEED
) -> Tensor:
    r"""Return adversarial inputs at most ``eps`` from ``x`` in the largest norm, by projected gradient ascent.

    It starts anywhere in the ball and makes ``steps`` signed steps of size :math:`2.5\, \epsilon / \text{steps}`.

    References
    ----------
    Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018, arXiv:1706.06083.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    at = (x + eps * (2 * start - 1)).clamp(low, high)
    for _ in range(steps):
        at = at + 2.5 * eps / steps * _gradient(model, at, y).sign()
        at = torch.minimum(torch.maximum(at, x - eps), x + eps).clamp(low, high)
    return at


def blur(x: Tensor, low: float, high: float) -> Tensor:
    """Convolve images with a Gaussian whose standard deviation is a twelfth of their side."""
    side = min(x.shape[-2:])
    sd = side / 12
    radius = max(1, round(2 * sd))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device) / sd) ** 2)
    taps = taps / taps.sum()
    planes = x.reshape(-1, 1, *x.shape[-2:])
    padded = nn.functional.pad(planes, (radius,) * 4, mode="replicate")
    across = nn.functional.conv2d(padded, taps[None, None, None, :])
    return nn.functional.conv2d(across, taps[None, None, :, None]).reshape(x.shape)


def contrast(x: Tensor, low: float, high: float) -> Tensor:
    """Shrink each image to 0.3 of its contrast, around its mean."""
    mean = x.mean(dim=(-2, -1), keepdim=True)
    return mean + 0.3 * (x - mean)


def shift(x: Tensor, low: float, high: float) -> Tensor:
    """Move images by an eighth of their side, in one of the four directions in turn; ``low`` fills the gap."""
    rows, columns = (max(1, side // 8) for side in x.shape[-2:])
    moved = x.clone()
    for turn, (down, right) in enumerate(((rows, 0), (-rows, 0), (0, columns), (0, -columns))):
        pad = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
        whole = nn.functional.pad(x[turn::4], pad, value=low)
        height, width = x.shape[-2:]
        top, left = max(-down, 0), max(-right, 0)
        moved[turn::4] = whole[..., top : top + height, left : left + width]
    return moved


def occlusion(x: Tensor, low: float, high: float) -> Tensor:
    """Blank a square of a third of the side, at a place drawn for each image."""
    height, width = x.shape[-2:]
    side = max(1, round(min(height, width) / 3))
    generator = torch.Generator().manual_seed(SEED)
    top = torch.randint(height - side + 1, (len(x), 1, 1), generator=generator)
    left = torch.randint(width - side + 1, (len(x), 1, 1), generator=generator)
    row, column = torch.arange(height)[:, None], torch.arange(width)
    hidden = (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
    return x.masked_fill(hidden.reshape(len(x), *(1,) * (x.ndim - 3), height, width).to(x.device), low)


def salt_and_pepper(x: Tensor, low: float, high: float) -> Tensor:
    """Set a tenth of the pixels to ``low`` or ``high``, half each."""
    generator = torch.Generator().manual_seed(SEED)
    draw = torch.rand(x.shape, generator=generator).to(x.device)
    return x.masked_fill(draw < 0.05, low).masked_fill(draw > 0.95, high)


#: Corruptions of images (samples, [channels,] height, width), given the range of the data.
CORRUPTIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "blur": blur,
    "contrast": contrast,
    "shift": shift,
    "occlusion": occlusion,
    "salt_and_pepper": salt_and_pepper,
}


def _randn(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype).to(x.device)


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    loss = nn.functional.cross_entropy(model(x), y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]
