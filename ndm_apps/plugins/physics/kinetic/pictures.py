"""Figures of a run on the geometry of motion."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.physics.kinetic.analysis import Geometry
from ndm_apps.plugins.physics.kinetic.symmetry import momentum
from ndm_apps.plugins.physics.kinetic.verdict import kept_by_potential

SHOWN = 12
#: Values below this are drawn at it: they are rounding errors.
FLOOR = 1e-16
#: Held-out pieces of motion that are drawn.
PIECES = 8


def curvature(geometry: Geometry) -> Picture:
    """Draw the scalar curvature over the positions."""
    names, points = geometry.learned.fitting.names, geometry.points.clone()
    for k in geometry.learned.fitting.angles:
        points[:, k] = torch.remainder(points[:, k] + np.pi, 2 * np.pi) - np.pi
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    values = geometry.curvature.numpy()
    if len(names) == 1:
        axes.plot(points[:, 0], values, ".")
        axes.set_ylabel("scalar curvature")
    else:
        spread = max(np.ptp(values), 1e-3 * float(np.abs(values).max()), 1e-6)
        middle = float(np.median(values))
        drawn = axes.scatter(
            points[:, 0], points[:, 1], c=values, s=8, vmin=middle - spread / 2, vmax=middle + spread / 2
        )
        figure.colorbar(drawn, label="scalar curvature", ax=axes)
        axes.set_ylabel(names[1])
    axes.set_xlabel(names[0])
    return Picture(
        figure,
        "Scalar curvature R of the learned kinetic metric at positions of the motion. A direction in which R changes "
        "is none of symmetry. "
        f"{kept_by_potential(geometry)}",
    )


def symmetries(geometry: Geometry) -> Picture:
    """Draw the residuals of Killing fields, of the metric alone and with the potential."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    found = geometry.symmetries
    for fields, marker, label in ((found.metric, "o", "metric"), (found.both, "s", "metric and potential")):
        values = np.maximum(fields.spectrum[:SHOWN].numpy(), FLOOR)
        axes.semilogy(np.arange(len(values)) + 1, values, marker, label=label, fillstyle="none")
    axes.set_xlabel("number of the vector field")
    axes.set_ylabel("residual")
    axes.legend(fontsize="small")
    return Picture(
        figure,
        f"How well vector fields preserve the metric ({len(found.metric)} do), and metric and potential "
        f"({len(found.both)} do): those below the gap are symmetries.",
    )


def laws(geometry: Geometry) -> Picture:
    """Draw energy and momenta along held-out motions."""
    learned = geometry.learned
    judging, lagrangian = learned.judging, learned.lagrangian
    rows = [("energy", lagrangian.energy(*judging.samples()).numpy())]
    for number, field in enumerate(geometry.symmetries.both):
        rows.append((f"momentum {number + 1}", momentum(lagrangian, field, judging)))
    figure = Figure(figsize=(7.0, 1.2 + 1.5 * len(rows)), layout="constrained")
    edges = np.cumsum([0, *(len(piece) for piece in judging.q)])
    for axes, (name, values) in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
        for k in range(min(PIECES, len(judging.q))):
            part = values[edges[k] : edges[k + 1]]
            axes.plot(judging.step[k] * np.arange(len(part)), part, linewidth=0.9)
        axes.set_title(name, fontsize="medium")
    axes.set_xlabel("time")
    return Picture(figure, "Energy and momenta of the symmetries along held-out motions: each stays where it starts.")


#: By the name of the file.
PICTURES = {"curvature": curvature, "symmetries": symmetries, "laws": laws}
