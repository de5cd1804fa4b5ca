r"""How far to go along a direction, and how much to trust the model that says so."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QuadraticModel", "damping_factor"]


@dataclass(frozen=True)
class QuadraticModel:
    r"""The loss along a direction -v from here: :math:`L(t) - L(0) \approx -t\, b + t^2 c / 2`.

    Attributes
    ----------
    decline
        :math:`b = \nabla L \cdot v`.
    curvature
        :math:`c = v^\top J^\top H J v`, of the outputs alone.
    damped
        The same with damping, and with all that counts in the metric.
    reach
        The part of b that the outputs account for, :math:`\nabla_f L \cdot J v`.

    References
    ----------
    Martens and Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature", 2015,
    arXiv:1503.05671, sections 6.4 and 6.5.
    """

    decline: float
    curvature: float
    damped: float
    reach: float

    @property
    def minimum(self) -> float:
        """The t at which the damped model is least; 0 if v leads nowhere."""
        return self.decline / self.damped if self.decline > 0 and self.damped > 0 else 0.0

    def reduction_ratio(self, t: float, change: float) -> float:
        """Return the reduction of the loss over the one predicted, if the outputs change it by ``change``."""
        bend = t**2 * self.curvature / 2
        predicted = bend - t * self.decline
        if not predicted < 0:
            return float("-inf")
        return 1 + (change - (bend - t * self.reach)) / predicted


def damping_factor(ratio: float) -> float:
    """Return by what to multiply the damping after a step with this reduction ratio.

    References
    ----------
    Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", 1963.
    """
    if not ratio > 0:
        return 4.0
    return 1 / 0.9 if ratio < 0.25 else 0.9 if ratio > 0.75 else 1.0
