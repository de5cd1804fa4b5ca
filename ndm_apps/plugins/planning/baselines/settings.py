"""Settings of the baselines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ndm_apps.plugins.base import Schema

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Horizon = Annotated[int, Field(ge=1, le=10_000)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Colour = Annotated[float, Field(ge=0.0, le=6.0)]


class ShootingSettings(Schema):
    """Settings of random shooting.

    Attributes
    ----------
    horizon
        Controls of a sequence.
    hold
        Steps for which each control is held inside the plan; the environment is controlled at every step.
    samples
        Sequences of a step.
    colour
        Exponent of the noise in time, see :class:`~ndm_apps.plugins.planning.baselines.proposals.Normal`.
    terminal
        What the end of a sequence costs. ``none``: nothing, or where there is a goal to reach, how far it is
        (:class:`~ndm_apps.plugins.planning.baselines.objective.Objective`). ``value``: the geodesic
        planner's value.
    """

    horizon: Horizon = 30
    hold: Count = 1
    samples: Count = 800
    colour: Colour = 2.0
    terminal: Literal["none", "value"] = "none"


class CemSettings(ShootingSettings):
    """Settings of the cross-entropy method, beside those of :class:`ShootingSettings`.

    Attributes
    ----------
    samples, iterations
        Sequences of an iteration, and iterations of a step.
    elites
        Best sequences, to which the distribution is fitted.
    kept
        Elites that take part again in the next iteration and, shifted, in the next step.
    spread
        Width of the distribution at the start of a step: half ranges of a continuous control, or the share of the
        uniform distribution among discrete ones.
    """

    samples: Count = 200
    iterations: Count = 4
    elites: Count = 20
    kept: Annotated[int, Field(ge=0)] = 5
    spread: Share = 0.5

    @model_validator(mode="after")
    def _fewer(self) -> CemSettings:
        if not self.kept <= self.elites <= self.samples:
            raise ValueError(
                f"kept, elites and samples must not fall, got {self.kept}, {self.elites} and {self.samples}"
            )
        return self


class MppiSettings(ShootingSettings):
    """Settings of model predictive path integral control, beside those of :class:`ShootingSettings`.

    Attributes
    ----------
    iterations, spread
        As in :class:`CemSettings`.
    temperature
        In distances of the median from the least cost.
    """

    samples: Count = 400
    iterations: Count = 2
    temperature: Annotated[float, Field(gt=0.0)] = 0.1
    spread: Share = 0.5


class IlqrSettings(Schema):
    """Settings of iLQR.

    Attributes
    ----------
    horizon
        Controls of a plan.
    samples, tries
        Random sequences at the start of an episode, and how many of the best of them are improved to keep one.
    first, iterations
        Most iterations at the start of an episode, and at each later step, from the plan before.
    tolerance
        Fraction of the cost that an iteration has to win for another one to follow.
    """

    horizon: Horizon = 60
    samples: Count = 400
    tries: Count = 4
    first: Count = 60
    iterations: Count = 3
    tolerance: Annotated[float, Field(ge=0.0, lt=1.0)] = 1e-4


class ModelFreeSettings(Schema):
    """Settings of SAC and TD3.

    Attributes
    ----------
    steps
        Steps in the environment.
    options
        Arguments of the algorithm's constructor, where its own defaults are not wanted.
    """

    steps: Count = 20_000
    options: dict[str, Any] = Field(default_factory=dict)
