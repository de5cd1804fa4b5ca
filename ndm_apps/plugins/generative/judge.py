"""An independent judge of what is generated: a classifier and an autoencoder of its own, on images of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

#: Features that the judge reads off an image, and numbers its autoencoder squeezes one through.
FEATURES, BOTTLENECK = 64, 32
#: Images that go through the judge at a time, and that it is trained on at a time.
CHUNK, BATCH = 2000, 128
RATE = 3e-3


class Reading(NamedTuple):
    """What the judge sees in images: features (..., 64), probabilities (..., classes)."""

    features: Tensor
    probabilities: Tensor

    @property
    def confidence(self) -> Tensor:
        """Probability of the class it takes an image for, (...)."""
        return self.probabilities.amax(-1)

    @property
    def label(self) -> Tensor:
        """That class, (...)."""
        return self.probabilities.argmax(-1)


class Judge(nn.Module):
    """Classifier (convolutions on images, a perceptron on vectors) and autoencoder, which share nothing.

    Parameters
    ----------
    shape
        Of one sample: ``(channels, height, width)`` of an image with values in [0, 1], or ``(features,)``.
    classes
        How many there are.
    """

    location: Tensor
    spread: Tensor

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.shape, self.images = shape, len(shape) == 3
        size = math.prod(shape)
        self.register_buffer("location", torch.zeros(() if self.images else shape))
        self.register_buffer("spread", torch.ones(() if self.images else shape))
        self.body = _convolutions(shape) if self.images else nn.Sequential(nn.Linear(size, 128), nn.ReLU())
        width = self.body(torch.zeros(1, *shape)).shape[1]
        self.features = nn.Sequential(nn.Linear(width, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)
        widths = [size, 256, BOTTLENECK, 256, size]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.autoencoder = nn.Sequential(nn.Flatten(), *layers[:-1])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features and logits of images (batch, *shape)."""
        features = self.features(self.body(self._alike(images)))
        return features, self.head(features)

    def reconstruction_loss(self, images: Tensor) -> Tensor:
        """Return the autoencoder's loss: cross-entropy of pixels, or the squared error of standardised vectors."""
        target, output = self._alike(images).flatten(1), self.autoencoder(self._alike(images))
        if self.images:
            return nn.functional.binary_cross_entropy_with_logits(output, target)
        return nn.functional.mse_loss(output, target)

    @torch.no_grad()
    def read(self, images: Tensor) -> Reading:
        """Read images (..., *shape), a part of them at a time."""
        features, logits = self._through(self, images)
        return Reading(features, logits.softmax(-1))

    @torch.no_grad()
    def residual(self, images: Tensor) -> Tensor:
        """Return the distance (...) of images (..., *shape) to what the autoencoder makes of them."""

        def distance(part: Tensor) -> tuple[Tensor]:
            output = self.autoencoder(self._alike(part))
            made = output.sigmoid() if self.images else self.location + self.spread * output
            return ((made - part.flatten(1)).norm(dim=1),)

        return self._through(distance, images)[0]

    def _alike(self, images: Tensor) -> Tensor:
        return (images - self.location) / self.spread

    def _through(self, function: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor) -> list[Tensor]:
        batch = images.shape[: images.ndim - len(self.shape)]
        parts = [function(part) for part in images.reshape(-1, *self.shape).split(CHUNK)]
        return [torch.cat(columns).unflatten(0, batch) for columns in zip(*parts, strict=True)]


def train_judge(
    x: Tensor,
    y: Tensor,
    classes: int,
    *,
    epochs: int,
    seed: int,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Judge:
    """Train a judge by Adam under a one-cycle rate, on cross-entropy plus the autoencoder's binary cross-entropy.

    Parameters
    ----------
    x, y
        Samples (samples, *shape), which the head of the judged model must not have seen, and labels (samples,).
    classes
        Number of classes.
    epochs
        Passes through the images; small sets are passed through more often, until 600 steps are made.
    seed
        Of the judge's weights and of the order of images; global generators are left as they were.
    on_step
        Called with the steps made and to make.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(tuple(x.shape[1:]), classes).to(x)
    if not judge.images:
        judge.location.copy_(x.mean(0))
        judge.spread.copy_(x.std(0).clamp_min(1e-6))
    generator = torch.Generator().manual_seed(seed)
    batches = math.ceil(len(x) / BATCH)
    steps = max(epochs * batches, 600)
    optimiser = torch.optim.Adam(judge.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if not len(order):
            order = torch.randperm(len(x), generator=generator).to(x.device)
        batch, order = order[:BATCH], order[BATCH:]
        images = x[batch]
        _, logits = judge(images)
        # The parts share no parameters, so that Adam takes no notice of their weights against each other.
        loss = nn.functional.cross_entropy(logits, y[batch]) + judge.reconstruction_loss(images)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        on_step(step + 1, steps)
    return judge.eval().requires_grad_(False)


def load_judge(state: dict[str, Any], shape: tuple[int, ...], classes: int, like: Tensor) -> Judge:
    """Return the judge with a saved state, where ``like`` is and of its type."""
    judge = Judge(shape, classes)
    judge.load_state_dict(state)
    return judge.to(like).eval().requires_grad_(False)


def _convolutions(shape: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
