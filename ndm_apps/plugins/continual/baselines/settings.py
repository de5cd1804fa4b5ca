"""Settings of the baselines."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ndm_apps.plugins.continual.immersion.settings import WithImmersion

Width = Annotated[int, Field(ge=1, le=65536)]
Weight = Annotated[float, Field(ge=0.0, le=1e9)]


class NetworkSettings(WithImmersion):
    """What every baseline that trains a network by gradient has in common.

    Attributes
    ----------
    channels
        Widths of convolutions (3 x 3, stride 2, ReLU) on images before the hidden layers; none by default.
    hidden
        Widths of the hidden layers; empty: a linear classifier.
    standardise
        Shift every input, and scale all alike, by mean and standard deviation over the first mini-batch.
    learning_rate, momentum
        Of stochastic gradient descent.
    """

    channels: Annotated[tuple[Width, ...], Field(max_length=6)] = ()
    hidden: Annotated[tuple[Width, ...], Field(max_length=10)] = (400, 400)
    standardise: bool = False
    learning_rate: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class NaiveSettings(NetworkSettings):
    """Fine-tuning: plain gradient descent on the stream (Avalanche's ``Naive``)."""


class ReplaySettings(NetworkSettings):
    """Experience replay: each mini-batch is joined by stored exemplars.

    ``replayed`` of them are drawn from a reservoir of ``exemplars``.
    """

    exemplars: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    replayed: Width = 32


class LargeReplaySettings(ReplaySettings):
    """Experience replay with 500 exemplars."""

    exemplars: Annotated[int, Field(ge=1, le=10_000_000)] = 500


class ACEReplaySettings(LargeReplaySettings):
    """Replay with the asymmetric cross-entropy: new samples compete with the classes of their mini-batch only."""


class DarkReplaySettings(LargeReplaySettings):
    """DER++: replay of logits (weight ``alpha``) and of labels (weight ``beta``), two draws of ``replayed`` each."""

    alpha: Weight = 0.2
    beta: Weight = 0.5


class RetrainingSettings(NetworkSettings):
    """What is common to baselines that store samples and train a fresh network whenever they are asked to predict.

    ``epochs`` passes over the store, in random order, with a learning rate that falls to zero along a half cosine.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 1


class JointSettings(RetrainingSettings):
    """Not continual: all that was seen is kept and learnt in random order; one epoch is one pass, as of the others."""


class GDumbSettings(RetrainingSettings):
    """GDumb: a store of ``exemplars``, balanced over the classes, is all that a fresh network is trained on."""

    exemplars: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 30


class EWCSettings(NetworkSettings):
    """Elastic weight consolidation, told where experiences end; ``strength`` weighs its penalty."""

    needs_boundaries: ClassVar[bool] = True

    strength: Weight = 100.0


class LwFSettings(NetworkSettings):
    """Learning without forgetting, told where experiences end: distillation of the network of the last end.

    ``strength`` weighs the distillation, ``temperature`` softens its targets.
    """

    needs_boundaries: ClassVar[bool] = True

    strength: Weight = 1.0
    temperature: Annotated[float, Field(gt=0.0, le=1e3)] = 2.0


class ICaRLSettings(NetworkSettings):
    """iCaRL, told where experiences end: exemplars chosen by herding, distillation, nearest mean of exemplars."""

    needs_boundaries: ClassVar[bool] = True

    exemplars: Annotated[int, Field(ge=1, le=10_000_000)] = 500


Shrinkage = Annotated[float, Field(gt=0.0, le=1.0)]


class StreamingLDASettings(WithImmersion):
    """Avalanche's ``StreamingLDA``, with ``shrinkage`` of the covariance towards the identity."""

    shrinkage: Shrinkage = 1e-2


class RandomFourierSettings(WithImmersion):
    """RanDumb: random Fourier features of a Gaussian kernel, and streaming linear discriminant analysis on them.

    Attributes
    ----------
    width
        Number of features.
    bandwidth
        Of the kernel, in units of the root mean square distance of two samples of the first mini-batch.
    shrinkage
        Of the covariance towards the identity.
    """

    width: Width = 2000
    bandwidth: Annotated[float, Field(gt=0.0, le=1e3)] = 1.0
    shrinkage: Shrinkage = 1e-4


class DensitySettings(WithImmersion):
    """Growing mixtures of Gaussians, one for each class, as in expert methods without boundaries (CN-DPM).

    Attributes
    ----------
    dimension
        Principal components of the first ``warmup`` samples that densities live on.
    warmup
        Samples that fix them.
    memory
        Samples of a class that no component explains and that make a new one together.
    concentration
        Logarithm of the odds that a sample belongs to no component yet.
    shrinkage
        Of each covariance towards that of its class.
    """

    dimension: Annotated[int, Field(ge=1, le=4096)] = 64
    warmup: Annotated[int, Field(ge=2, le=1_000_000)] = 500
    memory: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    concentration: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    shrinkage: Shrinkage = 0.1


class TreeSettings(WithImmersion):
    """river's Hoeffding tree (``pip install river``), for tables rather than images.

    Attributes
    ----------
    grace_period
        Samples of a leaf between two attempts to split it.
    delta
        Probability that a split is not the best one.
    """

    grace_period: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    delta: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-7


class ForestSettings(TreeSettings):
    """river's adaptive random forest (``pip install river``): trees replaced when ADWIN detects a change."""

    grace_period: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    delta: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    trees: Annotated[int, Field(ge=1, le=1000)] = 10


METHODS: dict[str, type[WithImmersion]] = {
    "slda": StreamingLDASettings,
    "randumb": RandomFourierSettings,
    "densities": DensitySettings,
    "gdumb": GDumbSettings,
    "der": DarkReplaySettings,
    "er_ace": ACEReplaySettings,
    "replay_500": LargeReplaySettings,
    "replay": ReplaySettings,
    "icarl": ICaRLSettings,
    "ewc": EWCSettings,
    "lwf": LwFSettings,
    "naive": NaiveSettings,
    "joint": JointSettings,
    "hoeffding_tree": TreeSettings,
    "adaptive_forest": ForestSettings,
}
