"""Settings of the learner: HOW dynamics are learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ndm_apps.plugins.base import Schema


class LearnerSettings(Schema):
    """How dynamics are learnt: one rule for all tasks.

    Attributes
    ----------
    structure
        ``net``: networks, affine in the control and nothing more; ``kinetic``: a metric of configurations, for
        mechanical systems; ``auto``: the latter where it predicts steps it was not fitted to, else the former.
    members, hidden, iterations
        Networks of the ensemble, units of their two hidden layers, and steps of their optimiser.
    random
        Part of the steps that are random; the rest are taken by the planner on the model so far, as long as the model
        is surprised.
    watch
        Steps of the planner between looks at whether the model was surprised.
    surprise
        Error of one step, relative to the typical change in a step, from which the model counts as surprised.
    """

    structure: Literal["auto", "net", "kinetic"] = "auto"
    members: Annotated[int, Field(ge=1, le=20)] = 3
    hidden: Annotated[int, Field(ge=1, le=512)] = 16
    iterations: Annotated[int, Field(ge=1, le=10_000)] = 300
    random: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    watch: Annotated[int, Field(ge=1, le=1000)] = 25
    surprise: Annotated[float, Field(gt=0.0)] = 0.02
