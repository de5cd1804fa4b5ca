r"""Fit of the control-affine network ensemble: hidden layers by gradient, read-out in closed form, both by evidence.

Each member has features :math:`\phi(z) = (\tanh(W_2 \tanh(W_1 z + b_1) + b_2),\, z,\, 1)`, the last two a skip layer,
and a read-out that is linear in the control:

.. math:: \Delta = R_0\, \phi(z) + \sum_j u_j R_j\, \phi(z)

Given the features, R is a Bayesian linear regression: its posterior mean is one Cholesky solve, and the marginal
likelihood of the data under it is what the hidden layers and the prior precisions of R maximise. So the network is as
crooked as the data need and no more: where the skip layer explains them, the rest is switched off.

References
----------
MacKay (1992), Bayesian interpolation, Neural Computation 4. Golub and Pereyra (1973), The differentiation of
pseudo-inverses and nonlinear least squares problems whose variables separate, SIAM J. Numer. Anal. 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ndm_apps.plugins.planning.dynamics import Array

#: Prior precision of the skip layer's read-out, relative to the noise: no prior to speak of.
_SKIP = 1e-4

#: Variance of the noise, relative to that of the outputs, below which nothing is gained: rounding of observations.
_NOISE = 1e-12


@dataclass(frozen=True)
class Ensemble:
    """Networks of one shape as arrays, on raw inputs and outputs.

    Attributes
    ----------
    w1, b1, w2, b2
        Hidden layers of M members: (M, p, H), (M, 1, H), (M, H, H), (M, 1, H).
    read
        Read-outs of hidden units: (M, H, d (1 + m)), outputs of the drift first, then of each control's gain.
    skip
        Read-outs of (z, 1): (M, p + 1, d (1 + m)).
    """

    w1: Array
    b1: Array
    w2: Array
    b2: Array
    read: Array
    skip: Array


def fit_ensemble(
    z: Array,
    u: Array,
    change: Array,
    *,
    members: int = 3,
    hidden: int = 16,
    steps: int = 300,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float64",
) -> Ensemble:
    """Fit networks to transitions.

    Parameters
    ----------
    z, u, change
        Embedded states (N, p), controls (N, m) and what the states changed by (N, d).
    members, hidden
        Networks, and units of each of their two hidden layers.
    steps
        Steps of Adam on the hidden layers.
    seed
        Of their start.
    device, dtype
        Torch names. The read-out is solved in float64 whatever they are.

    Raises
    ------
    ValueError
        If there are fewer than two transitions, or one is not finite.
    """
    if len(z) < 2 or not all(np.isfinite(part).all() for part in (z, u, change)):
        raise ValueError(f"transitions must be at least 2 and finite, got {len(z)}")
    scales = _Scales(z, u, change)
    inputs, controls, targets = (
        torch.as_tensor(part, device=device, dtype=getattr(torch, dtype)) for part in scales.scaled(z, u, change)
    )
    regression = _Regression(inputs, controls, targets, members, hidden, seed)
    regression.maximise(steps)
    return scales.raw(regression)


class _Scales:
    """Centres and widths of the data; constant columns are left as they are."""

    def __init__(self, z: Array, u: Array, change: Array) -> None:
        self.centre, self.width = z.mean(0), _width(z)
        self.control, self.change = _width(u, centred=False), _width(change, centred=False)

    def scaled(self, z: Array, u: Array, change: Array) -> tuple[Array, Array, Array]:
        return (z - self.centre) / self.width, u / self.control, change / self.change

    def raw(self, fitted: _Regression) -> Ensemble:
        """Return the networks on raw data."""
        p, d = len(self.width), len(self.change)
        w1, b1, w2, b2 = (part.detach().cpu().numpy().astype(np.float64) for part in fitted.layers)
        read = fitted.read().cpu().numpy().reshape(len(w1), -1, fitted.blocks, d)
        read = (read * self.change / np.concatenate([[1.0], self.control])[:, None]).reshape(*read.shape[:2], -1)
        skip = read[:, -p - 1 :].copy()
        skip[:, :p] /= self.width[:, None]
        skip[:, p] -= np.einsum("p,mpo->mo", self.centre, skip[:, :p])
        w1 = w1 / self.width[:, None]
        return Ensemble(w1, b1 - self.centre @ w1[:, None], w2, b2, read[:, : -p - 1].copy(), skip)


def _width(values: Array, *, centred: bool = True) -> Array:
    width = np.sqrt(np.square(values - (values.mean(0) if centred else 0.0)).mean(0))
    return np.where(width > 1e-9, width, 1.0)


class _Regression:
    """Hidden layers of all members at once, and the evidence of the data under them."""

    def __init__(self, z: Tensor, u: Tensor, y: Tensor, members: int, hidden: int, seed: int) -> None:
        p = z.shape[1]
        draw = torch.Generator().manual_seed(seed)

        def start(*shape: int, scale: float) -> Tensor:
            return (scale * torch.randn(*shape, generator=draw, dtype=torch.float64)).to(z).requires_grad_()

        self.layers = (
            start(members, p, hidden, scale=p**-0.5),
            start(members, 1, hidden, scale=0.5),
            start(members, hidden, hidden, scale=hidden**-0.5),
            start(members, 1, hidden, scale=0.5),
        )
        self.z, self.y = z, y.double()
        self.factors = torch.cat([torch.ones_like(u[:, :1]), u], dim=1).double()
        self.blocks = self.factors.shape[1]
        # One precision for the hidden units' share of the drift, one for that of each gain, one for all of the skip.
        self.precisions = torch.full((members, self.blocks), -3.0, dtype=torch.float64, device=z.device)
        self.precisions.requires_grad_()
        block = torch.arange(self.blocks)[:, None].expand(-1, hidden)
        skip = torch.full((self.blocks, p + 1), self.blocks)
        self.group = torch.cat([block, skip], dim=1).flatten().to(z.device)

    def maximise(self, steps: int, rate: float = 1e-2) -> None:
        groups = [{"params": self.layers, "lr": rate}, {"params": [self.precisions], "lr": 0.05}]
        optimiser = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            optimiser.zero_grad()
            self.loss().backward()
            optimiser.step()
            schedule.step()

    def loss(self) -> Tensor:
        r"""Return minus twice the log evidence a transition, summed over members, the noise's variances profiled out.

        .. math:: \frac{1}{N}\Big(d \log\frac{\det(\Phi^T\Phi + \Lambda)}{\det \Lambda}
            + N \sum_i \log\big(|y_i - \Phi w_i|^2 + w_i^T \Lambda w_i\big)\Big)
        """
        features, log_precision, factor, read = self._solve()
        # The gradient by the read-out vanishes at the optimum of it.
        read = read.detach()
        misfit = (self.y - features @ read).square().sum(1)
        penalty = (log_precision.exp()[..., None] * read.square()).sum(1)
        volume = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1) - log_precision.sum(1)
        rows, outputs = self.y.shape
        return (outputs / rows * volume + (misfit + penalty + _NOISE * rows).log().sum(1)).sum()

    def read(self) -> Tensor:
        """Return the posterior means of the read-outs, (M, blocks (H + p + 1), d), regrouped to (M, H + p + 1, ...)."""
        with torch.no_grad():
            read = self._solve()[-1]
        return read.unflatten(1, (self.blocks, -1)).transpose(1, 2).flatten(2)

    def _solve(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features = self._features()
        fixed = self.precisions.new_full((len(self.precisions), 1), math.log(_SKIP))
        log_precision = torch.cat([self.precisions, fixed], dim=1)[:, self.group]
        normal = features.mT @ features + torch.diag_embed(log_precision.exp() + _NOISE * len(self.z))
        factor = torch.linalg.cholesky(normal)
        return features, log_precision, factor, torch.cholesky_solve(features.mT @ self.y, factor)

    def _features(self) -> Tensor:
        w1, b1, w2, b2 = self.layers
        units = torch.tanh(torch.tanh(self.z @ w1 + b1) @ w2 + b2).double()
        z = self.z.double().expand(len(units), *self.z.shape)
        basis = torch.cat([units, z, torch.ones_like(z[..., :1])], dim=-1)
        return (self.factors[:, :, None] * basis[:, :, None, :]).flatten(2)
