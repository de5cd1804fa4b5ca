"""The Avalanche strategy that a method's settings describe."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import warnings
from typing import Any

import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin

from ndm_apps.plugins.base import RunContext, Settings
from ndm_apps.plugins.continual.baselines import build as baselines
from ndm_apps.plugins.continual.immersion.base import Immersion
from ndm_apps.plugins.continual.immersion.build import build
from ndm_apps.plugins.continual.immersion.identity import Identity
from ndm_apps.plugins.continual.settings import NDMSettings, TrainedNDMSettings
from ndm_apps.plugins.continual.shift.detector import ShiftDetector
from ndm_apps.plugins.continual.strategy import NDMStrategy
from ndm_apps.plugins.continual.stream import Stream
from ndm_apps.plugins.continual.trained import TrainedNDMStrategy


def build_learner(settings: Settings, shape: torch.Size, stream: Stream, context: RunContext) -> Any:
    """Return the strategy for samples of a shape, as they come out of the immersion."""
    common: dict[str, Any] = {
        "train_mb_size": stream.batch_size,
        "eval_mb_size": 512,
        "device": context.device,
        "evaluator": _evaluator(),
    }
    dtype = getattr(torch, context.dtype)
    match settings:
        case NDMSettings():
            return NDMStrategy(
                immersion=_own_immersion(settings, context.seed),
                solver=settings.solver,
                shrinkage=settings.shrinkage,
                domains=settings.domains,
                half_life=settings.half_life,
                classes=stream.classes,
                detector=settings.detector and ShiftDetector(**settings.detector.model_dump(), seed=context.seed),
                **common,
            )
        case TrainedNDMSettings():
            return TrainedNDMStrategy(
                features=shape.numel(),
                classes=stream.classes,
                detector=settings.detector and ShiftDetector(**settings.detector.model_dump(), seed=context.seed),
                dtype=dtype,
                seed=context.seed,
                **settings.model_dump(exclude={"immersion", "detector"}),
                **common,
            )
    return baselines.build(settings, shape, stream.classes, common, seed=context.seed, dtype=dtype)


def _own_immersion(settings: NDMSettings, seed: int) -> Immersion:
    """Return the learner's immersion: none where samples come immersed."""
    if settings.immersion is None or not settings.immerses_itself:
        return Identity()
    return build(settings.immersion, seed=seed)


def _evaluator() -> EvaluationPlugin:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")  # the run has a log of its own
        return EvaluationPlugin(accuracy_metrics(experience=True))
