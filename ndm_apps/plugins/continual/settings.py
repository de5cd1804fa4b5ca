"""Settings of the methods that are ours: HOW it is learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ndm_apps.plugins.base import Settings
from ndm_apps.plugins.continual.shift.settings import DetectorSettings


class NDMSettings(Settings):
    """The NDM: frozen immersion, accumulated metric with its natural-gradient read-out, atlas of watching charts.

    Attributes
    ----------
    lift
        Width of the random ReLU lift beside the inputs themselves; 0 for none.
    solver
        ``lda``: within-class metric, shared by all classes; ``ridge``: metric of the inputs.
    shrinkage
        Shrinkage of the metric towards the identity, relative to its mean eigenvalue.
    detector
        The shift detector; ``null`` switches detection and chart growth off.
    """

    lift: Annotated[int, Field(ge=0, le=100_000)] = 1000
    solver: Literal["lda", "ridge"] = "lda"
    shrinkage: Annotated[float, Field(gt=0.0, le=1e3)] = 1e-2
    detector: DetectorSettings | None = DetectorSettings()


class TrainedNDMSettings(Settings):
    """The paper's network trained by gradient: one NDM per chart, grown at alarms, old ones frozen.

    Attributes
    ----------
    depth
        Layers, each an invertible coordinate map and a Metric Net.
    structure
        Structure of the Metric Nets.
    geometric
        Weight of ``L_curv + L_vol``; 0 leaves the metric untrained.
    learning_rate, steps
        Step size of Adam, and its steps on each mini-batch.
    detector
        The shift detector, whose charts the networks belong to.
    """

    depth: Annotated[int, Field(ge=1, le=100)] = 2
    structure: Literal["conformal", "diagonal", "cholesky"] = "conformal"
    geometric: Annotated[float, Field(ge=0.0, le=1e6)] = 0.1
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 3e-3
    steps: Annotated[int, Field(ge=1, le=1000)] = 5
    detector: DetectorSettings = DetectorSettings()
