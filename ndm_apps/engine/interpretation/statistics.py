"""Rank correlations, permutation tests and bootstrap intervals of a few numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Estimate", "difference_test", "mean_estimate", "ranks", "spearman", "spearman_test"]

_PERMUTATIONS = 10_000
_RESAMPLES = 2000


class Estimate(NamedTuple):
    """A number with its 95 % interval, its p-value (nan if nothing was tested) and how many samples it rests on."""

    value: float
    low: float
    high: float
    p: float
    n: int

    def flat(self, name: str) -> dict[str, float | int]:
        """Return ``{name, name_low, name_high, name_p (if tested), name_n}``."""
        found: dict[str, float | int] = {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}
        if not math.isnan(self.p):
            found[f"{name}_p"] = self.p
        return {**found, f"{name}_n": self.n}


def ranks(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return ranks from 0; equal values share the mean of theirs.

    Examples
    --------
    >>> ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist()
    [2.5, 0.0, 2.5, 1.0]
    """
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    shared: Tensor = (count.cumsum(0) - count + (count - 1).double() / 2)[place]
    return shared


def spearman(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> float:
    """Return the rank correlation of two samples; 0 if one of them is constant.

    Examples
    --------
    >>> spearman(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 8.0, 27.0, 0.0]))
    -0.2
    """
    return round(float(_unit(ranks(a)) @ _unit(ranks(b))), 12)


def spearman_test(a: Float[Tensor, " n"], b: Float[Tensor, " n"], generator: torch.Generator) -> Estimate:
    r"""Test whether two samples are related, by their rank correlation :math:`\rho`.

    The p-value is two-sided, from random permutations; the interval is that of :math:`\operatorname{artanh} \rho` with
    standard error :math:`\sqrt{(1 + \rho^2 / 2) / (n - 3)}`.

    References
    ----------
    Bonett and Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations", 2000.
    """
    first, second = _unit(ranks(a)).cpu(), _unit(ranks(b)).cpu()
    n, rho = len(first), spearman(a, b)
    shuffles = torch.rand(_PERMUTATIONS, n, generator=generator, dtype=torch.float64).argsort(1)
    as_far = (second[shuffles] @ first).abs() >= abs(rho) - 1e-9
    p = (1 + int(as_far.sum())) / (1 + _PERMUTATIONS)
    if n < 4 or abs(rho) == 1:
        return Estimate(rho, rho if n > 3 else -1.0, rho if n > 3 else 1.0, p, n)
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(rho) + sign * half) for sign in (-1, 1))
    return Estimate(rho, low, high, p, n)


def mean_estimate(values: Float[Tensor, " n"], generator: torch.Generator) -> Estimate:
    """Return the mean with its percentile bootstrap interval; nan for no values.

    Examples
    --------
    >>> found = mean_estimate(torch.arange(100.0), torch.Generator().manual_seed(0))
    >>> found.value, found.low < 45, found.high > 54
    (49.5, True, True)
    """
    values = values.double().cpu()
    n = len(values)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, math.nan, 0)
    drawn = values[torch.randint(n, (_RESAMPLES, n), generator=generator)].mean(1)
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(float(values.mean()), low, high, math.nan, n)


def difference_test(values: Float[Tensor, " n"], generator: torch.Generator) -> Estimate:
    """Test whether the mean of paired differences is 0, by flipping their signs at random; two-sided.

    Examples
    --------
    >>> found = difference_test(torch.full((20,), 0.5), torch.Generator().manual_seed(0))
    >>> found.value, found.p < 0.01
    (0.5, True)
    """
    found = mean_estimate(values, generator)
    values = values.double().cpu()
    signs = torch.randint(2, (_PERMUTATIONS, len(values)), generator=generator).double() * 2 - 1
    as_far = (signs @ values).abs() >= (values.sum().abs() * (1 - 1e-9))
    return found._replace(p=(1 + int(as_far.sum())) / (1 + _PERMUTATIONS))


def _unit(rank: Tensor) -> Tensor:
    centred = rank - rank.mean()
    size = centred.norm()
    return centred / size if size > 0 else centred
