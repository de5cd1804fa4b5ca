r"""The metric in which a path's action is its length, in closed form and as a Metric Net that reproduces it.

.. math:: G(x) = \left(B(x) R^{-1} B(x)^T + \epsilon I\right)^{-1}

Along what the control moves, G is about 1; across it, :math:`1/\epsilon`. Coordinates are measured in half the widths
of the box and reach in its mean over the states asked for, so that one epsilon serves all. The net is of the inverse,
the metric of covectors: epsilon is then the part of the identity that every Metric Net has, and the rest has the rank
of B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ndm_apps.engine.coordinates import Affine
from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.problem import Problem


@dataclass(frozen=True)
class ActionMetric:
    """The closed form.

    Attributes
    ----------
    dynamics, problem
        The model and the task.
    reach
        What epsilon is relative to: an eigenvalue of :math:`B R^{-1} B^T` in the box's units.
    eps
        Epsilon.
    """

    dynamics: Dynamics
    problem: Problem
    reach: float
    eps: float = 1e-2

    @classmethod
    def around(cls, dynamics: Dynamics, problem: Problem, x: Array, eps: float = 1e-2) -> ActionMetric:
        """Return the metric whose epsilon is relative to the mean reach at states (N, n)."""
        gram = cls(dynamics, problem, 1.0, eps).gram(x)
        return cls(dynamics, problem, float(np.linalg.eigvalsh(gram)[:, -1].mean()), eps)

    def gram(self, x: Array) -> Array:
        """Return :math:`B R^{-1} B^T` over the reach, at states (N, n) in the box's units: (N, n, n)."""
        gain = self.dynamics.affine(x)[1] / self._half[:, None]
        return gain @ np.linalg.solve(self.problem.control_cost, np.swapaxes(gain, -1, -2)) / self.reach

    def __call__(self, x: Array) -> Array:
        """Return G at states (N, n), in the box's units: (N, n, n)."""
        return np.linalg.inv(self.gram(x) + self.eps * np.eye(x.shape[-1]))

    @property
    def _half(self) -> Array:
        return np.ptp(self.problem.box, axis=1) / 2


@dataclass(frozen=True)
class LearnedMetric:
    r"""A Metric Net in place of the closed form.

    Attributes
    ----------
    net
        The metric of covectors in the coordinates of ``units``.
    units
        From states to the box's units.
    error
        Affine-invariant distance of G from the closed form on states that it was not fitted to, root mean square:
        :math:`|\log \mathrm{eig}(G^{-1} \hat G)|`, so 0.01 is a length wrong by half a percent.
    """

    net: MetricNet
    units: Affine
    error: float

    def __call__(self, x: Array) -> Array:
        """Return G at states (N, n), in the box's units: (N, n, n)."""
        with torch.no_grad():
            inverse = self.net(self.units(torch.as_tensor(x).to(self.units.shift))[0])
        return np.linalg.inv(inverse.cpu().numpy().astype(np.float64))


def fit_metric_net(
    metric: ActionMetric,
    x: Array,
    *,
    hidden: int = 32,
    steps: int = 300,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float64",
) -> LearnedMetric:
    r"""Fit a Metric Net to the closed form by Stein's loss.

    .. math:: \mathrm{tr}(G H) - \log\det(G H) - n

    Parameters
    ----------
    metric
        The closed form G.
    x
        States (N, n): the net H is fitted to those of even number and measured on the others.
    hidden, steps
        Units of its two hidden layers, steps of L-BFGS.
    seed
        Of the net's start.
    device, dtype
        Torch names.

    References
    ----------
    James and Stein (1961), Estimation with quadratic loss, Berkeley Symposium 4.
    """
    box = metric.problem.box
    kind = {"device": device, "dtype": getattr(torch, dtype)}
    half = np.ptp(box, axis=1) / 2
    units = Affine.whitening(*(torch.as_tensor(part, **kind) for part in (box.mean(1), np.diag(half**2))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MetricNet(len(box), (hidden, hidden), eps=metric.eps).to(**kind)
    closed = torch.as_tensor(metric(x), **kind)
    points = units(torch.as_tensor(x, **kind))[0].detach()
    optimiser = torch.optim.LBFGS(
        net.parameters(), max_iter=steps, history_size=30, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        inverse = net(points[::2])
        value: torch.Tensor = ((closed[::2] * inverse).sum((-1, -2)) - torch.logdet(inverse)).mean()
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        factor = torch.linalg.cholesky(closed[1::2])
        ratios = torch.linalg.eigvalsh(factor.mT @ net(points[1::2]) @ factor).log()
    return LearnedMetric(net, units, float(ratios.square().sum(-1).mean().sqrt()))
