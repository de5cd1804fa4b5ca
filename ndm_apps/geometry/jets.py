"""Directional derivatives of a metric: first and second, in any directions, by forward mode.

All curvature is made of the numbers D_u g and D_u D_v g for a few directions u, v. Nested forward mode
(:func:`torch.func.jvp` inside itself) delivers them without building tapes inside tapes; reverse mode on top then
costs what it costs for any other program, so losses made of curvature can be trained on.

Each direction becomes one more row of the batch. ``vmap`` over directions would share the value of the metric between
them, which saves a third of the time for large n, but it demands a batching rule for every operation and forbids
everything that looks at values (boolean masks, ``item``, branches). A metric maps batches to batches already, so rows
are the one way that works for all of them.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.metric import Metric

_T = TypeVar("_T")

# glibc hands freed arrays back to the system, and pages them in anew for the next ones, until it has seen one large
# block freed; it learns from no more than 32 MiB. This one is never touched: it takes no memory, but of what is freed
# later the process may keep some tens of MiB. Exact curvature has up to 60 % fewer page faults after it.
torch.empty(31 << 20, dtype=torch.uint8, device="cpu")


class SecondJet(NamedTuple):
    """Derivatives of a metric along k pairs of directions (u, v) at each point."""

    along_u: Float[Tensor, "*batch k n n"]
    along_v: Float[Tensor, "*batch k n n"]
    along_uv: Float[Tensor, "*batch k n n"]


def first_derivatives(
    metric: Metric, x: Float[Tensor, "*batch n"], u: Float[Tensor, "*batch k n"]
) -> Float[Tensor, "*batch k n n"]:
    """Differentiate the metric along k directions at each point: D_u g.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``. It must treat points one by one, and differentiate by forward mode: a metric that
        takes derivatives itself does so with :mod:`torch.func`, not with :func:`torch.autograd.grad`.
    x : Tensor
        Points, shape ``(..., n)``.
    u : Tensor
        Directions, shape ``(..., k, n)``.

    Returns
    -------
    Tensor
        Shape ``(..., k, n, n)``.

    Examples
    --------
    >>> import torch
    >>> def metric(x):
    ...     return torch.diag_embed(x**2)
    >>> first_derivatives(metric, torch.tensor([1.0, 3.0]), torch.eye(2)).diagonal(dim1=-2, dim2=-1)
    tensor([[2., 0.],
            [0., 6.]])
    """
    return value_and_derivative(metric, rows(x, u), u)[1]


def second_derivatives(
    metric: Metric,
    x: Float[Tensor, "*batch n"],
    u: Float[Tensor, "*batch k n"],
    v: Float[Tensor, "*batch k n"],
) -> SecondJet:
    """Differentiate the metric twice along k pairs of directions, held constant, at each point: D_u D_v g.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``. See :func:`first_derivatives`.
    x : Tensor
        Points, shape ``(..., n)``.
    u, v : Tensor
        Directions, shape ``(..., k, n)``.

    Returns
    -------
    SecondJet
        Three tensors of shape ``(..., k, n, n)``.
    """
    (_, along_v), (along_u, along_uv) = value_and_derivative(
        lambda y: value_and_derivative(metric, y, v), rows(x, u), u
    )
    return SecondJet(along_u, along_v, along_uv)


def contraction_gradient(
    metric: Metric,
    x: Float[Tensor, "*batch n"],
    u: Float[Tensor, "*batch k n"],
    v: Float[Tensor, "*batch k n"],
) -> Float[Tensor, "*batch k n"]:
    """Gradients d_k g(u, v) with u, v held constant: one reverse pass, whatever the dimension.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``.
    u, v : Tensor
        Directions, shape ``(..., k, n)``.

    Returns
    -------
    Tensor
        Shape ``(..., k, n)``.
    """

    def total(y: Tensor) -> Tensor:
        return ((metric(y) @ v.unsqueeze(-1)).squeeze(-1) * u).sum()

    gradient: Tensor = torch.func.grad(total)(rows(x, u))
    return gradient


def symmetric_pairs(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Index pairs (a, b) with a <= b that name each entry of a symmetric n x n table once; the diagonal comes first.

    Examples
    --------
    >>> symmetric_pairs(3, torch.device("cpu"))
    (tensor([0, 1, 2, 0, 0, 1]), tensor([0, 1, 2, 1, 2, 2]))
    """
    diagonal = torch.arange(n, device=device)
    above = torch.triu_indices(n, n, offset=1, device=device)
    return torch.cat((diagonal, above[0])), torch.cat((diagonal, above[1]))


def value_and_derivative(function: Callable[[Tensor], _T], x: Tensor, u: Tensor) -> tuple[_T, _T]:
    """Evaluate a function together with its derivative along ``u``: one forward-mode pass. Nests."""
    value, derivative = torch.func.jvp(function, (x,), (u,))  # type: ignore[misc]  # three only with has_aux=True
    return value, derivative


def rows(x: Float[Tensor, "*batch n"], u: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch k n"]:
    """Repeat each point once per direction.

    A real copy, not a view: forward mode writes tangents next to values and refuses overlapping memory. The axis of
    directions also keeps the coordinates of a single point from being tensors without axes, whose tangents forward mode
    promotes to float64 when they meet Python numbers (torch 2.13).
    """
    return x.unsqueeze(-2).expand(u.shape).clone(memory_format=torch.contiguous_format)
