"""Figures of a supervised run."""

from __future__ import annotations

from matplotlib.figure import Figure
from torch import Tensor

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.supervised.calibration import BINS, reliability


def reliability_diagram(logits: Tensor, labels: Tensor) -> Picture:
    """Draw the accuracy against the confidence, bin by bin."""
    share, confidence, accuracy = (part.cpu() for part in reliability(logits, labels))
    filled = share > 0
    figure = Figure(figsize=(3.8, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
    axes.scatter(confidence[filled], accuracy[filled], s=(10 + 300 * share[filled]).numpy())
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.03), ylim=(-0.03, 1.03))
    return Picture(
        figure,
        f"Accuracy against the probability given to the predicted class, test samples in {BINS} bins (area: how many); "
        "a calibrated classifier lies on the dotted line.",
    )
