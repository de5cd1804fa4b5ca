"""Transition maps between domains: rearrangements of the inputs, found from statistics."""

from __future__ import annotations

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ndm_apps.engine import NaturalGradientReadout

_GATHERED = 1000  # samples whose statistics are matched
_JUDGED = 500  # samples, after these, on which the map is judged
_MARGIN = 0.5  # a map must make at most this share of the errors of the domain's own read-out
_ROUNDS = 10  # of matching: it settles after about three

Solution = tuple[Tensor, Tensor]


def match(home: NaturalGradientReadout, new: NaturalGradientReadout) -> Tensor:
    r"""Find the coordinates of new inputs that play the part of home's: a permutation :math:`\pi`, ``(d,)``.

    With class means m and the covariance within classes S of the inputs at home, and m', S' of new ones, the first
    assignment minimises :math:`\sum_i \sum_c (m_{ci} - m'_{c \pi(i)})^2` over permutations. Given it, every coordinate
    has its covariances with all the others as a signature too, and assignments with the cost

    .. math:: \sum_c (m_{ci} - m'_{cj})^2 / \alpha + \sum_k (S_{ik} - S'_{j \pi(k)})^2 / \beta,

    where :math:`\alpha` and :math:`\beta` are the means of both parts over all i and j, are repeated until the
    permutation stays. It is exact for inputs that have been permuted, up to coordinates that are alike, and the nearest
    rearrangement of pixels for images that have been turned, flipped or shifted. No sample is compared with another.

    Parameters
    ----------
    home, new
        Means, counts and scatter of inputs in d coordinates.

    Raises
    ------
    ValueError
        If they have no class in common.

    References
    ----------
    Crouse, "On implementing 2D rectangular assignment algorithms", IEEE Trans. Aerospace and Electronic Systems 52,
    2016 (the assignment); Vogelstein et al., "Fast approximate quadratic programming for graph matching", 2015 (of
    covariances, matching is a quadratic assignment; this is a fixed point of it).

    Examples
    --------
    >>> x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 1.0, 3.0])
    >>> home, new = NaturalGradientReadout(3), NaturalGradientReadout(3)
    >>> home.update(x[:200], torch.zeros(200, dtype=torch.long))
    >>> new.update(x[200:, [2, 0, 1]], torch.zeros(200, dtype=torch.long))
    >>> match(home, new).tolist()
    [1, 2, 0]
    """
    classes = min(home.classes, new.classes)
    common = (home.counts[:classes] > 0) & (new.counts[:classes] > 0)
    if not common.any():
        raise ValueError("home and new must have a class in common")
    ours, theirs = (part.means[:classes][common].double().mT for part in (home, new))
    covariance, other = (part.scatter.dense().double() / part.counts.sum() for part in (home, new))
    first = torch.cdist(ours, theirs).square().cpu()
    first = first / first.mean().clamp_min(torch.finfo(torch.float64).tiny)
    permutation = torch.from_numpy(linear_sum_assignment(first.numpy())[1]).to(ours.device)
    for _ in range(_ROUNDS):
        second = torch.cdist(covariance, other[:, permutation]).square().cpu()
        cost = first + second / second.mean().clamp_min(torch.finfo(torch.float64).tiny)
        before, permutation = permutation, torch.from_numpy(linear_sum_assignment(cost.numpy())[1]).to(ours.device)
        if torch.equal(before, permutation):
            break
    return permutation


class Transition(nn.Module):
    r"""The search for a map T of a domain's inputs to those of the home domain, and the map if it holds.

    The statistics of the domain's first 1000 inputs are matched with home's (:func:`match`). On the next 500 samples
    the home read-out on :math:`\varphi(T x)` competes with the domain's own read-out on :math:`\varphi(x)`, both as
    they were then; T is accepted if it makes at most half the errors, else given up for good. No sample is kept.

    Parameters
    ----------
    inputs
        d, coordinates of an input.

    Attributes
    ----------
    state
        ``"gathering"``, ``"judging"``, ``"accepted"`` or ``"refused"``.
    permutation
        Of the flattened inputs, ``(d,)``.
    """

    def __init__(self, inputs: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.inputs = inputs
        self.state = "gathering"
        self.statistics: NaturalGradientReadout | None = NaturalGradientReadout(inputs, dtype=dtype)
        self.permutation: Tensor
        self.register_buffer("permutation", torch.arange(inputs))
        self.register_buffer("errors", torch.zeros(2, dtype=torch.long))  # of home on mapped inputs, and of its own
        self.judged = 0
        self.rivals: tuple[Solution, Solution] | None = None

    @property
    def gathered(self) -> bool:
        """Whether there are enough samples to match."""
        return self.statistics is not None and float(self.statistics.counts.sum()) >= _GATHERED

    def gather(self, x: Tensor, labels: Tensor) -> None:
        """Add inputs ``(batch, ...)`` to the statistics."""
        if self.statistics is not None:
            self.statistics.update(x.flatten(1), labels)

    def begin(self, home: NaturalGradientReadout, rivals: tuple[Solution, Solution]) -> None:
        """Match with the statistics of home's inputs, and let the ``rivals`` compete: home's read-out and the own."""
        if (
            self.statistics is None
            or not ((self.statistics.counts > 0)[: home.classes] & (home.counts > 0)[: self.statistics.classes]).any()
        ):
            self.state = "refused"
        else:
            self.permutation = match(home, self.statistics)
            self.state, self.rivals = "judging", rivals
        self.statistics = None

    def judge(self, mapped: Tensor, phi: Tensor, labels: Tensor) -> None:
        """Compare home's read-out on features of mapped inputs with the own one on features of the inputs."""
        if self.rivals is None:
            return
        for number, (features, (weight, bias)) in enumerate(zip((mapped, phi), self.rivals, strict=True)):
            guess = nn.functional.linear(features, weight.to(phi), bias.to(phi)).argmax(1)
            self.errors[number] += (guess != labels).sum()
        self.judged += len(labels)
        if self.judged >= _JUDGED:
            self.state = "accepted" if self.errors[0] <= _MARGIN * self.errors[1] else "refused"
            self.rivals = None

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs ``(batch, ...)`` to home."""
        return x.flatten(1)[:, self.permutation].reshape(x.shape)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no buffer, for ``state_dict``."""
        return {"state": self.state, "judged": self.judged, "rivals": self.rivals}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.state, self.judged, self.rivals = state["state"], state["judged"], state["rivals"]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The statistics are gone once they have been matched.
        if f"{prefix}statistics.counts" not in state_dict:
            self.statistics = None
        elif self.statistics is None:
            self.statistics = NaturalGradientReadout(self.inputs, dtype=state_dict[f"{prefix}statistics.means"].dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)
