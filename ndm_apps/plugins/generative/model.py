"""The latent model: an autoencoder, the density of its codes, and a task head; frozen once it is trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ndm_apps.engine.coordinates import CoordinateMap, alternating_couplings
from ndm_apps.plugins.generative.autoencoder import Code, build_decoder, build_encoder, perceptron
from ndm_apps.plugins.generative.density import FlowDensity, MixtureDensity
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings, HeadSettings


class LatentModel(nn.Module):
    r"""Images x, codes z in :math:`R^d`, a density p(z) of the aggregated posterior, and classes behind z.

    Parameters
    ----------
    shape
        Of one sample: (channels, height, width) of an image with values in [0, 1], or (features,).
    classes
        Of the task head; 0: there are no labels, and no head.
    autoencoder, density, head
        Settings of the three parts.

    Attributes
    ----------
    prior
        The density that codes were held against in training: standard normal in the coordinates of the Coordinate
        Layer, if there is one, else in z.
    density
        The density of the aggregated posterior.
    groups
        The head of groups, from z to their logits: what stands for the task head where no labels are used.
    density_levels
        Quantiles 0.05 and 0.5 of ``log_density`` on codes of images that took no part in the training, (2,).
    scale
        Mean squared distance of two codes, ().
    location, spread
        Mean and standard deviation by which vectors are made comparable; 0 and 1 for images.

    Examples
    --------
    >>> model = LatentModel((1, 8, 8), 10, AutoencoderSettings(dimension=4, hidden=(16,)), DensitySettings())
    >>> code = model.encode(torch.rand(5, 1, 8, 8))
    >>> code.mean.shape, model.decode(code.mean).shape, model.log_density(code.mean).shape
    (torch.Size([5, 4]), torch.Size([5, 1, 8, 8]), torch.Size([5]))
    """

    density_levels: Tensor
    scale: Tensor
    location: Tensor
    spread: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        autoencoder: AutoencoderSettings,
        density: DensitySettings,
        head: HeadSettings | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.classes, self.dimension = tuple(shape), classes, autoencoder.dimension
        self.encoder = build_encoder(autoencoder.kind, autoencoder.hidden, shape, 2 * self.dimension)
        self.decoder = build_decoder(autoencoder, shape)
        self.prior = FlowDensity(self.dimension, _coordinates(autoencoder))
        self.density = (
            MixtureDensity(density.components, self.dimension)
            if density.kind == "mixture"
            else copy.deepcopy(self.prior)
        )
        head = head or HeadSettings()
        self.head = perceptron(self.dimension, head.hidden, classes) if classes else None
        self.groups = perceptron(self.dimension, head.hidden, head.groups)
        self.register_buffer("density_levels", torch.zeros(2))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("location", torch.zeros(self.shape if not self.images else ()))
        self.register_buffer("spread", torch.ones(self.shape if not self.images else ()))

    @property
    def images(self) -> bool:
        """Whether samples are images, with values in [0, 1] and a Bernoulli likelihood; vectors have a Gaussian."""
        return len(self.shape) == 3

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of images (b, *shape)."""
        return self.decode(self.encode(images).mean)

    def standardise(self, samples: Tensor) -> None:
        """Take mean and standard deviation of vectors from samples (n, features); constant features keep their unit."""
        spread = samples.std(0)
        self.location.copy_(samples.mean(0))
        self.spread.copy_(torch.where(spread > 0, spread, 1.0))

    def encode(self, images: Tensor) -> Code:
        """Return the codes of images (b, *shape)."""
        mean, log_sd = self.encoder((images - self.location) / self.spread).chunk(2, -1)
        # exp(-10) is nowhere near a useful width: the bound only keeps the first steps of training finite.
        return Code(mean, log_sd.clamp(-10.0, 4.0))

    def outputs(self, z: Tensor) -> Tensor:
        """Return what the decoder says at points (..., d): logits of pixels, or standardised vectors."""
        return self.decoder(z.reshape(-1, self.dimension)).reshape(*z.shape[:-1], *self.shape)

    def decode(self, z: Tensor) -> Tensor:
        """Return the images at points (..., d), (..., *shape): the means of the likelihood."""
        output = self.outputs(z)
        return output.sigmoid() if self.images else self.location + self.spread * output

    def log_density(self, z: Tensor) -> Tensor:
        """Return log p of the aggregated posterior at points (..., d), of shape (...)."""
        return self.density.log_prob(z)

    def logits(self, z: Tensor) -> Tensor:
        """Return the task head's logits at points (..., d), (..., classes).

        Raises
        ------
        ValueError
            If the model has no labels.
        """
        if self.head is None:
            raise ValueError("logits: got a model without labels, which has no task head")
        return self.head(z)

    def check(self, name: str, z: Tensor) -> None:
        """Refuse points that the model knows nothing of, such as endpoints of a path.

        Parameters
        ----------
        name
            Of the argument, for the message.
        z
            Points (..., d).

        Raises
        ------
        ValueError
            If they have another dimension, are not finite, or lie where no code of an image does: ``log_density`` is
            below the quantile 0.05 by more than a hundred times what that is below the median.
        """
        if z.shape[-1:] != (self.dimension,):
            raise ValueError(f"{name}: got shape {tuple(z.shape)}, must be (..., {self.dimension})")
        low, middle = self.density_levels
        least = low - 100 * (middle - low)
        log_density = self.log_density(z)
        # Not `<`: NaN is outside, too.
        outside = torch.nonzero(~(log_density >= least).reshape(-1))
        if len(outside):
            number = int(outside[0])
            told = f"log density {log_density.reshape(-1)[number].item():.4g}"
            raise ValueError(
                f"{name}: point {number} lies outside the latent's range, {told}, must be >= {least.item():.4g}"
            )

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw points of the latent space from the density, (count, d)."""
        return self.density.sample(count, generator)


def _coordinates(settings: AutoencoderSettings) -> CoordinateMap | None:
    if not settings.flow:
        return None
    return alternating_couplings(settings.dimension, settings.flow, settings.flow_hidden, mixing=True)
