"""Conformal p-values of scores among past ones."""

from __future__ import annotations

from torch import Tensor


def p_values(scores: Tensor, past: Tensor, count: Tensor, ties: Tensor) -> Tensor:
    r"""Return conformal p-values, corrected for the luck of the past scores.

    .. math:: p = \frac{\#\{\text{past} \ge \text{score}\} + U}{m + 1}, \qquad p + \sqrt{p (1 - p) / m}

    p is uniform if the score is exchangeable with the m past ones. That is on average over past scores; the standard
    error added makes it hold given most sets of them (about four in five), which a long run against one set needs.

    Parameters
    ----------
    scores
        ``(batch, ...)``.
    past
        Past scores, ``(..., most)``, unused places :math:`-\infty`.
    count
        How many past scores there are, at least 1, broadcast to ``(...)``.
    ties
        Uniform on [0, 1], ``(batch, ...)``: breaks ties.

    Returns
    -------
    Tensor
        ``(batch, ...)``, in (0, 1].

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 2.

    Examples
    --------
    >>> import torch
    >>> past = torch.arange(1.0, 5.0)[None]
    >>> p = p_values(torch.tensor([[3.5]]), past, torch.tensor([4]), torch.tensor([[0.5]]))
    >>> round(p.item(), 4)  # (1 + 0.5) / 5 and its standard error
    0.5291
    """
    p = ((past >= scores[..., None]).sum(-1) + ties) / (count + 1)
    return (p + (p * (1 - p) / count).sqrt()).clamp(1e-12, 1.0)
