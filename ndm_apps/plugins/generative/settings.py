"""Settings of the generative methods: HOW a latent model is trained, and by which metric it is walked through."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.plugins.base import Schema, Settings
from ndm_apps.plugins.generative.model_settings import (
    AutoencoderSettings,
    DensitySettings,
    HeadSettings,
    PlainAutoencoderSettings,
    PriorSettings,
)

Strength = Annotated[float, Field(ge=0.0, le=1000.0)]
PathName = Literal["line", "slerp", "geodesic", "avoid", "label_free", "pull_back", "pull_back_fisher"]


class MetricSettings(Schema):
    """The metric of the latent space; see :func:`~ndm_apps.plugins.generative.metric.latent_metric`.

    Attributes
    ----------
    entropy
        Strength of the task head's predictive entropy; where no labels are used, of that of the head of groups.
    avoid
        Strength of the head's probability of third classes, on paths from class to class.
    density
        How much longer, at most, paths get where the density of codes is low.
    head
        Weight of the pull-back of the head's probabilities.
    own
        The user's own metric in place of ours, ``"module:function"``; see
        :func:`~ndm_apps.plugins.generative.own.own_metric`.
    """

    entropy: Strength = 1.0
    avoid: Strength = 2.0
    density: Strength = 20.0
    head: Strength = 0.0
    own: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None


class JudgeSettings(Schema):
    """The judge of paths and samples: a convolutional classifier and an autoencoder that no model has seen.

    ``epochs`` is the number of passes through its images.
    """

    epochs: Annotated[int, Field(ge=1, le=1000)] = 4


class LatentSettings(Settings):
    """What all methods have in common.

    Attributes
    ----------
    model
        The autoencoder.
    density, head, metric, judge
        The density of codes, the task head, the metric, and the judge.
    paths
        The paths that are compared, beside straight lines and great arcs.
    """

    model: AutoencoderSettings = AutoencoderSettings()
    density: DensitySettings = DensitySettings()
    head: HeadSettings = HeadSettings()
    metric: MetricSettings = MetricSettings()
    judge: JudgeSettings = JudgeSettings()
    paths: tuple[PathName, ...] = ()

    @model_validator(mode="after")
    def _a_flow_to_train(self) -> LatentSettings:
        if self.density.kind == "flow" and not self.model.flow:
            raise FieldError(("density", "kind"), "got flow, but model.flow is 0: must be mixture or prior there")
        return self


class NDMSettings(LatentSettings):
    """Settings of the method ``ndm``: geodesics of a learned metric, samples of the density of codes."""

    paths: tuple[PathName, ...] = ("geodesic", "avoid", "label_free", "pull_back", "pull_back_fisher")


class VAESettings(LatentSettings):
    """Settings of the method ``vae``: the usual variational autoencoder, samples of its prior, straight lines."""

    model: PlainAutoencoderSettings = PlainAutoencoderSettings()
    density: PriorSettings = PriorSettings()


METHODS: dict[str, type[LatentSettings]] = {"ndm": NDMSettings, "vae": VAESettings}
