"""Where held-out samples lie in the charts of a learner that watches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ndm_apps.plugins.continual.session import Session


@dataclass(frozen=True)
class HeldOut:
    """Held-out samples as the charts see them.

    Attributes
    ----------
    features, labels
        What the learner sees of each sample, and its class.
    experience
        The experience it is from.
    z
        Chart coordinates ``(samples, d)``.
    home
        The chart it is routed to.
    curvature
        Its curvature statistic in each chart, ``(samples, charts)``.
    """

    features: Tensor
    labels: Tensor
    experience: Tensor
    z: Tensor
    home: Tensor
    curvature: Tensor

    @property
    def at_home(self) -> Tensor:
        """The curvature statistic in the sample's own chart."""
        return self.curvature.gather(1, self.home[:, None])[:, 0]


def held_out(session: Session, most: int | None = None) -> HeldOut:
    """Place the test samples of a session, at most ``most`` of them, taken evenly, in its charts."""
    tests = session.stream.tests
    step = 1 if most is None else max(1, -(-sum(len(y) for _, y in tests) // most))
    features = torch.cat([session.immerse(x[::step]) for x, _ in tests])
    labels = torch.cat([y[::step] for _, y in tests])
    experience = torch.cat([torch.full((len(y[::step]),), number) for number, (_, y) in enumerate(tests)])
    detector = session.detector
    z, r = detector.embed(features)
    charts = range(len(detector.atlas.charts))
    curvature = torch.stack([detector.chart_curvature(number, z, r) for number in charts], 1)
    return HeldOut(features, labels, experience, z, detector.atlas.route(z), curvature)
