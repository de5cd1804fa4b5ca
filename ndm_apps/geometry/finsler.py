r"""Finsler metrics: norms F(x, v) of tangent vectors, Riemannian or not, as geodesics need them.

.. math:: F^2 \text{ smooth and strongly convex in } v \ne 0, \quad F(x, \lambda v) = \lambda F(x, v), \; \lambda > 0

A geodesic makes :math:`\int F^2 \, dt` stationary. Its momentum :math:`p = \tfrac12 \partial F^2 / \partial v` obeys
Hamilton's equations, :math:`\dot x = v(x, p)`, :math:`\dot p = \tfrac12 \partial F^2 / \partial x` at fixed v, which
take one forward and one reverse pass through the metric, whatever the dimension, and no Christoffel symbol.
Reference: D. Bao, S.-S. Chern, Z. Shen, *An Introduction to Riemann-Finsler Geometry*, Springer 2000.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.metric import Metric, check_vector, evaluate

Coefficients: TypeAlias = tuple[Tensor, ...]
Pull: TypeAlias = Callable[[Coefficients], Tensor]


class Finsler(ABC):
    """A norm on each tangent space, given by coefficients that depend on the point and algebra that does not.

    Splitting the two lets one evaluation of the coefficients serve values and derivatives.
    """

    @abstractmethod
    def check(self, x: Float[Tensor, "*batch n"], name: str) -> None:
        """Raise ValueError, naming the first bad sample of ``name``, unless F is a norm at the points ``x``."""

    @abstractmethod
    def coefficients(self, x: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return what F depends on at the points ``x``, unchecked."""

    def coefficients_and_pull(self, x: Float[Tensor, "*batch n"]) -> tuple[Coefficients, Pull]:
        """Return the coefficients at the points ``x``, and what takes derivatives in them to derivatives in x."""
        c, pull = torch.func.vjp(self.coefficients, x)  # type: ignore[misc]  # three only with has_aux=True
        return c, lambda by_coefficients: pull(by_coefficients)[0]

    @abstractmethod
    def valid(self, c: Coefficients) -> Bool[Tensor, "*batch"]:
        """Whether F is a norm where the coefficients are ``c``."""

    @abstractmethod
    def square(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return F squared, differentiable in both arguments."""

    @abstractmethod
    def fibre_hessian(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Second derivatives of F squared in ``v``, positive definite; twice the metric if F is Riemannian."""

    @abstractmethod
    def square_by_coefficients(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return the derivatives of F squared in each coefficient."""

    @abstractmethod
    def momentum(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Return half the derivative of F squared in ``v``: its index lowered if F is Riemannian."""

    @abstractmethod
    def velocity(self, c: Coefficients, p: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Return the vector of the momentum ``p``; nan where F is not a norm."""

    def part(self, which: Tensor) -> "Finsler":
        """Return the norm for some of the curves only, where each has its own; here for all."""
        return self

    @final
    def norm(self, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return F(x, v), shape ``(...)``; ValueError if an argument is not what it should be."""
        self.check(x, "x")
        check_vector("v", v, x)
        x, v = torch.broadcast_tensors(x, v)  # type: ignore[no-untyped-call]
        return root(self.square(self.coefficients(x), v))


@final
class Riemannian(Finsler):
    """The norm of a metric g: F squared is g(v, v)."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def check(self, x: Float[Tensor, "*batch n"], name: str) -> None:
        """Raise ValueError unless g is a metric at the points ``x``."""
        evaluate(self.metric, x, name)

    def coefficients(self, x: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return g alone."""
        return (self.metric(x),)

    def valid(self, c: Coefficients) -> Bool[Tensor, "*batch"]:
        """Whether g is positive definite."""
        info: Tensor = torch.linalg.cholesky_ex(c[0])[1]
        return info == 0

    def square(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return g(v, v)."""
        return ((c[0] @ v.unsqueeze(-1)).squeeze(-1) * v).sum(-1)

    def fibre_hessian(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Return 2 g."""
        return 2 * c[0]

    def square_by_coefficients(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return v v^T."""
        return (v.unsqueeze(-1) * v.unsqueeze(-2),)

    def momentum(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Lower the index of ``v``."""
        return (c[0] @ v.unsqueeze(-1)).squeeze(-1)

    def velocity(self, c: Coefficients, p: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Raise the index of ``p``; nan where g is not positive definite."""
        cholesky, info = torch.linalg.cholesky_ex(c[0])
        v = torch.cholesky_solve(p.unsqueeze(-1), cholesky).squeeze(-1)
        return torch.where((info == 0).unsqueeze(-1), v, torch.nan)


def root(square: Tensor) -> Tensor:
    """Square root with derivative 0 at 0, where it has none: that of a length does not matter there."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0 * square)


def hamiltonian_flow(
    finsler: Finsler, x: Float[Tensor, "*batch n"], p: Float[Tensor, "*batch n"]
) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch n"]]:
    """Rates of position and momentum along the geodesic through x; the points are not checked."""
    c, pull = finsler.coefficients_and_pull(x)
    v = finsler.velocity(c, p)
    return v, pull(finsler.square_by_coefficients(c, v)) / 2
