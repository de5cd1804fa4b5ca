"""Settings of the latent model: HOW the autoencoder, the density of its codes and the task head are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.plugins.base import Schema

Width = Annotated[int, Field(ge=1, le=65536)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class AutoencoderSettings(Schema):
    r"""The autoencoder, trained on reconstruction plus ``kl`` times the divergence of codes from their prior.

    Attributes
    ----------
    kind
        ``mlp``, or ``conv`` for images.
    dimension
        Of the latent space.
    kl
        Weight of the divergence: 1 is the evidence lower bound; less leaves codes room, and holes between them.
    critic, critic_epochs
        Weight of a critic of images beside their pixels, and passes through the images at the end in which it teaches
        the decoder to draw what pixels alone would have it blur; see
        :class:`~ndm_apps.plugins.generative.critic.Duel`. Vectors have none.
    hidden
        Widths of the encoder from the input on, channels where it is convolutional (each halves the image); the
        decoder has them in reverse.
    flow
        Couplings of the Coordinate Layer that takes codes to the coordinates in which their prior is standard normal;
        0: it is so in the latent space itself.
    flow_hidden
        Hidden widths of their networks.
    epochs, batch, rate
        Passes through the images, images in a step, and largest step size of Adam; it falls to 0 along a cosine.
    decoder
        The user's own decoder in place of the built-in one, ``"module:Class"``; see
        :func:`~ndm_apps.plugins.generative.own.own_decoder`.
    """

    kind: Literal["mlp", "conv"] = "mlp"
    dimension: Annotated[int, Field(ge=1, le=256)] = 16
    kl: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.1
    critic: Annotated[float, Field(ge=0.0, le=1000.0)] = 1.0
    critic_epochs: Epochs = 2
    hidden: Annotated[tuple[Width, ...], Field(min_length=1, max_length=10)] = (400, 200)
    flow: Annotated[int, Field(ge=0, le=32)] = 4
    flow_hidden: Annotated[tuple[Width, ...], Field(max_length=10)] = (64,)
    epochs: Epochs = 8
    batch: Annotated[int, Field(ge=1, le=65536)] = 128
    rate: Rate = 2e-3
    decoder: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None

    @model_validator(mode="after")
    def _two_to_couple(self) -> AutoencoderSettings:
        if self.flow and self.dimension < 2:
            raise FieldError(("flow",), f"got {self.flow} in dimension {self.dimension}, must be 0 there")
        return self


class PlainAutoencoderSettings(AutoencoderSettings):
    """The usual variational autoencoder."""

    dimension: Annotated[int, Field(ge=1, le=256)] = 8
    kl: Annotated[float, Field(ge=0.0, le=1000.0)] = 1.0
    critic: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    flow: Annotated[int, Field(ge=0, le=32)] = 0


class DensitySettings(Schema):
    """The density of the aggregated posterior: of codes drawn for all training images together.

    Attributes
    ----------
    kind
        ``mixture`` of Gaussians with full covariances; ``flow``, the prior of the Coordinate Layer, trained on with
        the autoencoder frozen; ``prior``, the same as it is.
    components, regular
        Of the mixture, and what its covariances' diagonals are raised by.
    samples
        Codes it is fitted to.
    epochs, rate
        Of the flow.
    """

    kind: Literal["mixture", "flow", "prior"] = "mixture"
    components: Annotated[int, Field(ge=1, le=10_000)] = 64
    regular: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    samples: Annotated[int, Field(ge=100, le=10_000_000)] = 20_000
    epochs: Epochs = 10
    rate: Rate = 1e-3

    @model_validator(mode="after")
    def _codes_for_all(self) -> DensitySettings:
        if self.components > self.samples:
            raise FieldError(("components",), f"got {self.components}, must be at most the {self.samples} samples")
        return self


class PriorSettings(DensitySettings):
    """The prior, for a density."""

    kind: Literal["mixture", "flow", "prior"] = "prior"


class HeadSettings(Schema):
    """The heads, of classes and of groups: MLPs that tell what a classifier of images says of decoded points.

    Attributes
    ----------
    hidden, steps, batch, rate
        Widths of its hidden layers, steps of Adam, points in each, and size of the first.
    points
        Points of the latent space that it learns from.
    teacher_steps, teacher_rate
        Steps of Adam for the classifier of images, and size of the first.
    groups, temperature
        Groups that stand for the classes where no labels are used, and what the logits of their classifier are divided
        by; see :func:`~ndm_apps.plugins.generative.groups.train_groups`.
    """

    hidden: Annotated[tuple[Width, ...], Field(min_length=1, max_length=10)] = (96, 96)
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    batch: Annotated[int, Field(ge=1, le=65536)] = 256
    rate: Rate = 2e-3
    points: Annotated[int, Field(ge=1, le=10_000_000)] = 24_000
    teacher_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    teacher_rate: Rate = 3e-3
    groups: Annotated[int, Field(ge=2, le=1000)] = 10
    temperature: Annotated[float, Field(gt=0.0, le=1000.0)] = 4.0
