"""What a metric with closed forms has to know."""

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor


class AnalyticMetric(ABC):
    """A metric on a chart of dimension ``n`` that knows its curvature, and where its chart is good."""

    n: int

    @abstractmethod
    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Metric at the points ``x``."""

    @abstractmethod
    def scalar_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Exact scalar curvature at the points ``x``."""

    @abstractmethod
    def riemann(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n n n"]:
        """Exact Riemann tensor at the points ``x``, all indices down."""

    def ricci(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Exact Ricci tensor at the points ``x``."""
        return torch.einsum("...ad,...abcd->...bc", torch.linalg.inv(self(x)), self.riemann(x))

    @abstractmethod
    def chart_point(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Send the unit cube ``[0, 1]^n`` into the chart, well away from where the coordinates fail."""


class IsotropicMetric(AnalyticMetric, ABC):
    r"""A metric whose planes at a point all have one sectional curvature k: any surface, and the space forms.

    .. math:: R_{abcd} = k (g_{ad} g_{bc} - g_{ac} g_{bd}), \quad R_{bc} = (n-1) k g_{bc}, \quad R = n(n-1) k
    """

    @abstractmethod
    def sectional_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Sectional curvature of every plane at the points ``x``."""

    @final
    def scalar_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Exact scalar curvature at the points ``x``."""
        return self.n * (self.n - 1) * self.sectional_curvature(x)

    @final
    def ricci(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Exact Ricci tensor at the points ``x``."""
        return (self.n - 1) * self.sectional_curvature(x)[..., None, None] * self(x)

    @final
    def riemann(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n n n"]:
        """Exact Riemann tensor at the points ``x``, all indices down."""
        g = self(x)
        return kulkarni_nomizu(g, self.sectional_curvature(x)[..., None, None] / 2 * g)


def kulkarni_nomizu(h: Float[Tensor, "*batch n n"], k: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n n n"]:
    r"""Multiply symmetric tensors into one with the symmetries of the Riemann tensor.

    .. math:: (h \wedge k)_{abcd} = h_{ad} k_{bc} + h_{bc} k_{ad} - h_{ac} k_{bd} - h_{bd} k_{ac}
    """
    outer = torch.einsum("...ad,...bc->...abcd", h, k)
    outer = outer + torch.einsum("...bc,...ad->...abcd", h, k)
    return outer - outer.transpose(-4, -3)
