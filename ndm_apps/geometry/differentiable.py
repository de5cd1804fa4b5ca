"""Whether torch's derivatives of a metric, or of another field, are those of its values.

A metric that leaves torch on the way, by ``detach``, ``no_grad``, ``tolist`` or numpy, may have derivatives zero
without any error, and then its curvature is a silent zero. Some operations have wrong derivatives in torch itself: in
2.13 ``cholesky_inverse`` by forward mode, and ``linalg.solve``, ``det`` and ``logdet`` by forward mode twice
(github.com/pytorch/pytorch, issue 198017; ``linalg.inv``, ``cholesky_solve`` and ``solve_triangular`` are right).
Values cannot lie: differences between them are compared with the derivatives of forward mode, first and second, and of
reverse mode.
"""

from collections.abc import Callable
from contextlib import suppress
from weakref import WeakSet

import torch
from torch import Tensor

# Steps of the central differences: the second pair tells whether the first can be believed.
_STENCIL = (0.0, 1.0, -1.0, 0.5, -0.5)
# Fields that passed: each object is inspected once, near one point, whatever the batch and however often it is used.
_passed: WeakSet[Callable[[Tensor], Tensor]] = WeakSet()


@torch.no_grad()
def check_differentiable(field: Callable[[Tensor], Tensor], name: str, x: Tensor) -> None:
    """Raise ValueError unless torch can differentiate a field twice near the first of the points ``x``, and does so.

    A constant field passes, since its values do not change either. So does what differences cannot decide: points at
    the edge of the chart, kinks, noise, changes in the last few digits.

    Parameters
    ----------
    field : callable
        From points ``(..., n)`` to tensors of any shape ``(..., *)``, known to return one at ``x``.
    name : str
        What the message calls it.
    x : Tensor
        Shape ``(..., n)``.

    Raises
    ------
    ValueError
        Saying which derivative is wrong, what it is and what the values say; or the error that torch raised.
    """
    if x.numel() == 0 or _has_passed(field):
        return
    point = x.detach().reshape(-1, x.shape[-1])[:1]
    reach = 1 + point.abs().max()
    direction = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device).cos()
    # A second point beside the first: at a critical point, such as the centre of many charts, derivatives are zero.
    pair = torch.cat((point, point + 0.05 * reach * direction))
    step = torch.finfo(x.dtype).eps ** (1 / 3) * reach
    offsets = step * torch.tensor(_STENCIL, dtype=x.dtype, device=x.device).unsqueeze(-1) * direction
    try:
        jet = _forward(field, (offsets.unsqueeze(-2) + pair).flatten(0, 1), direction)
        reverse = torch.func.grad(lambda y: _total(field(y)).sum())(pair) @ direction
    except Exception as reason:
        if _is_differentiable_at(field, point, direction):
            return  # it is the neighbours that are not on the chart
        raise ValueError(f"{name} must be differentiable twice by torch.func, got: {reason}") from reason
    values, first, second = (torch.unflatten(t, 0, (len(_STENCIL), 2)) for t in jet)
    rounding = 100 * torch.finfo(x.dtype).eps * _size(values[0]) / step
    believed, slack = _differences(values, step)
    _compare(name, "first", first[0], believed, slack + rounding)
    _compare(name, "reverse-mode", reverse, _total(believed), slack + rounding)
    believed, slack = _differences(first, step)
    _compare(name, "second", second[0], believed, slack + rounding)
    with suppress(TypeError):  # what cannot be hashed or referred to weakly is inspected every time
        _passed.add(field)


def _has_passed(field: Callable[[Tensor], Tensor]) -> bool:
    try:
        return field in _passed
    except TypeError:
        return False


def _forward(field: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, first and second derivative along a direction."""
    u = direction.expand_as(x).clone()

    def once(y: Tensor) -> tuple[Tensor, Tensor]:
        value, derivative = torch.func.jvp(field, (y,), (u,))  # type: ignore[misc]
        return value, derivative

    (value, first), (_, second) = torch.func.jvp(once, (x,), (u,))  # type: ignore[misc]
    return value, first, second


def _is_differentiable_at(field: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor) -> bool:
    try:
        _forward(field, point, direction)
        torch.func.grad(lambda y: field(y).sum())(point)
    except Exception:
        return False
    return True


def _differences(values: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Difference quotient, and how far it may be from the derivative: curvature of the function, noise, a kink."""
    coarse, fine = (values[1] - values[2]) / (2 * step), (values[3] - values[4]) / step
    kink = (values[3] + values[4] - 2 * values[0]) / (step / 2)
    return fine, 10 * _size(coarse - fine) + 2 * _size(kink)


def _compare(name: str, which: str, claimed: Tensor, believed: Tensor, slack: Tensor) -> None:
    # nan compares false: where a neighbour is off the chart nothing can be said.
    wrong = _size(claimed - believed) > 0.1 * _size(believed) + slack
    if bool(wrong.any()):
        got, expected = (float(_size(t)[wrong][0]) for t in (claimed, believed))
        raise ValueError(
            f"{name} must be differentiable by torch.func, got a {which} derivative of size {got:.3g} where "
            f"its values say {expected:.3g}: something in it is detached, under no_grad, computed outside torch, or an "
            "operation whose derivative torch has wrong"
        )


def _size(t: Tensor) -> Tensor:
    """Length of what stands at each of the two points."""
    size: Tensor = torch.linalg.vector_norm(t.reshape(2, -1), dim=-1)
    return size


def _total(t: Tensor) -> Tensor:
    """Sum of what stands at each point, scaled so as never to exceed its length."""
    entries = t.reshape(len(t), -1)
    total: Tensor = entries.sum(-1) / entries.shape[-1] ** 0.5
    return total
