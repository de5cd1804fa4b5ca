r"""Which Lie algebra some structure constants belong to."""

import torch
from jaxtyping import Float
from torch import Tensor

# Eigenvalues and singular values below this part of the largest are zero.
_SMALL = 0.05


def killing_form(structure: Float[Tensor, "k k k"]) -> Float[Tensor, "k k"]:
    r"""Killing form :math:`B(a, b) = \mathrm{tr}(\mathrm{ad}_a \mathrm{ad}_b)` of :math:`[e_i, e_j] = c_{ijk} e_k`.

    Examples
    --------
    >>> import torch
    >>> rotations = torch.zeros(3, 3, 3)
    >>> for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    ...     rotations[i, j, k], rotations[j, i, k] = 1.0, -1.0
    >>> killing_form(rotations).diagonal().tolist()
    [-2.0, -2.0, -2.0]
    """
    return torch.einsum("akl,blk->ab", structure, structure)


def name_lie_algebra(structure: Float[Tensor, "k k k"]) -> str:
    r"""Name a real Lie algebra by its structure constants, which may have errors of a few percent.

    Told apart are abelian algebras, the Heisenberg algebra, motions of the Euclidean and the Minkowski plane, and sums
    of an abelian algebra with one simple or semisimple algebra of dimension 3, 6 (so(4), so(3,1)), 8 (compact: su(3)),
    10 (compact: so(5)) or 15 (compact: su(4)); others are given by dimension and the signature of their Killing form.

    Parameters
    ----------
    structure : Tensor
        Shape ``(k, k, k)``, :math:`[e_i, e_j] = c_{ijk} e_k`.

    Raises
    ------
    ValueError
        If it is not cubic, or not antisymmetric in the first two indices.

    Examples
    --------
    >>> import torch
    >>> name_lie_algebra(torch.zeros(2, 2, 2))
    'abelian, of dimension 2'
    """
    if structure.ndim != 3 or len(set(structure.shape)) != 1 or not len(structure):
        raise ValueError(f"structure must be a cube of numbers, got shape {tuple(structure.shape)}")
    size = structure.abs().max()
    if bool((structure + structure.transpose(0, 1)).abs().max() > _SMALL * size):
        raise ValueError("structure must be antisymmetric in its first two indices")
    k = len(structure)
    if size < _SMALL:
        return f"abelian, of dimension {k}" if k > 1 else "of dimension 1"
    centre = k - _rank(structure.flatten(1))
    derived = _rank(structure.flatten(0, 1))
    eigenvalues = torch.linalg.eigvalsh(killing_form(structure))
    scale = eigenvalues.abs().max()
    # A nilpotent algebra has a vanishing form: what is seen of it are errors.
    if scale < _SMALL * size**2:
        heisenberg = (k, centre, derived) == (3, 1, 1)
        return "the Heisenberg algebra" if heisenberg else f"nilpotent, of dimension {k}"
    negative, positive = (int((sign * eigenvalues < -_SMALL * scale).sum()) for sign in (1, -1))
    simple = _semisimple(negative, positive)
    if simple and negative + positive == derived == k - centre:
        return simple if not centre else f"{simple} + {'R' if centre == 1 else f'R^{centre}'}"
    if (k, derived, negative + positive) == (3, 2, 1):
        return "e(2), motions of the plane" if negative else "e(1,1), motions of the Minkowski plane"
    return f"of dimension {k}, Killing form with {negative} negative and {positive} positive directions"


def _semisimple(negative: int, positive: int) -> str:
    return {
        (3, 0): "so(3)",
        (1, 2): "so(2,1)",
        (6, 0): "so(4)",
        (3, 3): "so(3,1)",
        (8, 0): "su(3)",
        (10, 0): "so(5)",
        (15, 0): "su(4)",
    }.get((negative, positive), "")


def _rank(matrix: Tensor) -> int:
    sizes = torch.linalg.svdvals(matrix)
    return int((sizes > _SMALL * sizes[0]).sum())
