"""The outcome in words: what moves on what geometry, which symmetries there are, and which the potential breaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ndm_apps.geometry.metric import evaluate
from ndm_apps.plugins.physics.kinetic.analysis import Geometry
from ndm_apps.plugins.physics.kinetic.words import BELONGS, Named, outside


def verdict(geometry: Geometry) -> str:
    """Return the outcome in a few sentences."""
    symmetries = geometry.symmetries
    low, middle, high = curvature_range(geometry)
    parts = [f"Kinetic metric of scalar curvature {middle:.3g} (80 % within {low:.3g} to {high:.3g})"]
    parts.append(f"its symmetries: {_listed(geometry.of_metric, len(symmetries.metric), geometry.algebras[0])}")
    if len(symmetries.both) == len(symmetries.metric):
        parts.append("the potential breaks none of them" if len(symmetries.both) else "so no momentum is conserved")
    else:
        broken = broken_by_potential(geometry)
        names = f" ({', '.join(broken)})" if broken else ""
        lost = len(symmetries.metric) - len(symmetries.both)
        parts.append(f"the potential breaks {lost}{names} and leaves {_listed(geometry.of_both, len(symmetries.both))}")
    if symmetries.drifts:
        parts.append(f"held-out drift of the momenta at most {max(symmetries.drifts):.1e}")
    if geometry.quadratic.irreducible:
        parts.append(f"{geometry.quadratic.irreducible} quadratic laws beyond energy and momenta")
    if geometry.bound is not None:
        left = geometry.bound.directions
        parts.append(
            f"curvature and potential allow symmetries in at most {left} of {geometry.points.shape[-1]} directions"
        )
    return "; ".join(parts) + "."


def curvature_range(geometry: Geometry) -> tuple[float, float, float]:
    """Return the 10 %, 50 % and 90 % quantiles of the scalar curvature."""
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=geometry.curvature.dtype)
    low, middle, high = geometry.curvature.quantile(levels).tolist()
    return low, middle, high


def broken_by_potential(geometry: Geometry) -> list[str]:
    """Return the simple symmetries of the metric that are none of the potential."""
    points = geometry.points
    cholesky = evaluate(geometry.learned.lagrangian.metric, points).cholesky
    kept = [field(points) for field in geometry.symmetries.both]
    return [one.text for one in geometry.of_metric if outside(one(points), kept, cholesky) > BELONGS]


def kept_by_potential(geometry: Geometry) -> str:
    """Return in a sentence what conserves momenta here: not a flat metric, but one that stays with the potential."""
    many, kept = len(geometry.symmetries.metric), len(geometry.symmetries.both)
    return (
        "Flat alone conserves nothing: a momentum is conserved where metric and potential stay the same along a field, "
        f"L_xi g = 0 and dV(xi) = 0. Here {many} field{'' if many == 1 else 's'} keep the metric, and {kept} both."
    )


def cyclic_coordinates(geometry: Geometry) -> list[str]:
    """Return the coordinates that neither metric nor potential depend on."""
    names = geometry.learned.fitting.names
    return [
        names[int(one.constant.argmax())]
        for one in geometry.of_both
        if not bool(one.linear.any()) and int((one.constant != 0).sum()) == 1
    ]


def _listed(named: Sequence[Named], many: int, algebra: str = "") -> str:
    if not many:
        return "none"
    words = [one.text for one in named]
    if many > len(named):
        words.append(f"{many - len(named)} without a simple form in these coordinates")
    what = f" ({algebra})" if many > 1 and algebra else ""
    return f"{many}{what}, {', '.join(words)}"
