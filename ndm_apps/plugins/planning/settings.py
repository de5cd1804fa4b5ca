"""Settings of the planning methods: HOW a task is learnt and planned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ndm_apps.plugins.base import Settings
from ndm_apps.plugins.planning.baselines.settings import (
    CemSettings,
    IlqrSettings,
    ModelFreeSettings,
    MppiSettings,
    ShootingSettings,
)
from ndm_apps.plugins.planning.learner_settings import LearnerSettings
from ndm_apps.plugins.planning.planner_settings import PlannerSettings


class EvaluationSettings(Settings):
    """What all methods have in common.

    Attributes
    ----------
    episodes
        Episodes of the evaluation.
    first_seed
        Seed of the environment's first episode there; the others follow. The same for all methods: pairs. Validation
        has seeds of its own, from 1000 more.
    """

    episodes: Annotated[int, Field(ge=1, le=10_000)] = 20
    first_seed: Annotated[int, Field(ge=0, le=2**30)] = 0


class ModelBasedSettings(EvaluationSettings):
    """What all methods that plan on a model have in common.

    Attributes
    ----------
    model
        ``known``: the equations of the environment; ``learned``: fitted to steps of it.
    steps
        Steps of the environment that are learnt from, at most; null: as many as the task grants.
    learner
        How the model is learnt: the same way for every planner, so that all plan on the same model.
    """

    model: Literal["known", "learned"] = "learned"
    steps: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    learner: LearnerSettings = LearnerSettings()


class NDMSettings(ModelBasedSettings):
    """Settings of the method ``ndm``: least-action paths on the dynamics.

    Attributes
    ----------
    planner
        How paths are looked for. A point among walls or in a current has a planner of its own, with nothing to set.
    """

    planner: PlannerSettings = PlannerSettings()


class CemMethod(ModelBasedSettings):
    """Settings of the method ``cem``: the cross-entropy method on the same model."""

    planner: CemSettings = CemSettings()


class MppiMethod(ModelBasedSettings):
    """Settings of the method ``mppi``: model predictive path integral control on the same model."""

    planner: MppiSettings = MppiSettings()


class ShootingMethod(ModelBasedSettings):
    """Settings of the method ``random_shooting`` on the same model."""

    planner: ShootingSettings = ShootingSettings()


class IlqrMethod(ModelBasedSettings):
    """Settings of the method ``ilqr``: the iterative linear-quadratic regulator on the same model."""

    planner: IlqrSettings = IlqrSettings()


class ModelFreeMethod(EvaluationSettings):
    """Settings of ``sac`` and ``td3``, which learn a policy without a model."""

    policy: ModelFreeSettings = ModelFreeSettings()


METHODS: dict[str, type[EvaluationSettings]] = {
    "ndm": NDMSettings,
    "cem": CemMethod,
    "mppi": MppiMethod,
    "random_shooting": ShootingMethod,
    "ilqr": IlqrMethod,
    "sac": ModelFreeMethod,
    "td3": ModelFreeMethod,
}
