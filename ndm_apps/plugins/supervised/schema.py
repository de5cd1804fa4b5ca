"""Schemas of supervised tasks (WHAT: data, how few samples, how it is scored) and of the methods' settings (HOW)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.plugins.base import DatasetSource, Schema, Settings, Task

Width = Annotated[int, Field(ge=1, le=65536)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]


class Robustness(Schema):
    """How inputs are spoilt for scoring. Sizes are shares of the range of the training inputs.

    Attributes
    ----------
    noise
        Standard deviations of Gaussian noise.
    eps, pgd_steps
        Radius of the attacks in the largest norm, and the steps of projected gradient descent.
    samples
        Noise, attacks and corruptions are scored on the first so many test samples.
    """

    noise: Annotated[tuple[Annotated[float, Field(gt=0.0, le=10.0)], ...], Field(min_length=1, max_length=10)] = (
        0.1,
        0.2,
        0.4,
    )
    eps: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    pgd_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    samples: Annotated[int, Field(ge=1, le=1_000_000)] = 1000


class SupervisedTask(Task):
    """Classification after training on few samples.

    Attributes
    ----------
    dataset
        The data; its test set is the usual one.
    train_samples
        Training samples, drawn by the run's seed with the classes as even as can be; all of them if null.
    target_loss
        The mean training loss that ``steps_to_loss`` and ``seconds_to_loss`` are counted to.
    robustness
        How inputs are spoilt.
    """

    domain: Literal["supervised"]
    dataset: DatasetSource
    train_samples: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    target_loss: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    robustness: Robustness = Robustness()


class TrainingSettings(Settings):
    """What every method shares.

    Attributes
    ----------
    steps, batch_size
        Optimiser steps, and samples of each (all training samples if they are fewer).
    learning_rate
        Step size.
    components
        Inputs are projected onto so many principal components of the training samples; null for all inputs.
    precision
        ``mixed`` makes the products of the forward pass in bfloat16; geometry stays in full precision. Not for the
        natural gradient.
    compile
        Whether the forward pass is compiled by ``torch.compile``. Not for the natural gradient, which looks into it.
    """

    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    learning_rate: Annotated[float, Field(gt=0.0, le=100.0)] = 3e-3
    components: Width | None = None
    precision: Literal["full", "mixed"] = "full"
    compile: bool = False


class NDMSettings(TrainingSettings):
    r"""The NDM, trained on :math:`L_\text{task} + \lambda L_\text{geo}`.

    Attributes
    ----------
    depth, couplings, coupling_hidden
        Layers, affine couplings in each one's coordinate map, and the hidden widths of their networks.
    mixing
        Whether a learned linear map, the identity at the start, goes before each coupling. The optimisers here do not
        keep it a rotation.
    structure, metric_hidden
        Structure and hidden widths of the Metric Nets.
    geometric
        Lambda, the weight of the geometric loss; 0 leaves the metric untrained.
    weighting
        ``constant``, or ``balanced``: the geometric loss pulls ``geometric`` times as hard as the task, by the norm of
        the gradients.
    curvature, volume, compatibility
        Weights of its terms; the last compares neighbouring layers, so it needs two or more.
    points
        Points of each batch at which the geometric loss is evaluated, drawn anew each time; null for all.
    curv_every
        Evaluate the curvature at every so many steps.
    optimiser
        ``adam``; or the natural gradient, by Kronecker factors (``kfac``) or conjugate gradients (``cg``).
    damping, learned
        Of the natural gradient: its damping at the start, and the weight of the metrics learned in the layers beside
        the Fisher metric of the outputs.
    """

    depth: Annotated[int, Field(ge=1, le=100)] = 2
    couplings: Annotated[int, Field(ge=1, le=100)] = 2
    coupling_hidden: Annotated[tuple[Width, ...], Field(max_length=10)] = (64,)
    mixing: bool = True
    structure: Literal["conformal", "diagonal", "block", "low_rank", "cholesky"] = "conformal"
    metric_hidden: Annotated[tuple[Width, ...], Field(min_length=1, max_length=10)] = (32, 32)
    geometric: Weight = 0.01
    weighting: Literal["constant", "balanced"] = "constant"
    curvature: Weight = 1.0
    volume: Weight = 1.0
    compatibility: Weight = 0.0
    points: Annotated[int, Field(ge=1, le=65536)] | None = 16
    curv_every: Annotated[int, Field(ge=1, le=1000)] = 1
    optimiser: Literal["adam", "kfac", "cg"] = "adam"
    damping: Weight = 0.1
    learned: Weight = 0.0

    @model_validator(mode="after")
    def _plain_natural_gradient(self) -> NDMSettings:
        for name, value, plain in (("precision", self.precision, "full"), ("compile", self.compile, False)):
            if self.optimiser != "adam" and value != plain:
                needed = f"must be {str(plain).lower()} there"
                raise FieldError((name,), f"got {str(value).lower()} with optimiser {self.optimiser}, {needed}")
        return self

    @model_validator(mode="after")
    def _layers_to_compare(self) -> NDMSettings:
        if self.compatibility and self.depth < 2:
            raise FieldError(("compatibility",), f"got {self.compatibility} at depth 1, must be 0 there")
        return self


class CompatibleNDMSettings(NDMSettings):
    """The NDM whose geometric loss also makes neighbouring layers agree on distances."""

    compatibility: Weight = 1.0


class PlainNDMSettings(NDMSettings):
    """The same network trained on the task's loss alone."""

    geometric: Weight = 0.0


class NaturalNDMSettings(NDMSettings):
    """The same network and loss under the natural gradient."""

    optimiser: Literal["adam", "kfac", "cg"] = "kfac"
    learning_rate: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0


class MLPSettings(TrainingSettings):
    """A multilayer perceptron with ReLU, trained by Adam.

    Attributes
    ----------
    parameters, layers
        Its hidden layers are equally wide, as wide as so many parameters in all allow.
    weight_decay
        Of AdamW (Loshchilov and Hutter 2019).
    dropout
        Share of hidden units left out in each step (Srivastava et al. 2014).
    spectral_norm
        Largest singular value that each weight matrix is scaled to (Miyato et al. 2018); null for no scaling.
    """

    parameters: Annotated[int, Field(ge=1, le=1_000_000_000)] = 25_000
    layers: Annotated[int, Field(ge=1, le=100)] = 2
    weight_decay: Weight = 0.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    spectral_norm: Annotated[float, Field(gt=0.0, le=1e3)] | None = None


class WeightDecaySettings(MLPSettings):
    """The perceptron with weight decay."""

    weight_decay: Weight = 0.1


class DropoutSettings(MLPSettings):
    """The perceptron with dropout."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5


class SpectralNormSettings(MLPSettings):
    """The perceptron with spectral normalisation."""

    spectral_norm: Annotated[float, Field(gt=0.0, le=1e3)] | None = 2.0
