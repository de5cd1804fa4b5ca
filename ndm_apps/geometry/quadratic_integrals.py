r"""Quadratic first integrals of motion in a potential: what a Killing tensor becomes where a force acts.

Along motions of :math:`L = \tfrac12 g(\dot x, \dot x) - V` the quantity :math:`K(\dot x, \dot x) + U` is conserved if

.. math:: \nabla_{(a} K_{bc)} = 0 , \qquad \partial_a U = 2 K_{ab} g^{bc} \partial_c V .

The energy is one, with K = g and U = 2 V; so are products of conserved momenta, with U = 0. Others belong to no
symmetry of g and V: the Runge-Lenz vector of the Kepler problem, the tensor of Fradkin of the isotropic oscillator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.dictionary import Dictionary, checked_dictionary, polynomials
from ndm_apps.geometry.differentiable import check_differentiable
from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.geometry.killing import KillingFields, killing_fields
from ndm_apps.geometry.killing_equation import (
    Found,
    KillingEquation,
    check_tolerance,
    count_zeros,
    null_space,
    spread,
)
from ndm_apps.geometry.killing_tensors import (
    KillingTensor,
    angles_to,
    expanded_tensors,
    tensor_equation,
    trivial_tensors,
)
from ndm_apps.geometry.metric import Metric, evaluate


@final
@dataclass(frozen=True)
class QuadraticIntegral:
    r"""A function :math:`K(v, v) + U(x)` of points and velocities that motion keeps.

    Attributes
    ----------
    tensor : KillingTensor
        K, of root mean square 1 on the sample points; its ``residual`` holds what is left of both equations.
    coefficients : Tensor
        Of U: first those of ``scalars``, then those of V times the functions of the tensor's dictionary.
    potential : callable
        V, ``(..., n) -> (...)``.
    scalars : callable
        ``(..., n) -> (..., functions)``.
    """

    tensor: KillingTensor
    coefficients: Float[Tensor, " terms"]
    potential: Callable[[Tensor], Tensor]
    scalars: Dictionary

    def scalar(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Value of U at the points ``x``."""
        return _scalar_terms(self.scalars, self.tensor.dictionary, self.potential, x) @ self.coefficients

    def __call__(self, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Value of the integral."""
        return ((self.tensor(x) @ v.unsqueeze(-1)).squeeze(-1) * v).sum(-1) + self.scalar(x)


@final
class QuadraticIntegrals(Found[QuadraticIntegral]):
    """The quadratic integrals found, reducible ones first, and the evidence for their number.

    Attributes
    ----------
    reducible, irreducible : int
        How many are combinations of the energy and of products of conserved momenta, and how many are not.
    spectrum : Tensor
        Residuals of a basis of the whole dictionary, ascending; the first ``len()`` of them were counted as zero.
    gap : float
        Ratio of the first residual that was not counted to the last one that was.
    vectors : KillingFields
        The Killing fields that preserve the potential.
    """

    def __init__(
        self,
        integrals: Sequence[QuadraticIntegral],
        reducible: int,
        spectrum: Float[Tensor, " fields"],
        gap: float,
        vectors: KillingFields,
    ) -> None:
        self._found, self.spectrum, self.gap, self.vectors = tuple(integrals), spectrum, gap, vectors
        self.reducible, self.irreducible = reducible, len(self._found) - reducible

    def __repr__(self) -> str:
        kinds = f"{self.reducible} reducible, {self.irreducible} irreducible"
        return f"QuadraticIntegrals({len(self)} of {len(self.spectrum)}, {kinds}, gap {self.gap:.1e})"


def quadratic_integrals(
    metric: Metric,
    potential: Callable[[Tensor], Tensor],
    x: Float[Tensor, "*batch n"],
    degree: int = 2,
    tolerance: float = 1e-3,
    *,
    unit: float | None = None,
    angles: Sequence[int] = (),
    dictionary: Dictionary | None = None,
    scalar_degree: int = 4,
) -> QuadraticIntegrals:
    r"""Find the quadratic integrals of motion in a potential, with components in a dictionary.

    U is sought among polynomials, and V times the functions of the dictionary.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    potential : callable
        V, ``(..., n) -> (...)``, differentiable by forward mode.
    x : Tensor
        Sample points, shape ``(..., n)``; more than twice as many as there are functions, in general position.
    degree : int, default 2
        Highest total degree of the components of K, at least 0.
    tolerance : float, default 1e-3
        Largest residual that may be counted, of integrals and of Killing vectors.
    unit : float, optional
        A difference of the potential that matters, such as the kinetic energy; its standard deviation on ``x`` if not
        given.
    angles, dictionary
        See :func:`~ndm_apps.geometry.killing_tensors`.
    scalar_degree : int, default 4
        Highest total degree of the polynomials in U.

    Returns
    -------
    QuadraticIntegrals
        A sequence; ``len()`` is the count, at least 1: the energy.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be, or the points cannot tell the functions apart.

    References
    ----------
    Whittaker, "A treatise on the analytical dynamics of particles and rigid bodies", 1904 (quadratic integrals);
    Fradkin, "Three-dimensional isotropic harmonic oscillators and SU3", 1965.

    Examples
    --------
    The Kepler problem in the plane: energy and squared angular momentum; two components of the Runge-Lenz vector.

    >>> import torch
    >>> from ndm_apps.geometry import Euclidean
    >>> x = torch.rand(99, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    >>> found = quadratic_integrals(Euclidean(2), lambda y: -1 / torch.linalg.vector_norm(y, dim=-1), x)
    >>> found.reducible, found.irreducible
    (2, 2)
    """
    check_tolerance(tolerance)
    value = evaluate(metric, x)
    check_differentiable(potential, "potential(x)", x)
    with torch.no_grad():
        n, eps = x.shape[-1], torch.finfo(x.dtype).eps
        x, cholesky = x.reshape(-1, n), value.cholesky.reshape(-1, n, n)
        dictionary = checked_dictionary(x, degree, angles, dictionary)
        size = float(potential(x).std(correction=0)) or 1.0 if unit is None else unit
        if not size > 0:
            raise ValueError(f"unit must be positive, got {unit!r}")
        scalars = polynomials(x, scalar_degree, angles)
        values, change = tensor_equation(metric, x, dictionary)
        force, gradients = _force_equation(metric, potential, x, values, scalars, dictionary)
        scale = spread(cholesky, x) / size
        gradients, force = gradients.double(), force.double()
        solution = torch.linalg.lstsq(gradients, force, rcond=eps**0.75, driver="gelsd").solution
        rest = (force - gradients @ solution).to(x.dtype) * scale
        equation = KillingEquation(values, torch.cat((change, rest)))
        spectrum, coefficients = null_space(equation, eps)
        count, gap = count_zeros(spectrum, tolerance, eps, n * (n + 1) ** 2 * (n + 2) // 12)
        vectors = killing_fields(
            metric, x, degree, tolerance, angles=angles, dictionary=dictionary, functions=[potential], units=[size]
        )
        found = values.double() @ coefficients[:, :count]
        sines, turn = angles_to(found, trivial_tensors(vectors, x, cholesky, values[:, 0]).double(), eps)
        coefficients = coefficients[:, :count] @ turn
        residuals = (equation.change.double() @ coefficients).square().sum(0).sqrt()
        tensors = expanded_tensors(coefficients.to(x.dtype), residuals, metric, dictionary, n)
        terms = (solution @ coefficients).to(x.dtype)
    integrals = [QuadraticIntegral(one, row, potential, scalars) for one, row in zip(tensors, terms.mT, strict=True)]
    return QuadraticIntegrals(integrals, int((sines < tolerance**0.5).sum()), spectrum.to(x.dtype), gap, vectors)


def _force_equation(
    metric: Metric,
    potential: Callable[[Tensor], Tensor],
    x: Tensor,
    values: Tensor,
    scalars: Dictionary,
    dictionary: Dictionary,
) -> tuple[Tensor, Tensor]:
    """Frame components of 2 K(grad V) for each column, and of the gradient of each term of U."""
    frame = evaluate(metric, x).orthonormal_frame()
    n, points = x.shape[-1], rows(x, frame)
    slope = value_and_derivative(potential, points, frame)[1]
    gradients = value_and_derivative(lambda y: _scalar_terms(scalars, dictionary, potential, y), points, frame)[1]
    # The columns hold the components a <= b of K, those off the diagonal times the root of 2: see `components`.
    i, j = torch.triu_indices(n, n, device=x.device)
    entries = torch.unflatten(values, 0, (len(x), len(i))) * len(x) ** 0.5
    entries = entries / torch.where(i == j, 1.0, 2.0**0.5).to(x.dtype).unsqueeze(-1)
    tensor = entries.new_zeros(len(x), n, n, values.shape[-1])
    tensor[:, i, j] = tensor[:, j, i] = entries
    force = 2 * torch.einsum("pabf,pb->paf", tensor, slope)
    root = len(x) ** 0.5
    return force.flatten(0, 1) / root, gradients.flatten(0, 1) / root


def _scalar_terms(
    scalars: Dictionary, dictionary: Dictionary, potential: Callable[[Tensor], Tensor], x: Tensor
) -> Tensor:
    return torch.cat((scalars(x), potential(x).unsqueeze(-1) * dictionary(x)), -1)
