"""Settings of the shift detector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ndm_apps.plugins.base import Schema


class DetectorSettings(Schema):
    """Settings of :class:`~ndm_apps.plugins.continual.ShiftDetector`.

    The defaults suit images in the features of an immersion; short streams of small vectors (digits) need smaller ones.

    Attributes
    ----------
    dimension
        Chart dimension d (principal components of the first samples).
    warmup
        Samples that fix the embedding, before which nothing is tested.
    threshold
        Alarm when the martingales' mean wealth reaches it; where p-values are uniform and independent of the past, its
        inverse bounds the false alarms per sample.
    calibration
        Number of past scores of a component that a new one is ranked among.
    arm_scores, arm_samples
        A component is tested against once it has this many scores, recorded once it holds this many samples.
    burn_in
        Samples after an alarm that train the new chart before testing resumes.
    statistic
        What tells foreign samples from a component's own.
    heading
        Whether to bet on the samples' common direction too: more sensitive to neighbouring distributions.
    """

    dimension: Annotated[int, Field(ge=1, le=1024)] = 48
    warmup: Annotated[int, Field(ge=8, le=100_000)] = 320
    threshold: Annotated[float, Field(gt=1.0, le=1e12)] = 1e6
    calibration: Annotated[int, Field(ge=20, le=10_000)] = 200
    arm_scores: Annotated[int, Field(ge=5, le=10_000)] = 40
    arm_samples: Annotated[int, Field(ge=2, le=10_000)] = 60
    burn_in: Annotated[int, Field(ge=1, le=100_000)] = 320
    statistic: Literal["curvature", "mahalanobis", "nll", "residual"] = "curvature"
    heading: bool = True
