"""Norms of metrics that know more of themselves than their matrix, which is then not formed.

A metric is recognised by its methods: ``conformal_weight`` (:class:`~ndm_apps.geometry.metric.HasConformalWeight`),
best with its gradient (:class:`HasConformalGradient`), or ``immersion``
(:class:`~ndm_apps.geometry.metric.HasImmersion`).
"""

from functools import cached_property
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.finsler import Coefficients, Finsler, Pull, Riemannian
from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.geometry.metric import HasConformalWeight, HasImmersion, HasParts, Metric, evaluate

_CHUNK = 512  # points whose Jacobians are held at a time


@runtime_checkable
class HasConformalGradient(HasConformalWeight, Protocol):
    """A conformally flat metric that also knows the gradient of its weight: geodesics then differentiate nothing."""

    def conformal_weight_and_gradient(
        self, x: Float[Tensor, "*batch n"], /
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch n"]]:
        """Weight w > 0 at the points ``x``, and its gradient; both differentiable."""
        ...


def as_finsler(metric: Metric | Finsler) -> Finsler:
    """Return the norm of a metric, and anything that is a norm already as it is."""
    if isinstance(metric, Finsler):
        return metric
    if isinstance(metric, HasConformalWeight):
        return ConformallyFlat(metric)
    if isinstance(metric, HasImmersion):
        return Immersed(metric)
    return Riemannian(metric)


@final
class ConformallyFlat(Finsler):
    """The norm of a metric w I that knows its weight: F squared is w(x) |v|^2, and no matrix is formed."""

    def __init__(self, metric: HasConformalWeight) -> None:
        self.metric = metric
        # Asked once: the question takes as long as ten operations on one curve.
        self._both = metric.conformal_weight_and_gradient if isinstance(metric, HasConformalGradient) else None

    def check(self, x: Float[Tensor, "*batch n"], name: str) -> None:
        """Raise ValueError unless g, or the first of a family, is a metric at the points ``x``."""
        evaluate(self._first, x, name)

    @cached_property
    def _first(self) -> Metric:
        """The metric, or the first of a family: one object, which is inspected once."""
        if isinstance(self.metric, HasParts):
            return self.metric.part(torch.zeros(1, dtype=torch.long))
        return self.metric

    def part(self, which: Tensor) -> Finsler:
        """Return the norms of some of a family's metrics."""
        return as_finsler(self.metric.part(which)) if isinstance(self.metric, HasParts) else self

    def coefficients(self, x: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return w alone."""
        return (self.metric.conformal_weight(x),)

    def coefficients_and_pull(self, x: Float[Tensor, "*batch n"]) -> tuple[Coefficients, Pull]:
        """Return w, and what multiplies by its gradient."""
        if self._both is None:
            return super().coefficients_and_pull(x)
        weight, gradient = self._both(x)
        return (weight,), lambda by_weight: by_weight[0].unsqueeze(-1) * gradient

    def valid(self, c: Coefficients) -> Bool[Tensor, "*batch"]:
        """Whether w is positive."""
        return c[0] > 0

    def square(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return w |v|^2."""
        return c[0] * v.square().sum(-1)

    def fibre_hessian(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Return 2 w I."""
        return torch.diag_embed((2 * c[0]).unsqueeze(-1).expand(v.shape))

    def square_by_coefficients(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return |v|^2."""
        return (v.square().sum(-1),)

    def momentum(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Lower the index of ``v``."""
        return c[0].unsqueeze(-1) * v

    def velocity(self, c: Coefficients, p: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Raise the index of ``p``; nan where w is not positive."""
        return torch.where(self.valid(c).unsqueeze(-1), p / c[0].unsqueeze(-1), torch.nan)


@final
class Immersed(Finsler):
    r"""The norm of :math:`g = J^\top J`, J the Jacobian of a map from the chart to flat space of any dimension.

    Lengths take one derivative of the map along one direction, where the matrix takes n.
    """

    def __init__(self, metric: HasImmersion) -> None:
        self.metric = metric

    def check(self, x: Float[Tensor, "*batch n"], name: str) -> None:
        """Raise ValueError unless g is a metric at the first of the points ``x``, and all are finite."""
        bad = ~torch.isfinite(x).all(-1)
        first = x[bad] if bool(bad.any()) else x.reshape(-1, x.shape[-1])
        evaluate(self.metric, first[:1], name)

    def coefficients(self, x: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return the points themselves."""
        return (x,)

    def valid(self, c: Coefficients) -> Bool[Tensor, "*batch"]:
        """Whether the points are finite."""
        return torch.isfinite(c[0]).all(-1)

    def square(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return the squared length of the image of ``v``."""
        return self._image(c[0], v).square().sum(-1)

    def fibre_hessian(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Return 2 g."""
        parts = torch.split(c[0].reshape(-1, v.shape[-1]), _CHUNK)
        return torch.cat([2 * self._matrix(part) for part in parts]).reshape(*v.shape, v.shape[-1])

    def square_by_coefficients(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return the derivative of the square in the points."""
        gradient: Tensor = torch.func.grad(lambda x: self._image(x, v).square().sum())(c[0])
        return (gradient,)

    def momentum(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Lower the index of ``v``."""
        _, pull = torch.func.vjp(self.metric.immersion, c[0])  # type: ignore[misc]  # three only with has_aux=True
        lowered: Tensor = pull(self._image(c[0], v))[0]
        return lowered

    def velocity(self, c: Coefficients, p: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Raise the index of ``p``; nan where the map is no immersion."""
        cholesky, info = torch.linalg.cholesky_ex(self.fibre_hessian(c, p) / 2)
        v = torch.cholesky_solve(p.unsqueeze(-1), cholesky).squeeze(-1)
        return torch.where((info == 0).unsqueeze(-1), v, torch.nan)

    def _image(self, x: Tensor, v: Tensor) -> Tensor:
        return value_and_derivative(self.metric.immersion, x, v)[1]

    def _matrix(self, x: Tensor) -> Tensor:
        basis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, x.shape[-1])
        columns = value_and_derivative(self.metric.immersion, rows(x, basis), basis)[1]
        return columns @ columns.mT
