"""Settings of the shift detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ndm_apps.plugins.base import Schema


class DetectorSettings(Schema):
    """Settings of :class:`~ndm_apps.plugins.continual.ShiftDetector`.

    Attributes
    ----------
    dimension
        Chart dimension d (principal components of the first samples).
    warmup
        Samples that fix the embedding, before which nothing is tested.
    threshold
        Alarm when the martingale's wealth reaches it; its inverse bounds the false-alarm rate per sample.
    calibration
        Number of past scores of a component that a new one is ranked among.
    arm_scores, arm_samples
        A component is tested against once it has this many scores, recorded once it holds this many samples.
    burn_in
        Samples after an alarm that train the new chart before testing resumes.
    """

    dimension: Annotated[int, Field(ge=1, le=1024)] = 24
    warmup: Annotated[int, Field(ge=8, le=100_000)] = 64
    threshold: Annotated[float, Field(gt=1.0, le=1e12)] = 1e4
    calibration: Annotated[int, Field(ge=20, le=10_000)] = 200
    arm_scores: Annotated[int, Field(ge=5, le=10_000)] = 40
    arm_samples: Annotated[int, Field(ge=2, le=10_000)] = 60
    burn_in: Annotated[int, Field(ge=1, le=100_000)] = 128
