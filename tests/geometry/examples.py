"""The metrics that every law is tested on. A new one joins a list and inherits its tests."""

import torch
from torch import Tensor, nn

from ndm_apps.geometry import Conformal, Ellipsoid, Euclidean, Hyperbolic, Metric, Product, Sphere, Torus, Warped
from ndm_apps.geometry.closed_form import AnalyticMetric
from ndm_apps.geometry.lie_group import LeftInvariant


def _wave(x: Tensor) -> Tensor:
    return 0.3 * (x[..., 0] - 0.5 * x[..., -1]).sin() + 0.1 * x[..., 0] * x[..., -1]


def _positive(x: Tensor) -> Tensor:
    return 2 + (x[..., 0] + 0.5 * x[..., -1]).cos()


ANALYTIC: dict[str, AnalyticMetric] = {
    "line": Euclidean(1),
    "plane": Euclidean(2),
    "R4": Euclidean(4),
    "S2": Sphere(2),
    "S3": Sphere(3, radius=0.5),
    "S6": Sphere(6, radius=2.0),
    "H2": Hyperbolic(2),
    "H3": Hyperbolic(3, radius=3.0),
    "H6": Hyperbolic(6),
    "H2 half-plane": Hyperbolic(2, model="half_space"),
    "H6 half-space": Hyperbolic(6, radius=0.7, model="half_space"),
    "torus": Torus(),
    "ellipsoid": Ellipsoid(),
    "S2 x H2": Product(Sphere(2), Hyperbolic(2)),
    "torus x line": Product(Torus(3.0, 0.5), Euclidean(1)),
    "conformal to R3": Conformal(_wave, Euclidean(3)),
    "conformal to S2 x H2": Conformal(_wave, Product(Sphere(2), Hyperbolic(2))),
    "conformal surface": Conformal(_wave, Torus()),
    "H2 warped with S3": Warped(Hyperbolic(2), Sphere(3), _positive),
    "torus warped with a line": Warped(Torus(), Euclidean(1), _positive),
    "Heisenberg": LeftInvariant((0.0, 0.0, 1.5)),
    "Berger sphere": LeftInvariant((1.0, 2.0, 2.0)),
    "SU(2)": LeftInvariant((0.7, 1.3, 2.1)),
    "SL(2, R)": LeftInvariant((1.0, 1.5, -0.5)),
    "Sol": LeftInvariant((1.0, -1.0, 0.0)),
}


class PolynomialMetric(nn.Module):
    """g = I + A A^T / 2 with A quadratic in x: positive definite everywhere, and generic."""

    def __init__(self, n: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.n = n
        self.linear = nn.Parameter(torch.randn(n, n, n, generator=generator, dtype=torch.float64) / n)
        self.square = nn.Parameter(torch.randn(n, n, n, n, generator=generator, dtype=torch.float64) / n**1.5)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.einsum("ijk,...k->...ij", self.linear, x)
        a = a + torch.einsum("ijkl,...k,...l->...ij", self.square, x, x)
        return torch.eye(self.n, dtype=x.dtype) + 0.5 * a @ a.mT


class CholeskyNet(nn.Module):
    """g = L L^T + eps I, L lower triangular from a small perceptron: what a learned metric looks like."""

    def __init__(self, n: int, width: int = 16, eps: float = 0.1, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.n, self.eps = n, eps
        self.net = nn.Sequential(
            nn.Linear(n, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, n * (n + 1) // 2)
        ).to(dtype)
        row, column = torch.tril_indices(n, n)
        self.register_buffer("place", row * n + column)

    def forward(self, x: Tensor) -> Tensor:
        entries = self.net(x)
        flat = entries.new_zeros(*x.shape[:-1], self.n**2).index_copy(-1, self.place, entries)
        lower = flat.unflatten(-1, (self.n, self.n)) + torch.eye(self.n, dtype=x.dtype)
        return lower @ lower.mT + self.eps * torch.eye(self.n, dtype=x.dtype)


def cholesky_net(n: int, seed: int = 0, **settings) -> CholeskyNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CholeskyNet(n, **settings)


GENERIC: dict[str, Metric] = {
    "polynomial 2": PolynomialMetric(2),
    "polynomial 3": PolynomialMetric(3, seed=1),
    "polynomial 5": PolynomialMetric(5, seed=2),
    "network 3": cholesky_net(3),
}
ALL: dict[str, Metric] = {**ANALYTIC, **GENERIC}


def points(metric: Metric, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random points of the chart, shape (*shape, n)."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(*shape, metric.n, generator=generator, dtype=torch.float64)
    x = metric.chart_point(unit) if isinstance(metric, AnalyticMetric) else 2 * unit - 1
    return x.to(dtype)


def vectors(x: Tensor, count: int, seed: int = 1) -> Tensor:
    """Random tangent vectors, shape (count, *x.shape)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *x.shape, generator=generator, dtype=x.dtype)


def size(t: Tensor) -> float:
    """Largest entry, at least 1: what an absolute tolerance is measured in."""
    return max(1.0, t.detach().abs().max().item())
