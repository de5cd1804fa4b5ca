r"""Parallel transport along curves.

In a field of orthonormal frames :math:`E = C^{-T}`, :math:`g = C C^T`, the connection is a skew matrix
:math:`\omega`, and a vector with frame components w moves by :math:`\dot w = -\omega(\dot c) w`. One chord d with
midpoint m is one Cayley step :math:`(I + \omega/2)^{-1} (I - \omega/2)`, :math:`\omega = \omega_m(d)`: of order 2 in
the chord, and exactly orthogonal, so that inner products are kept to rounding however coarse the curve.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.jets import first_derivatives, rows, value_and_derivative
from ndm_apps.geometry.metric import Metric, check_points, check_vector, evaluate


def parallel_transport(
    metric: Metric, curve: Float[Tensor, "*batch points n"], v: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch points n"]:
    r"""Carry tangent vectors along curves without turning them, :math:`\nabla_{\dot c} v = 0`.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    curve : Tensor
        Nodes of the curves, shape ``(..., points, n)``, at least 2, joined by straight lines of the chart;
        for instance ``geodesic(metric, x, y).points``.
    v : Tensor
        Tangent vectors at the first node, shape ``(..., n)``.

    Returns
    -------
    Tensor
        The vectors at every node, ``v`` first, shape ``(..., points, n)``. Differentiable with respect to everything.

    Raises
    ------
    ValueError
        If an argument, or the metric at a node or half way between two, is not what it should be.

    Examples
    --------
    Along a meridian of the unit sphere, from the south pole to the equator: same direction, same length.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> meridian = torch.linspace(0, 1, 11).unsqueeze(-1) * torch.tensor([1.0, 0.0])
    >>> parallel_transport(Sphere(2), meridian, torch.tensor([0.0, 1.0]))[-1]
    tensor([0., 2.])
    """
    check_points("curve", curve)
    if curve.ndim < 2 or curve.shape[-2] < 2:
        raise ValueError(f"curve must have shape (..., points, n) with points >= 2, got {tuple(curve.shape)}")
    nodes = evaluate(metric, curve, "curve").cholesky
    check_vector("v", v, curve[..., 0, :])
    steps = _cayley(metric, curve[..., :-1, :], curve[..., 1:, :])
    components = [nodes[..., 0, :, :].mT @ v.unsqueeze(-1)]
    for k in range(steps.shape[-3]):
        components.append(steps[..., k, :, :] @ components[-1])
    carried: Tensor = torch.linalg.solve_triangular(nodes.mT, torch.stack(components, -3), upper=True)
    return carried.squeeze(-1)


def _cayley(metric: Metric, start: Tensor, end: Tensor) -> Tensor:
    """Orthogonal matrices that carry frame components from the one end of each chord to the other."""
    middle, chord = (start + end) / 2, end - start
    value = evaluate(metric, middle, "midpoints")
    frame = value.orthonormal_frame()
    identity = torch.eye(chord.shape[-1], dtype=chord.dtype, device=chord.device).expand_as(frame)
    chords = rows(chord, identity)
    along = first_derivatives(metric, middle, chord.unsqueeze(-2)).squeeze(-3)
    # turn[b, c] = d_b (g d)_c: twice the Christoffel symbol, lowered and applied to d, is D_d g + turn^T - turn.
    turn = value_and_derivative(
        lambda y: (metric(y) @ chords.unsqueeze(-1)).squeeze(-1), rows(middle, identity), identity
    )[1]
    stretch = frame @ along @ frame.mT
    # C^{-1} D_d C is the lower triangle of `stretch` with half its diagonal; omega is made of skew parts alone, and the
    # diagonal drops out.
    triangle = stretch.tril(-1)
    omega = 0.5 * (frame @ (turn.mT - turn) @ frame.mT + triangle - triangle.mT)
    step: Tensor = torch.linalg.solve(identity + omega / 2, identity - omega / 2)
    return step
