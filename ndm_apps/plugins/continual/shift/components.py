"""A chart that watches: one Gaussian component per label, each with its normal residual and its past scores."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.engine import GaussianChart


class Component(nn.Module):
    r"""One component of a watching chart: a Gaussian chart in the embedding and the residual normal to it.

    Its curvature statistic is

    .. math:: \kappa(x) = (|z|^2 - d) + n_{\text{eff}} (r / \bar r - 1),

    with :math:`z` the whitened embedding (the first term is the scaled scalar curvature of the chart's conformal
    metric; the second is no curvature), :math:`r` the squared distance from the embedding's subspace and
    :math:`n_{\text{eff}} = 2 \bar r^2 / \operatorname{Var} r`. On the component's own data the second has mean zero,
    and so has the first up to the shrinkage of the covariance towards its prior: a wider prior makes it negative.

    Parameters
    ----------
    prior
        Covariance ``(d, d)`` that the component's own is shrunk towards.
    calibration
        Number of past scores kept.
    """

    def __init__(self, prior: Tensor, *, calibration: int) -> None:
        super().__init__()
        dimension = len(prior)
        self.chart = GaussianChart(dimension, prior_covariance=prior, strength=float(dimension), ridge=1e-3)
        self.register_buffer("residual", torch.zeros(3, dtype=prior.dtype))  # count, sum, sum of squares
        self.scores: deque[float] = deque(maxlen=calibration)

    @property
    def count(self) -> int:
        """Number of samples learnt."""
        return int(self.residual[0])

    def update(self, z: Tensor, r: Tensor) -> None:
        """Learn embedded samples ``(batch, d)`` and their residuals ``(batch,)``."""
        self.chart.update(z)
        self.residual += torch.stack([torch.tensor(float(len(r))).to(r), r.sum(), r.square().sum()])

    def merge(self, other: Component) -> None:
        """Take over the samples, not the scores, of another component: exactly as if learnt here."""
        self.chart.merge(other.chart)
        self.residual += other.residual

    def curvature(self, z: Tensor, r: Tensor) -> Tensor:
        """Return the statistic of each sample, ``(batch,)``."""
        tangent = self.chart.scaled_curvature(z)
        count, total, squares = self.residual
        mean = total / count
        variance = squares / count - mean.square()
        if not (mean > 0 and variance > 0):
            return tangent
        return tangent + 2 * mean.square() / variance * (r / mean - 1)

    def p_value(self, score: Tensor, tie: Tensor) -> Tensor:
        """Return conformal p-values of scores among the component's own past ones.

        ``(#{past >= score} + tie) / (m + 1)``, ``tie`` uniform on [0, 1], raised by one standard error so that it
        holds given most sets of past scores (about four in five) and not only on average over them.
        """
        past = torch.tensor(list(self.scores), dtype=score.dtype, device=score.device)
        m = len(past)
        p = ((past >= score[:, None]).sum(1) + tie) / (m + 1)
        return (p + (p * (1 - p) / m).sqrt()).clamp(max=1.0)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no tensor, for ``state_dict``."""
        return {"scores": list(self.scores)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.scores.clear()
        self.scores.extend(state["scores"])


class WatchingChart(nn.Module):
    """A chart of the atlas: the components of one distribution, by label.

    Parameters
    ----------
    prior, calibration
        As of :class:`Component`.
    """

    def __init__(self, prior: Tensor, *, calibration: int) -> None:
        super().__init__()
        self.register_buffer("prior", prior.clone())
        self.calibration = calibration
        self.labels: list[int] = []
        self.components = nn.ModuleList()

    def component(self, label: int) -> Component:
        """Return the component of a label, made if need be."""
        if label not in self.labels:
            self.labels.append(label)
            self.components.append(Component(self.prior, calibration=self.calibration))
        return self.components[self.labels.index(label)]

    def give_up(self, label: int) -> Component:
        """Remove the component of a label and return it."""
        position = self.labels.index(label)
        component = self.components[position]
        del self.labels[position], self.components[position]
        return component

    def absorb(self, label: int, component: Component) -> None:
        """Merge a component into the one of the same label here."""
        self.component(label).merge(component)

    def energy(self, z: Tensor) -> Tensor:
        """Return the lowest energy among the components, ``(batch, d) -> (batch,)``."""
        return torch.stack([component.chart.energy(z) for component in self.components]).amin(0)

    def grow_to(self, labels: list[int]) -> None:
        """Make empty components for the given labels, in order, so that a state can be loaded into them."""
        for label in labels:
            self.component(label)
