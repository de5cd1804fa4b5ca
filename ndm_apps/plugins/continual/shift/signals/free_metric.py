"""A Metric Net that is free to be any metric, trained by nothing but the paper's geometric loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.engine import GeometricLoss, Geometry, MetricNet

__all__ = ["FreeMetric"]

_DIMENSION = 8  # leading coordinates of the chart that it lives on: the curvature of a full metric costs n^3
_EVERY = 4  # batches of which one is trained on: a step costs as much as the rest of the detector
_RATE = 1e-3


class FreeMetric(nn.Module):
    r"""The metric :math:`g = L L^\top + \epsilon I` of a Metric Net, on the leading coordinates of a chart.

    It is trained by the paper's :math:`E[R^2] + \operatorname{Var} \sqrt{\det g}` at the chart's own points. The task's
    loss does not depend on the metric of a chart that only watches, so that is all there is; it is least for any
    constant metric, and says nothing about points away from the data. What the net says there is extrapolation.

    Parameters
    ----------
    n
        Dimension of the chart.
    seed
        Seed of the first weights.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.

    Examples
    --------
    >>> metric = FreeMetric(20, seed=0)
    >>> metric.scalar_curvature(torch.zeros(5, 20)).shape
    torch.Size([5])
    """

    def __init__(self, n: int, *, seed: int) -> None:
        super().__init__()
        if n < 2:
            raise ValueError(f"n must be at least 2, got {n}: a line has no curvature")
        self.n = min(n, _DIMENSION)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = MetricNet(self.n, hidden=(32,))
        self.loss, self.calls = GeometricLoss(), 0
        self.optimizer = torch.optim.Adam(self.net.parameters(), _RATE)

    def update(self, z: Tensor) -> None:
        """Take one step on every fourth batch of points ``(batch, n)``.

        With fewer than two points volumes have no variance, and none is taken.
        """
        self.calls += 1
        z = self._leading(z.detach())
        if len(z) < 2 or self.calls % _EVERY:
            return
        with torch.enable_grad():
            self.optimizer.zero_grad()
            loss: Any = self.loss(Geometry(z, z.new_zeros(len(z)), self.net)).total
            loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def scalar_curvature(self, z: Tensor) -> Tensor:
        """Return R, ``(batch, n) -> (batch,)``."""
        return self.net.scalar_curvature(self._leading(z))

    @torch.no_grad()
    def log_volume(self, z: Tensor) -> Tensor:
        r"""Return :math:`\log \sqrt{\det g}`, ``(batch, n) -> (batch,)``."""
        return self.net.log_volume(self._leading(z))

    @torch.no_grad()
    def distortion(self, z: Tensor) -> Tensor:
        r"""Return the affine-invariant distance of g(z) from g(0), ``(batch, n) -> (batch,)``.

        :math:`|\log (g(0)^{-1/2} g(z) g(0)^{-1/2})|_F`: zero where the metric is that of the chart's centre.
        """
        z = self._leading(z)
        factor = torch.linalg.cholesky(self.net(torch.zeros_like(z[:1])))
        half = torch.linalg.solve_triangular(factor, self.net(z), upper=False)
        relative = torch.linalg.solve_triangular(factor, half.mT, upper=False)
        distance: Tensor = torch.linalg.eigvalsh(relative).log().square().sum(-1).sqrt()
        return distance

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no weight, for ``state_dict``."""
        return {"optimizer": self.optimizer.state_dict(), "calls": self.calls}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.calls = state["calls"]

    def _leading(self, z: Tensor) -> Tensor:
        return z[..., : self.n].to(next(self.net.parameters()))
