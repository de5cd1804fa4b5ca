"""Evidence against uniform p-values, gathered over time: power martingales that start anew."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Their wealths stay separate and are averaged: averaging the bets instead loses evidence that is weak but steady.
POWERS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)


class PowerMartingales(nn.Module):
    r"""Martingales that bet on small p-values, one for each power and each sequence of p-values.

    .. math:: M_j \leftarrow \max(M_j, 1)\, \kappa_j\, p^{\kappa_j - 1}

    If the p-values are independent and no smaller than uniform, given the past, each bet multiplies the wealth by at
    most 1 on average. Each :math:`M_j` is then no larger than the e-detector :math:`R_j \leftarrow (R_j + 1) \kappa_j
    p^{\kappa_j - 1}`, so that their mean takes at least A samples, on average, to reach A.

    Parameters
    ----------
    sequences
        How many sequences of p-values are bet on.

    References
    ----------
    Vovk, Nouretdinov and Gammerman, "Testing exchangeability on-line", 2003 (power martingales); Shin, Ramdas and
    Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2023, arXiv:2203.03532.

    Examples
    --------
    >>> martingales = PowerMartingales(1)
    >>> path = martingales.bet(torch.full((3, 1), 0.01, dtype=torch.float64))
    >>> [round(wealth) for wealth in martingales.wealth(path).tolist()]
    [5, 29, 185]
    """

    def __init__(self, sequences: int) -> None:
        super().__init__()
        self.log_wealth: Tensor
        self.powers: Tensor
        self.register_buffer("log_wealth", torch.zeros(sequences, len(POWERS), dtype=torch.float64))
        self.register_buffer("powers", torch.tensor(POWERS, dtype=torch.float64), persistent=False)

    def bet(self, p: Tensor) -> Tensor:
        """Return log-wealths ``(batch, sequences, powers)`` after each of the p-values ``(batch, sequences)``.

        Nothing is kept: assign a row to :attr:`log_wealth` to go on from there.
        """
        gains = (self.powers.log() + (self.powers - 1) * p.log()[..., None]).cumsum(0)
        start = -self.log_wealth.clamp(min=0)[None]
        lowest = torch.cat([start, gains[:-1]]).cummin(0).values
        return gains - lowest

    @staticmethod
    def wealth(log_wealth: Tensor) -> Tensor:
        """Return the mean wealth of log-wealths ``(..., sequences, powers)``."""
        flat = log_wealth.flatten(-2)
        return (flat.logsumexp(-1) - math.log(flat.shape[-1])).exp()

    def restart(self) -> None:
        """Set all wealths to 1."""
        self.log_wealth = torch.zeros_like(self.log_wealth)
