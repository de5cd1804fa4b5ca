"""Schema of generative tasks: WHAT images are generated, and how that is scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ndm_apps.plugins.base import DatasetSource, Schema, Task


class Score(Schema):
    """How paths and samples are scored, by a judge that was trained on images of its own.

    Attributes
    ----------
    pairs
        Pairs of test images to interpolate between, half of them of one class, half of two.
    points
        Points of a path that are looked at, uniform in the length of the path in the judge's features.
    low
        The judge's probability of its class below which an image counts as of low confidence.
    samples
        Images drawn for the Fréchet distance.
    """

    pairs: Annotated[int, Field(ge=2, le=100_000)] = 300
    points: Annotated[int, Field(ge=3, le=1000)] = 33
    low: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    samples: Annotated[int, Field(ge=100, le=1_000_000)] = 4000


class GenerativeTask(Task):
    """Interpolation between images, and sampling of new ones.

    Attributes
    ----------
    dataset
        The images, with classes by which the judge scores; vectors are taken as well.
    labels
        Whether the model may learn from labels: those of one half of its training images. The judge learns from those
        of the other half.
    score
        How paths and samples are scored.
    """

    domain: Literal["generative"]
    dataset: DatasetSource
    labels: bool = True
    score: Score = Score()
