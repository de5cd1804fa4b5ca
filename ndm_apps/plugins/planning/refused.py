r"""A metric from refused moves: where a control does not move what it moves elsewhere, there is a wall.

In a model x' - x = m(x, u) of a point among walls the realised gain loses rank at a wall, and the metric of the action,
:math:`(B R^{-1} B^T + \epsilon I)^{-1}`, grows without bound. Here it is read off the data:

.. math:: G(x) = s(x)^2 I, \qquad
          s = 1 + b\, \sigma\!\left(\frac{d_f - d_w}{h}\right) + b \left(\frac{d_f}{r} - 1\right)_+

with :math:`d_f, d_w` the mean distances to the two nearest points that have been visited, and that have refused. What
nobody has seen is as impassable as a wall.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import expit

from ndm_apps.plugins.planning.dynamics import Array

#: Rounds of trimming, and how many standard deviations of the kept residuals are kept.
ROUNDS, KEPT = 12, 3.0
#: Units from the end of a refused move to the point behind the wall.
BEHIND = 0.3
#: Free points that a move gives.
ALONG = 4
#: Spacing of the grid, in units, of whose cells one free point each is kept.
THIN = 0.05


def trimmed_least_squares(features: Array, targets: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Fit targets linearly where most of them agree.

    Parameters
    ----------
    features
        (samples, p).
    targets
        (samples, q).

    Returns
    -------
    tuple
        Coefficients (p, q), and which samples agree with them, (samples,). A residual agrees below three times the
        spread of those that agree, starting from the better half.

    References
    ----------
    Rousseeuw, Leroy, "Robust Regression and Outlier Detection", 1987.

    Examples
    --------
    >>> x = np.linspace(0.0, 1.0, 50)[:, None]
    >>> y = 2.0 * x
    >>> y[40:] = 0.0  # a wall
    >>> coefficients, agree = trimmed_least_squares(x, y)
    >>> coefficients.round(6).tolist(), int(agree.sum())
    ([[2.0]], 40)
    """
    # Twenty small subsets: one at least holds no outlier, and its fit is judged by the better half of all samples.
    p = features.shape[1]
    starts = np.random.default_rng(0).integers(len(features), size=(20, 2 * p))
    guesses = [np.linalg.lstsq(features[rows], targets[rows], rcond=None)[0] for rows in starts]
    sizes = [np.linalg.norm(targets - features @ guess, axis=-1) for guess in guesses]
    size = min(sizes, key=np.median)
    agree = size <= np.median(size)
    least = 1e-6 * float(np.abs(targets).max())
    for _ in range(ROUNDS):
        coefficients = np.linalg.lstsq(features[agree], targets[agree], rcond=None)[0]
        size = np.linalg.norm(targets - features @ coefficients, axis=-1)
        before, agree = agree, size <= max(KEPT * float(np.sqrt(np.square(size[agree]).mean())), least)
        if (agree == before).all():
            break
    return coefficients, agree


@dataclass(frozen=True)
class Places:
    """Points, some of whose coordinates are angles, by nearness.

    Attributes
    ----------
    points
        (points, n).
    angles
        The coordinates that are angles, by index.
    """

    points: Array
    angles: tuple[int, ...] = ()

    @cached_property
    def _tree(self) -> cKDTree:
        sizes = np.zeros(self.points.shape[1])
        sizes[list(self.angles)] = 2 * np.pi
        return cKDTree(self._home(self.points), boxsize=sizes if self.angles else None)

    def nearest(self, x: Array, count: int) -> tuple[Array, NDArray[np.int64]]:
        """Return distances and indices (..., count) of the points nearest to points (..., n)."""
        distance, index = self._tree.query(self._home(x), k=count)
        return distance, index

    def within(self, x: Array, radius: float) -> NDArray[np.int64]:
        """Return the indices of the points within a radius of a point (n,)."""
        return np.array(self._tree.query_ball_point(self._home(x), radius), dtype=int)

    def distance(self, x: Array) -> tuple[Array, Array]:
        """Return the mean distance (...) of points (..., n) to the two nearest, and its gradient (..., n)."""
        if len(self.points) < 2:
            return np.full(x.shape[:-1], np.inf), np.zeros_like(x)
        distance, index = self.nearest(x, 2)
        gap = shortest(x[..., None, :] - self.points[index], self.angles)
        return distance.mean(-1), (gap / np.maximum(distance, 1e-12)[..., None]).mean(-2)

    def _home(self, x: Array) -> Array:
        """Return points with angles in [0, 2 pi)."""
        if not self.angles:
            return x
        at = np.array(x, dtype=float)
        at[..., self.angles] %= 2 * np.pi
        at[..., self.angles] %= 2 * np.pi  # a tiny negative angle has been rounded to 2 pi itself
        return at


def shortest(gap: Array, angles: tuple[int, ...]) -> Array:
    """Return displacements (..., n) with angles the short way round."""
    if not angles:
        return gap
    gap = np.array(gap, dtype=float)
    gap[..., angles] = (gap[..., angles] + np.pi) % (2 * np.pi) - np.pi
    return gap


@dataclass(frozen=True)
class RefusedMetric:
    """The conformal metric of the module's formula.

    Attributes
    ----------
    free
        Where moves have led.
    walls
        Points just behind walls.
    unit
        The longest move: the length in which ``smooth`` and ``far`` are measured.
    smooth, far, height
        h and r in units, and b.
    """

    free: Places
    walls: Places
    unit: float
    smooth: float = 0.06
    far: float = 2.5
    height: float = 240.0

    def short(self, gap: Array) -> Array:
        """Return displacements (..., n) with angles the short way round."""
        return shortest(gap, self.free.angles)

    def scale(self, x: Array) -> Array:
        """Return s at points (..., n), (...)."""
        return self.scale_and_slope(x)[0]

    def scale_and_slope(self, x: Array) -> tuple[Array, Array]:
        """Return s at points (..., n), (...), and its gradient (..., n)."""
        near, slope = self.free.distance(x)
        behind, towards = self.walls.distance(x)
        reach, width = self.far * self.unit, self.smooth * self.unit
        beyond = np.maximum(near / reach - 1, 0.0)
        inside = expit((near - behind) / width)
        steep = inside * (1 - inside) / width
        gradient = (beyond > 0)[..., None] * slope / reach + steep[..., None] * (slope - towards)
        return 1 + self.height * (inside + beyond), self.height * gradient

    def depth(self, x: Array) -> tuple[Array, Array]:
        """Return how deep points (..., n) are in walls or out of what is known, in units, (...), and the gradient."""
        near, slope = self.free.distance(x)
        behind, towards = self.walls.distance(x)
        inside, outside = near - behind, near - self.far * self.unit
        depth = np.where(inside > outside, inside, outside)
        gradient = np.where((inside > outside)[..., None], slope - towards, slope)
        return depth / self.unit, gradient / self.unit

    def with_refusal(self, end: Array, missing: Array) -> RefusedMetric:
        """Return the metric with one more refused move, which ended at a point, (n,), short of what was missing."""
        behind = end + BEHIND * self.unit * missing / np.linalg.norm(missing)
        # Twice, as it was seen on purpose: both of the nearest points are then this one.
        walls = np.concatenate((self.walls.points, behind[None], behind[None]))
        return replace(self, walls=Places(walls, self.walls.angles))


def metric_of(
    x: Array, commanded: Array, realised: Array, *, angles: tuple[int, ...] = (), tolerance: float = 0.02
) -> RefusedMetric:
    """Return the metric that a record of moves tells.

    Parameters
    ----------
    x
        Where each move began, (moves, n).
    commanded, realised
        What it should have been, and what it was, (moves, n).
    angles
        The coordinates that are angles.
    tolerance
        A move is refused where the two differ by more than this share of the longest move.
    """
    unit = float(np.linalg.norm(commanded, axis=-1).max())
    missing = commanded - realised
    size = np.linalg.norm(missing, axis=-1)
    refused = size > tolerance * unit
    end = (x + realised)[refused]
    behind = BEHIND * unit * missing[refused] / size[refused, None]
    # All along a move is free; a refused one as far before its end as the point behind the wall is behind it.
    reach = np.linalg.norm(realised, axis=-1)
    shares = np.where(refused, np.maximum(1 - BEHIND * unit / np.maximum(reach, 1e-12), 0.0), 1.0)
    along = np.linspace(0.0, 1.0, ALONG)[:, None, None] * (shares[:, None] * realised)
    free = (x + along).reshape(-1, x.shape[1])
    return RefusedMetric(Places(thinned(free, THIN * unit), angles), Places(end + behind, angles), unit)


def thinned(points: Array, spacing: float) -> Array:
    """Return one point of each cell of a grid."""
    _, kept = np.unique(np.floor(points / spacing), axis=0, return_index=True)
    return points[np.sort(kept)]
