r"""Fits a chart to one more law: a polynomial in it whose level sets no motion leaves, independent of known laws.

The measure is local. A chord between two samples of a motion is tangent to the level set of a law, so

.. math:: r = \frac{(c(x_a) - c(x_b))^2}{|x_a - x_b|^2 \, |P \nabla c|^2} ,

the squared cosine of the angle between chord and normal, is 0 for a law; P takes away what known laws span, so that
nothing is gained by finding them again. Its mean is made small. Two ways to make it small without a law are closed: a
steep wave has short distances to one of its many equal levels, but varies as much within trajectories as between them;
and spikes at the samples need large weights. Both cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from ndm_apps.plugins.physics.chart.model import StateChart
from ndm_apps.plugins.physics.chart.samples import RESOLUTION, States

#: Charts that are begun, and the steps after which the best of them goes on.
STARTS, SCREENED = 3, 75
#: Steps of Adam, its learning rate, and iterations of L-BFGS that follow.
STEPS, RATE, REFINEMENT = 300, 1e-2, 60
#: Price of variation within trajectories, as a part of all variation, and of the squares of weights.
WITHIN, WEIGHT = 6.0, 5e-3
#: Samples near a critical point count as if their squared gradient were this part of the median more.
LEAST_GRADIENT = 0.05


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """A function of states, ``coefficients`` of the products of a chart."""

    chart: StateChart
    coefficients: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Values at states, ``(points, columns) -> (points,)``."""
        return self.chart.products(x)[0] @ self.coefficients

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient at states, ``(points, columns)`` both."""
        return self.chart.products(x)[1] @ self.coefficients


@final
@dataclass(frozen=True)
class Judged:
    """How a function does on motions.

    Attributes
    ----------
    distance
        Root mean square distance of samples from the level set of their trajectory, in units of what a chart resolves:
        1 % of the columns' spreads, and the errors of the measurement.
    separation
        Variance of the means of trajectories over the variance within them.
    """

    distance: float
    separation: float


@final
class Fit:
    """One chart and the coefficients of its read-out, as they are fitted to samples of stretches."""

    def __init__(self, states: States, chart: StateChart) -> None:
        self.states, self.chart = states, chart
        self.a, self.b, self.squared = states.chords(chart.angle)
        with torch.no_grad():
            values, slopes = chart.products(states.x)
            self.size = (slopes * states.unit[:, None]).square().sum(1).mean(0).sqrt()
            start = _start(values, values[self.a] - values[self.b], slopes, self.squared, states, self.size)
        self.coefficients = nn.Parameter(start)
        self.parameters = [*chart.parameters(), self.coefficients]
        self.adam = torch.optim.Adam(self.parameters, lr=RATE)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, STEPS)

    def loss(self) -> Tensor:
        """Return what is made small."""
        states, weights = self.states, self.coefficients / self.size
        values, slopes = self.chart.products(states.x)
        c, gradient = values @ weights, slopes @ weights * states.unit
        new = states.outside(gradient).square().sum(-1)
        new = new + LEAST_GRADIENT * new.median()
        angle = (c[self.a] - c[self.b]).square() / self.squared * 2 / (new[self.a] + new[self.b])
        blurred = RESOLUTION**2 * (gradient.square().sum(-1) / new).mean()
        within = (c - states.means(c)).square().mean() / (c - c.mean()).square().mean()
        return (angle.mean() + blurred).log() + WITHIN * within + WEIGHT * self.chart.weight()

    def go_on(self, steps: int) -> float:
        """Take steps of Adam and return the loss of the last."""
        value = torch.tensor(torch.inf)
        for _ in range(steps):
            self.adam.zero_grad()
            value = self.loss()
            value.backward()
            self.adam.step()
            self.schedule.step()
        return float(value.detach())

    def finish(self) -> Candidate:
        """Refine by L-BFGS and return what is fitted."""
        last = torch.optim.LBFGS(
            self.parameters, max_iter=REFINEMENT, history_size=50, line_search_fn="strong_wolfe"
        )  # fmt: skip

        def closure() -> Tensor:
            last.zero_grad()
            value = self.loss()
            value.backward()
            return value

        last.step(closure)
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        return Candidate(self.chart, self.coefficients / self.size)


def fit(states: States, centre: Tensor, scale: Tensor, angles: Sequence[int], generator: torch.Generator) -> Candidate:
    """Fit charts and the coefficients of their read-outs; of some that are begun, the best goes on.

    Parameters
    ----------
    states
        Samples of stretches.
    centre, scale, angles
        Of :class:`StateChart`.
    generator
        Chooses the first weights.
    """
    begun = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(STARTS):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            begun.append(Fit(states, StateChart(centre, scale, angles)))
    best = min(begun, key=lambda one: one.go_on(min(SCREENED, STEPS)))
    best.go_on(STEPS - min(SCREENED, STEPS))
    return best.finish()


def judge(one: Candidate, states: States) -> Judged:
    """Measure a function on motions that took no part in the fit."""
    value, gradient = one(states.x), one.gradient(states.x) * states.unit
    new = states.outside(gradient).square().sum(-1)
    weights = 1 / new.clamp_min(LEAST_GRADIENT * float(new.median()))
    rest = value - states.means(value, weights)
    distance = (weights * rest.square()).sum() / (weights * new).sum()
    means = states.means(value)
    separation = means.var(correction=0) / (value - means).var(correction=0)
    return Judged(float(distance.sqrt()) / RESOLUTION, float(separation))


def _start(values: Tensor, changes: Tensor, slopes: Tensor, squared: Tensor, states: States, size: Tensor) -> Tensor:
    """Return the polynomial that is best before the chart bends, in units of ``size``: a generalised eigenvector."""
    within = (values - torch.stack([states.means(one) for one in values.mT], dim=-1)) / size
    gradients = slopes * states.unit[:, None] / size
    new = gradients - states.known @ (states.known.mT @ gradients)
    moved = changes / size / squared.sqrt()[:, None]
    total, fresh = (one.reshape(-1, len(size)) for one in (gradients, new))
    price = moved.mT @ moved / len(moved) + within.mT @ within / len(within)
    price = price + RESOLUTION**2 * (total.mT @ total) / len(gradients)
    root = torch.linalg.cholesky(price + 1e-12 * torch.diag(price.diagonal()))
    white = torch.linalg.solve_triangular(root.mT, fresh, upper=True, left=False)
    best = torch.linalg.svd(white, full_matrices=False).Vh[0]
    vector: Tensor = torch.linalg.solve_triangular(root.mT, best[:, None], upper=True)[:, 0]
    return vector / torch.linalg.vector_norm(vector)
