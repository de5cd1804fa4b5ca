"""Settings of the methods that are ours: HOW it is learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.plugins.continual.immersion.settings import ImmersionSettings, LiftSettings, WithImmersion
from ndm_apps.plugins.continual.shift.settings import DetectorSettings


class NDMSettings(WithImmersion):
    """The NDM: frozen immersion, accumulated metric with its natural-gradient read-out, atlas of watching charts.

    Attributes
    ----------
    immersion
        The map from samples to the features that carry the metric, fixed by the first samples.
    solver
        ``lda``: within-class metric, shared by all classes; ``ridge``: metric of the inputs.
    shrinkage
        Shrinkage of the metric towards the identity, relative to its mean eigenvalue.
    domains
        Most read-outs kept apart, where charts show known labels with new inputs; 1: one for all.
    half_life
        Samples after which one counts half, for streams whose labels change their meaning; ``null``: nothing fades.
        Only where there is one domain.
    detector
        The shift detector; ``null`` switches detection and chart growth off.
    """

    immersion: ImmersionSettings | None = LiftSettings()
    solver: Literal["lda", "ridge"] = "lda"
    shrinkage: Annotated[float, Field(gt=0.0, le=1e3)] = 1e-2
    domains: Annotated[int, Field(ge=1, le=1000)] = 1
    half_life: Annotated[float, Field(gt=0.0, le=1e12)] | None = None
    detector: DetectorSettings | None = DetectorSettings()

    @property
    def immerses_itself(self) -> bool:
        """Whether the method wants the samples themselves, to map those of one domain to another."""
        return self.domains > 1

    @model_validator(mode="after")
    def _one_domain_fades(self) -> NDMSettings:
        if self.half_life is not None and self.domains > 1:
            raise FieldError(("half_life",), f"got {self.half_life} with {self.domains} domains, must be null there")
        return self


class TrainedNDMSettings(WithImmersion):
    """The paper's network trained by gradient: one NDM per chart, grown at alarms, old ones frozen.

    Attributes
    ----------
    coordinates
        Principal coordinates of the first samples that networks are trained in; all features where there are fewer.
    depth
        Layers, each an invertible coordinate map and a Metric Net.
    structure
        Structure of the Metric Nets.
    geometric
        Weight of ``L_geo = L_curv + L_vol``; 0 leaves the metric untrained.
    bounded
        Take ``L_geo`` in a form of bounded gradient: the natural gradient needs that in many coordinates.
    compatibility
        Weight in ``L_geo`` of how far the layers disagree about distances.
    points
        Points of each mini-batch at which the curvature is evaluated; ``null`` for all.
    optimizer
        ``adam``, or ``natural``: K-FAC with a trust region.
    learning_rate, steps
        Step size, and steps on each mini-batch.
    damping
        Of the natural gradient, at the start.
    detector
        The shift detector, whose charts the networks belong to; ``null`` for one network that goes on learning.
    """

    coordinates: Annotated[int, Field(ge=1, le=1024)] = 128
    depth: Annotated[int, Field(ge=1, le=100)] = 2
    structure: Literal["conformal", "diagonal", "cholesky"] = "conformal"
    geometric: Annotated[float, Field(ge=0.0, le=1e6)] = 0.1
    bounded: bool = False
    compatibility: Annotated[float, Field(ge=0.0, le=1e6)] = 0.0
    points: Annotated[int, Field(ge=1, le=65_536)] | None = 8
    optimizer: Literal["adam", "natural"] = "adam"
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 3e-3
    steps: Annotated[int, Field(ge=1, le=1000)] = 5
    damping: Annotated[float, Field(ge=0.0, le=1e6)] = 1.0
    detector: DetectorSettings | None = DetectorSettings()

    @model_validator(mode="after")
    def _layers_to_compare(self) -> TrainedNDMSettings:
        if self.compatibility and self.depth < 2:
            raise FieldError(("compatibility",), f"got {self.compatibility} at depth 1, must be 0 there")
        return self


class PlainTrainedNDMSettings(TrainedNDMSettings):
    """The same networks trained on the task's loss alone."""

    geometric: Annotated[float, Field(ge=0.0, le=1e6)] = 0.0


class CompatibleTrainedNDMSettings(TrainedNDMSettings):
    """The same networks, whose geometric loss also makes neighbouring layers agree on distances."""

    compatibility: Annotated[float, Field(ge=0.0, le=1e6)] = 1.0


class NaturalTrainedNDMSettings(TrainedNDMSettings):
    """The same networks and loss under the natural gradient."""

    optimizer: Literal["adam", "natural"] = "natural"
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    bounded: bool = True


class SingleTrainedNDMSettings(TrainedNDMSettings):
    """One network without charts, which goes on learning whatever comes."""

    detector: DetectorSettings | None = None


TRAINED: dict[str, type[TrainedNDMSettings]] = {
    "ndm_trained": TrainedNDMSettings,
    "ndm_trained_plain": PlainTrainedNDMSettings,
    "ndm_trained_compatible": CompatibleTrainedNDMSettings,
    "ndm_trained_natural": NaturalTrainedNDMSettings,
    "ndm_trained_single": SingleTrainedNDMSettings,
}
