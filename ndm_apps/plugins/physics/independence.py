"""Functional independence: by the rank of gradients, so that E and E**2 count as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Gradients shorter than this part of the median are left out: near critical points they have no direction.
_SHORT = 0.1


def outside(gradients: Array, known: Array) -> Array:
    """Return the parts of gradients that are orthogonal to the span of known ones, point by point.

    Parameters
    ----------
    gradients
        Shape ``(points, columns, functions)``.
    known
        Shape ``(points, columns, known functions)``.
    """
    if known.shape[-1] == 0:
        return gradients
    lengths = np.linalg.norm(known, axis=1, keepdims=True)
    basis, sizes, _ = np.linalg.svd(known / np.maximum(lengths, np.finfo(float).tiny), full_matrices=False)
    basis = basis * (sizes > 1e-8 * sizes[:, :1])[:, None, :]
    return gradients - basis @ (basis.transpose(0, 2, 1) @ gradients)


def novelty(gradient: Array, known: Array, *, typical: bool = False) -> float:
    """Return the root-mean-square part of unit gradients outside the span of known ones: 0 dependent, 1 orthogonal.

    Parameters
    ----------
    gradient
        Shape ``(points, columns)``.
    known
        Shape ``(points, columns, known functions)``.
    typical
        Take the median instead of the mean: near a zero of its gradient, a copy of known functions consists of errors.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> energy, power = 2 * x, 4 * (x**2).sum(-1, keepdims=True) * x
    >>> round(novelty(power, energy[..., None]), 6)
    0.0
    """
    lengths = np.where(np.isfinite(gradient).all(axis=1), np.linalg.norm(gradient, axis=1), 0.0)
    long = lengths > _SHORT * np.median(lengths)
    if not long.any():
        return 0.0
    parts = (np.linalg.norm(outside(gradient[..., None], known)[..., 0], axis=1)[long] / lengths[long]) ** 2
    return float(np.sqrt(np.median(parts) if typical else np.mean(parts)))


def new_directions(gradients: Array, known: Array, threshold: float) -> Array:
    """Return the combinations of functions whose gradients leave the span of the known ones most.

    Parameters
    ----------
    gradients
        Shape ``(points, columns, functions)``.
    known
        Shape ``(points, columns, known functions)``.
    threshold
        Least root-mean-square part outside the span.

    Returns
    -------
    Array
        Shape ``(functions, found)``, most independent first; no columns if all depend on what is known.
    """
    functions = gradients.shape[-1]
    scale = np.sqrt((gradients**2).sum(axis=1).mean(axis=0))
    scaled = gradients / np.maximum(scale, np.finfo(float).tiny)
    whole = np.linalg.qr(scaled.reshape(-1, functions), mode="r")
    _, sizes, right = np.linalg.svd(whole)
    kept = sizes > 1e-10 * sizes[0]
    basis = right[kept].T / sizes[kept]
    rest = outside(scaled, known).reshape(-1, functions) @ basis
    _, parts, vectors = np.linalg.svd(rest, full_matrices=False)
    return ((basis @ vectors.T) / scale[:, None])[:, parts > threshold]
