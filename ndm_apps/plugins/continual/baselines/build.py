"""From the settings of a baseline to its strategy."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from ndm_apps.plugins.base import Settings
from ndm_apps.plugins.continual.baselines.boundaries import Distillation, ElasticWeights
from ndm_apps.plugins.continual.baselines.densities import ClassDensities
from ndm_apps.plugins.continual.baselines.herding import Herding, NearestMean
from ndm_apps.plugins.continual.baselines.lda import FourierFeatures, ResidentLDA
from ndm_apps.plugins.continual.baselines.naive import ResidentNaive
from ndm_apps.plugins.continual.baselines.networks import network
from ndm_apps.plugins.continual.baselines.replay import ACEReplay, DarkReplay, ReservoirReplay
from ndm_apps.plugins.continual.baselines.retraining import Retrained
from ndm_apps.plugins.continual.baselines.settings import (
    ACEReplaySettings,
    DarkReplaySettings,
    DensitySettings,
    EWCSettings,
    ForestSettings,
    GDumbSettings,
    ICaRLSettings,
    LwFSettings,
    NaiveSettings,
    NetworkSettings,
    RandomFourierSettings,
    ReplaySettings,
    RetrainingSettings,
    StreamingLDASettings,
    TreeSettings,
)
from ndm_apps.plugins.continual.baselines.stores import Balanced, Everything
from ndm_apps.plugins.continual.baselines.streaming import StreamingStrategy
from ndm_apps.plugins.continual.baselines.trees import RiverForest, RiverTree

Learner = ResidentNaive | ResidentLDA | StreamingStrategy


def build(
    settings: Settings,
    shape: Sequence[int],
    classes: int,
    common: dict[str, Any],
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> Learner:
    """Return the strategy that the settings describe.

    Whatever it is, it has ``train`` and ``eval`` as Avalanche's strategies, ``state_dict`` and ``load_state_dict``,
    ``alarms`` (none), ``charts`` (1), ``parameters`` and ``stored_exemplars`` (numbers of them) and ``frozen()``, the
    classifier as plain layers or None. Where the settings have ``needs_boundaries``, ``train`` is to be given whole
    experiences: a privilege over the others.

    Parameters
    ----------
    settings
        Of one of the classes in :data:`~ndm_apps.plugins.continual.baselines.settings.METHODS`.
    shape
        Shape of a sample.
    classes
        Number of classes of the stream.
    common
        Settings of Avalanche's strategies: ``train_mb_size``, ``eval_mb_size``, ``device``, ``evaluator``.
    seed
        Seed of weights, stores and draws.
    dtype
        Floating-point type of the samples.

    Raises
    ------
    InputError
        If the settings do not fit the samples.
    TypeError
        If the settings are of no baseline.
    """
    if isinstance(settings, RetrainingSettings):
        model = _retrained(settings, shape, classes, seed, dtype, common["train_mb_size"])
        return StreamingStrategy(model=model, **common)
    if isinstance(settings, NetworkSettings):
        model = _network(settings, shape, classes, dtype, torch.Generator().manual_seed(seed))
        if isinstance(settings, ICaRLSettings):
            model = NearestMean(model, classes)
        optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
        return ResidentNaive(model=model, optimizer=optimizer, plugins=_plugins(settings, model, seed), **common)
    features = int(torch.Size(shape).numel())
    match settings:
        case StreamingLDASettings():
            return _lda(nn.Flatten(), features, settings.shrinkage, classes, dtype, common)
        case RandomFourierSettings():
            fourier = FourierFeatures(features, settings.width, bandwidth=settings.bandwidth, seed=seed, dtype=dtype)
            return _lda(fourier, settings.width, settings.shrinkage, classes, dtype, common)
        case DensitySettings():
            options = settings.model_dump(exclude={"immersion"})
            return StreamingStrategy(model=ClassDensities(classes, **options), **common)
        case ForestSettings():
            options = settings.model_dump(exclude={"immersion"})
            return StreamingStrategy(model=RiverForest(classes, **options, seed=seed), **common)
        case TreeSettings():
            options = settings.model_dump(exclude={"immersion"})
            return StreamingStrategy(model=RiverTree(classes, **options), **common)
    raise TypeError(f"no baseline for {type(settings).__name__}")


def _lda(
    model: nn.Module, features: int, shrinkage: float, classes: int, dtype: torch.dtype, common: dict[str, Any]
) -> ResidentLDA:
    return ResidentLDA(
        dtype=dtype,
        slda_model=model,
        criterion=nn.CrossEntropyLoss(),
        input_size=features,
        num_classes=classes,
        shrinkage_param=shrinkage,
        **common,
    )


def _network(
    settings: NetworkSettings, shape: Sequence[int], classes: int, dtype: torch.dtype, generator: torch.Generator
) -> nn.Sequential:
    made = network(
        shape,
        settings.hidden,
        classes,
        channels=settings.channels,
        standardise=settings.standardise,
        generator=generator,
    )
    return made.to(dtype)


def _plugins(settings: NetworkSettings, model: nn.Module, seed: int) -> list[SupervisedPlugin]:
    match settings:
        case DarkReplaySettings():
            return [
                DarkReplay(settings.exemplars, settings.replayed, alpha=settings.alpha, beta=settings.beta, seed=seed)
            ]
        case ACEReplaySettings():
            return [ACEReplay(settings.exemplars, settings.replayed, seed=seed)]
        case ReplaySettings():
            return [ReservoirReplay(settings.exemplars, settings.replayed, seed=seed)]
        case EWCSettings():
            return [ElasticWeights(settings.strength)]
        case LwFSettings():
            return [Distillation(settings.strength, settings.temperature, model)]
        case ICaRLSettings():
            return [Herding(settings.exemplars, seed=seed)]
        case NaiveSettings():
            return []
    raise TypeError(f"no baseline for {type(settings).__name__}")


def _retrained(
    settings: RetrainingSettings, shape: Sequence[int], classes: int, seed: int, dtype: torch.dtype, batch_size: int
) -> Retrained:
    store = Everything(seed=seed)
    if isinstance(settings, GDumbSettings):
        store = Balanced(settings.exemplars, seed=seed)
    return Retrained(
        store,
        partial(_network, settings, shape, classes, dtype),
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        epochs=settings.epochs,
        batch_size=batch_size,
        seed=seed,
    )
