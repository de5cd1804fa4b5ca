"""Statistics of domains: put together, shrunk towards each other, and as (domain, class) pairs about one scatter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ndm_apps.engine import NaturalGradientReadout


def blank(readout: NaturalGradientReadout) -> NaturalGradientReadout:
    """Return an empty read-out with the same settings."""
    return NaturalGradientReadout(
        readout.features,
        solver=readout.solver,
        shrinkage=readout.shrinkage,
        prior=readout.prior,
        rank=readout.rank,
        dtype=readout.means.dtype,
    ).to(readout.means.device)


def total(readouts: Iterable[NaturalGradientReadout]) -> NaturalGradientReadout:
    """Return the read-out of all samples, whichever read-out has seen them."""
    first, *rest = readouts
    whole = blank(first)
    for readout in (first, *rest):
        whole.merge(readout)
    return whole


def shrunk(readout: NaturalGradientReadout, pooled: NaturalGradientReadout, strength: float) -> NaturalGradientReadout:
    r"""Return a read-out with the means of one and its scatter shrunk towards a pooled one.

    .. math:: \frac{S}{n} \leftarrow \frac{1}{n + k} \Bigl(S + k\, \frac{S_{\text{pooled}}}{N}\Bigr)

    with n and N samples: the pooled scatter counts as much as k, the ``strength``, samples.

    References
    ----------
    Friedman, "Regularized discriminant analysis", J. American Statistical Association 84, 1989.
    """
    count, everything = float(readout.counts.sum()), float(pooled.counts.sum())
    own = count / (count + strength)
    blend = blank(readout)
    for part, weight in ((readout, own), (pooled, own * strength / everything)):
        scaled = blank(readout).scatter
        scaled.merge(part.scatter)  # type: ignore[arg-type]
        # Sums are vectors, what is kept as rows enters by its square.
        for buffer in scaled.buffers():
            buffer.mul_(weight if buffer.ndim < 2 else math.sqrt(weight))
        blend.scatter.merge(scaled)  # type: ignore[arg-type]
        blend.trace += weight * part.trace
    blend.means, blend.counts = readout.means, readout.counts
    return blend


class Pairs(nn.Module):
    r"""Linear discriminant of (domain, class) pairs: every pair has its own mean, all share the scatter about them.

    That is mixture discriminant analysis; the evidence for a domain is the sum of its classes' exponentials.

    Parameters
    ----------
    like
        A read-out with the features, shrinkage and precision wanted.

    Attributes
    ----------
    names
        The pairs, in the order of their logits.

    References
    ----------
    Hastie and Tibshirani, "Discriminant analysis by Gaussian mixtures", J. Royal Statistical Society B 58, 1996.

    Examples
    --------
    >>> pairs = Pairs(NaturalGradientReadout(1))
    >>> pairs.update(0, torch.tensor([[0.0], [0.1], [1.0], [1.1]]), torch.tensor([0, 0, 1, 1]))
    >>> pairs.update(2, torch.tensor([[5.0], [5.1]]), torch.tensor([0, 0]))
    >>> pairs.names, pairs.domains(torch.tensor([[0.6], [4.0]])).argmax(1).tolist()
    ([(0, 0), (0, 1), (2, 0)], [0, 2])
    """

    def __init__(self, like: NaturalGradientReadout) -> None:
        super().__init__()
        self.readout = blank(like)
        self.readout.solver, self.readout.prior = "lda", "uniform"
        self.names: list[tuple[int, int]] = []

    def update(self, domain: int, phi: Tensor, labels: Tensor) -> None:
        """Learn features ``(batch, D)`` of a domain, with labels ``(batch,)``."""
        present, which = labels.unique(return_inverse=True)
        self.readout.update(phi, self._numbers(domain, present.tolist()).to(which.device)[which])

    def add(self, domain: int, readout: NaturalGradientReadout) -> None:
        """Take over all that a read-out knows, as of one domain."""
        present = readout.counts.nonzero()[:, 0]
        numbers = self._numbers(domain, present.tolist()).to(present.device)
        renamed = _view(readout, readout.means.new_zeros(len(self.names), self.readout.features))
        renamed.counts = readout.counts.new_zeros(len(self.names))
        renamed.means[numbers], renamed.counts[numbers] = readout.means[present], readout.counts[present]
        self.readout.merge(renamed)

    def parts(self, like: NaturalGradientReadout) -> dict[int, NaturalGradientReadout]:
        """Return what is known of each domain; the scatter, which cannot be told apart, comes with the first."""
        parts: dict[int, NaturalGradientReadout] = {}
        classes = 1 + max((label for _, label in self.names), default=-1)
        empty = blank(like)
        for domain in dict.fromkeys(domain for domain, _ in self.names):
            of_domain = [(number, label) for number, (owner, label) in enumerate(self.names) if owner == domain]
            numbers, labels = torch.tensor(of_domain, device=self.readout.means.device).T
            part = _view(self.readout if not parts else empty, self.readout.means.new_zeros(classes, empty.features))
            part.solver, part.prior = like.solver, like.prior
            part.counts = self.readout.counts.new_zeros(classes)
            part.means[labels], part.counts[labels] = self.readout.means[numbers], self.readout.counts[numbers]
            parts[domain] = part
        return parts

    def domains(self, phi: Tensor) -> Tensor:
        """Return the log-evidence of each domain up to a constant, ``(batch, 1 + largest domain)``."""
        return self._gathered(phi, [domain for domain, _ in self.names])

    def classes(self, phi: Tensor) -> Tensor:
        """Return the log-evidence of each class up to a constant, ``(batch, 1 + largest class)``."""
        return self._gathered(phi, [label for _, label in self.names])

    def _gathered(self, phi: Tensor, groups: list[int]) -> Tensor:
        logits = self.readout(phi)
        evidence = logits.new_full((len(phi), 1 + max(groups)), -torch.inf)
        group = torch.tensor(groups, device=phi.device)
        for number in set(groups):
            evidence[:, number] = torch.logsumexp(logits[:, group == number], 1)
        return evidence

    def _numbers(self, domain: int, labels: list[int]) -> Tensor:
        known = {pair: number for number, pair in enumerate(self.names)}
        for label in labels:
            if (domain, label) not in known:
                known[domain, label] = len(self.names)
                self.names.append((domain, label))
        return torch.tensor([known[domain, label] for label in labels], dtype=torch.long)

    def get_extra_state(self) -> list[tuple[int, int]]:
        """Return the pairs' names, for ``state_dict``."""
        return list(self.names)

    def set_extra_state(self, state: list[tuple[int, int]]) -> None:
        """Restore the pairs' names."""
        self.names = [(domain, label) for domain, label in state]


def _view(readout: NaturalGradientReadout, means: Tensor) -> NaturalGradientReadout:
    """Return a read-out with the scatter of another, not copied, and other means."""
    view = NaturalGradientReadout(1, solver=readout.solver, shrinkage=readout.shrinkage, rank=readout.rank)
    view.features, view.prior = readout.features, readout.prior
    view.scatter, view.trace, view.means = readout.scatter, readout.trace, means
    return view


def joined(parts: Mapping[int, NaturalGradientReadout], moved: Pairs | None) -> Pairs:
    """Return the pairs of all domains."""
    whole = Pairs(next(iter(parts.values())))
    for domain, part in parts.items():
        whole.add(domain, part)
    if moved is not None:
        for domain, part in moved.parts(next(iter(parts.values()))).items():
            whole.add(domain, part)
    return whole
