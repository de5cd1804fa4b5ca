"""Streaming linear discriminant analysis, and the random Fourier features that RanDumb puts before it."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from typing import Any

import torch
from avalanche.training.supervised import StreamingLDA
from torch import Tensor, nn

from ndm_apps.plugins.continual.online import OnlineLearning

_WAITING = 1024  # samples after which their outer products are added to the covariance


class FourierFeatures(nn.Module):
    r"""Random Fourier features of a Gaussian kernel.

    .. math:: \varphi(x) = \sqrt 2 \cos(\Omega x / h + b), \qquad
        \operatorname{E} \varphi_j(x) \varphi_j(x') = e^{-\lVert x - x' \rVert^2 / 2 h^2}

    with :math:`\Omega_{ji} \sim N(0, 1)` and b uniform on :math:`[0, 2 \pi)`. The first batch fixes h: ``bandwidth``
    root mean square distances of two of its samples.

    Parameters
    ----------
    features, width
        Numbers of inputs and of outputs.
    bandwidth
        Relative bandwidth.
    seed
        Seed of the random weights.

    References
    ----------
    Rahimi and Recht 2007, "Random features for large-scale kernel machines"; Prabhu et al. 2024, "RanDumb: a simple
    approach that questions the efficacy of continual representation learning".
    """

    def __init__(self, features: int, width: int, *, bandwidth: float, seed: int, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.bandwidth = bandwidth
        self.register_buffer("weight", torch.randn(features, width, generator=generator, dtype=dtype))
        self.register_buffer("phase", 2 * torch.pi * torch.rand(width, generator=generator, dtype=dtype))
        self._scaled = False

    def forward(self, x: Tensor) -> Tensor:
        """Map samples ``(batch, ...)`` to features ``(batch, width)``."""
        x = torch.flatten(x, 1)
        if not self._scaled:
            square = 2 * x.var(0, correction=0).sum()
            self.weight /= self.bandwidth * torch.where(square > 0, square, 1.0).sqrt()
            self._scaled = True
        return 2**0.5 * torch.cos(x @ self.weight + self.phase)

    def get_extra_state(self) -> dict[str, Any]:
        """Return whether the bandwidth is fixed."""
        return {"scaled": self._scaled}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self._scaled = state["scaled"]


class ResidentLDA(OnlineLearning, StreamingLDA):
    r"""Avalanche's ``StreamingLDA`` on tensors in memory, a mini-batch at a time, with a state that can be saved.

    Sample n of class y with features z updates the within-class covariance and the mean of its class as

    .. math:: (n + 1)\, \Sigma_{n+1} = n \Sigma_n + \tfrac{n}{n + 1} (z - \mu_y)(z - \mu_y)^\top, \qquad
        \mu_y \leftarrow \mu_y + (z - \mu_y) / (c_y + 1).

    Avalanche does so sample by sample and inverts the covariance for every mini-batch; here the same sums are products
    of matrices, and the covariance is factorised when somebody asks for a prediction.

    Parameters
    ----------
    dtype
        Floating-point type of the statistics.
    **settings
        As of Avalanche's ``StreamingLDA``.

    References
    ----------
    Hayes and Kanan 2020, "Lifelong machine learning with deep streaming linear discriminant analysis".
    """

    alarms: tuple[int, ...] = ()
    charts = 1
    stored_exemplars = 0
    _STATE = ("muK", "cK", "Sigma", "num_updates", "_folded")

    def __init__(self, *, dtype: torch.dtype = torch.float32, **settings: Any) -> None:
        super().__init__(**settings)
        for name in ("muK", "cK", "Sigma", "Lambda"):
            setattr(self, name, getattr(self, name).to(dtype))
        self._folded = 0  # samples that Sigma knows of; the others wait as rows
        self._rows: list[Tensor] = []

    @property
    def parameters(self) -> int:
        """Number of entries of the means and the covariance."""
        return self.muK.numel() + self.Sigma.numel()

    def frozen(self) -> nn.Module:
        """Return the features and the linear classifier on them as plain layers."""
        weight, bias = self._solution()
        head = nn.Linear(*weight.shape, device=weight.device, dtype=weight.dtype)
        head.weight.data, head.bias.data = weight.T, bias
        return nn.Sequential(self.model, head).requires_grad_(False).eval()

    @torch.no_grad()
    def learn(self) -> None:
        """Take in the mini-batch."""
        self.fit(self.model(self.mb_x), self.mb_y)

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor) -> None:
        """Take in features ``(batch, features)`` with labels ``(batch,)``, one after the other."""
        away = torch.empty_like(x)
        for label in y.unique().tolist():
            here = y == label
            mine, count = x[here], self.cK[label]
            number = count + torch.arange(1, len(mine) + 1, device=x.device, dtype=x.dtype)
            sums = mine.cumsum(0) + count * self.muK[label]
            means = torch.cat([self.muK[label][None], sums / number[:, None]])
            away[here] = mine - means[:-1]
            self.muK[label] = means[-1]
            self.cK[label] += len(mine)
        done = self.num_updates + torch.arange(len(x), device=x.device, dtype=x.dtype)
        self._rows.append(away * (done / (done + 1)).sqrt()[:, None])
        self.num_updates += len(x)
        if self.num_updates - self._folded >= _WAITING:
            self._fold()

    def _fold(self) -> None:
        if self._rows:
            rows = torch.cat(self._rows)
            self.Sigma = (rows.T @ rows).add_(self.Sigma, alpha=self._folded).div_(self.num_updates)
            self._rows, self._folded = [], self.num_updates

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of features ``(batch, features)``; -inf for a class never seen."""
        weight, bias = self._solution()
        return x @ weight + bias

    def _solution(self) -> tuple[Tensor, Tensor]:
        if self.prev_num_updates != self.num_updates:
            self._fold()
            shrunk = (1 - self.shrinkage_param) * self.Sigma
            shrunk.diagonal().add_(self.shrinkage_param)
            self.Lambda = torch.cholesky_solve(self.muK.T, torch.linalg.cholesky(shrunk))
            self.prev_num_updates = self.num_updates
        bias = -(self.muK.T * self.Lambda).sum(0) / 2
        return self.Lambda, bias.masked_fill(self.cK == 0, -torch.inf)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        state = {name: getattr(self, name) for name in self._STATE}
        return {**state, "rows": list(self._rows), "model": self.model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for name in self._STATE:
            setattr(self, name, state[name])
        self._rows = list(state["rows"])
        self.model.load_state_dict(state["model"])
        self.prev_num_updates = -1
