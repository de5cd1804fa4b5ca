"""A generative classifier: a mixture of Gaussians for each class, grown as samples come that it does not explain."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ndm_apps.plugins.continual.baselines.streaming import StreamingModel

_PART = 32  # samples at a time of those that waited


class ClassDensities(StreamingModel):
    r"""Classify by densities that grow without boundaries.

    On the first principal components z of a sample, component k of class c has the weight of its :math:`n_k` samples
    and the covariance of them, shrunk towards that within all components, W:

    .. math:: \Sigma_k = \frac{(1 - s) S_k + (s\, n_k + d) W}{n_k + d}, \qquad
        f_c(z) = \log \sum_{k \in c} n_k N(z; \mu_k, \Sigma_k)

    with :math:`S_k` the scatter matrix. A sample joins its class's likeliest component unless

    .. math:: \max_{k \in c} \log n_k N(z; \mu_k, \Sigma_k) < \gamma + \log N(z; \mu_0, \Sigma_0),

    with the mean and covariance of all samples on the right: the rule of a Dirichlet process mixture of concentration
    :math:`e^\gamma`. Then it waits in a short-term memory of its class, which becomes a component when it is full.
    The Gaussians stand in for the networks of CN-DPM.

    Parameters
    ----------
    classes
        Number of classes.
    dimension, warmup
        Number d of principal components, and first samples that fix them; nothing is learnt until then.
    memory
        Samples of a class that make a new component.
    concentration
        The logarithm :math:`\gamma`.
    shrinkage
        The weight s.

    References
    ----------
    Lee et al. 2020, "A neural Dirichlet process mixture model for task-free continual learning" (CN-DPM); Friedman
    1989, "Regularized discriminant analysis".
    """

    def __init__(
        self, classes: int, *, dimension: int, warmup: int, memory: int, concentration: float, shrinkage: float
    ) -> None:
        super().__init__()
        self.classes, self.dimension, self.warmup = classes, dimension, warmup
        self.memory, self.concentration, self.shrinkage = memory, concentration, shrinkage
        self._held: list[tuple[Tensor, Tensor]] = []
        self._coordinates: tuple[Tensor, Tensor] | None = None  # centre (features,), basis (features, d)
        self._components: Components | None = None
        self._all: Components | None = None  # one, of all samples
        self._memories: list[Tensor] = []  # (samples, d) of each class

    @torch.no_grad()
    def learn(self, x: Tensor, y: Tensor) -> None:
        """Take in a mini-batch ``(batch, ...)`` with labels ``(batch,)``."""
        if self._coordinates is None:
            self._held.append((x, y))
            if sum(len(held) for held, _ in self._held) >= self.warmup:
                self._settle()
        else:
            self._take(self._embed(x), y)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms of the weighted densities, ``(batch, classes)``; -inf for a class never seen."""
        if self._held:
            self._settle()
        logits = x.new_full((len(x), self.classes), -torch.inf)
        if self._coordinates is not None:
            known, z = self._known(), self._embed(x)
            joint = known.counts.log() + log_densities(z, known.means, self._covariances(known))
            for label in known.labels.unique().tolist():
                logits[:, label] = joint[:, known.labels == label].logsumexp(1)
        return logits

    @property
    def store(self) -> list[Tensor]:
        """The samples that wait in memories."""
        return [row for memory in self._memories for row in memory]

    @property
    def size(self) -> int:
        """Number of entries of weights, means and covariances."""
        count, dimension = self._known().means.shape
        return count * (1 + dimension + dimension * (dimension + 1) // 2)

    def _settle(self) -> None:
        """Fix the coordinates by the samples that wait, and learn these."""
        x, y = (torch.cat(column) for column in zip(*self._held, strict=True))
        self._held = []
        flat = torch.flatten(x, 1)
        centre = flat.mean(0)
        basis = torch.linalg.svd(flat - centre, full_matrices=False)[2][: self.dimension].T
        self._coordinates = centre, basis
        dimension = basis.shape[1]
        self._components, self._all = Components.none(flat, dimension), Components.none(flat, dimension)
        self._memories = [flat.new_zeros(0, dimension) for _ in range(self.classes)]
        for part, labels in zip(x.split(_PART), y.split(_PART), strict=True):
            self._take(self._embed(part), labels)

    def _embed(self, x: Tensor) -> Tensor:
        centre, basis = self._coordinates
        return (torch.flatten(x, 1) - centre) @ basis

    def _take(self, z: Tensor, y: Tensor) -> None:
        if not len(self._all):
            self._all.open(z, 0)
        else:
            self._all.join(0, z)
        unknown = torch.ones(len(z), dtype=torch.bool, device=z.device)
        if len(self._components):
            mine = self._components
            joint = mine.counts.log() + log_densities(z, mine.means, self._covariances(mine))
            best, which = joint.masked_fill(mine.labels != y[:, None], -torch.inf).max(1)
            prior = log_densities(z, self._all.means, _regular(self._all.scatters / self._all.counts))[:, 0]
            unknown = best < self.concentration + prior
            for number in which[~unknown].unique().tolist():
                mine.join(number, z[~unknown & (which == number)])
        for label in y[unknown].unique().tolist():
            self._memories[label] = torch.cat([self._memories[label], z[unknown & (y == label)]])
            if len(self._memories[label]) >= self.memory:
                self._components.open(self._memories[label], label)
                self._memories[label] = z[:0]

    def _known(self) -> Components:
        """Return the components, and what waits in memory of classes that have none yet as one each."""
        known = self._components.copy()
        for label, memory in enumerate(self._memories):
            if len(memory) and not (self._components.labels == label).any():
                known.open(memory, label)
        return known

    def _covariances(self, parts: Components) -> Tensor:
        within = _regular(parts.scatters.sum(0) / parts.counts.sum())
        counts, dimension = parts.counts[:, None, None], within.shape[0]
        total = (1 - self.shrinkage) * parts.scatters + (self.shrinkage * counts + dimension) * within
        return total / (counts + dimension)

    def get_extra_state(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "held": list(self._held),
            "coordinates": self._coordinates,
            "components": None if self._components is None else self._components.tensors(),
            "all": None if self._all is None else self._all.tensors(),
            "memories": list(self._memories),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self._held = [tuple(pair) for pair in state["held"]]
        self._coordinates = None if state["coordinates"] is None else tuple(state["coordinates"])
        self._components = None if state["components"] is None else Components(*state["components"])
        self._all = None if state["all"] is None else Components(*state["all"])
        self._memories = list(state["memories"])


class Components:
    """Labels ``(K,)``, counts ``(K,)``, means ``(K, d)`` and scatter matrices ``(K, d, d)`` of groups of samples."""

    def __init__(self, labels: Tensor, counts: Tensor, means: Tensor, scatters: Tensor) -> None:
        self.labels, self.counts, self.means, self.scatters = labels, counts, means, scatters

    @classmethod
    def none(cls, like: Tensor, dimension: int) -> Components:
        """Return no components, of a dimension, on the device and of the type of a tensor."""
        labels = torch.zeros(0, dtype=torch.long, device=like.device)
        return cls(labels, like.new_zeros(0), like.new_zeros(0, dimension), like.new_zeros(0, dimension, dimension))

    def __len__(self) -> int:
        return len(self.labels)

    def open(self, z: Tensor, label: int) -> None:
        """Add a component made of samples ``(samples, d)``."""
        mean = z.mean(0)
        grown = (torch.tensor(label), torch.tensor(len(z)), mean, (z - mean).T @ (z - mean))
        both = (torch.cat([old, new[None].to(old)]) for old, new in zip(self.tensors(), grown, strict=True))
        self.labels, self.counts, self.means, self.scatters = both

    def join(self, number: int, z: Tensor) -> None:
        """Add samples to a component: counts, means and scatter matrices of the union, exactly."""
        mean, old, new = z.mean(0), self.counts[number].item(), len(z)
        away = mean - self.means[number]
        self.scatters[number] += (z - mean).T @ (z - mean) + old * new / (old + new) * torch.outer(away, away)
        self.means[number] += new / (old + new) * away
        self.counts[number] += new

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return labels, counts, means and scatter matrices."""
        return self.labels, self.counts, self.means, self.scatters

    def copy(self) -> Components:
        """Return components that can grow without changing these."""
        return Components(*self.tensors())


def log_densities(z: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
    """Return the log-densities ``(samples, K)`` of K Gaussians at points ``(samples, d)``.

    Examples
    --------
    >>> log_densities(torch.zeros(1, 2), torch.zeros(1, 2), torch.eye(2)[None])
    tensor([[-1.8379]])
    """
    factors = torch.linalg.cholesky(covariances)
    white = torch.linalg.solve_triangular(factors, (z - means[:, None]).mT, upper=False)
    log_volume = factors.diagonal(dim1=1, dim2=2).log().sum(1)
    return -(white.square().sum(1).T / 2 + log_volume + z.shape[1] / 2 * math.log(2 * math.pi))


def _regular(covariances: Tensor) -> Tensor:
    """Add a thousandth of the mean variance (1 if there is none) to the diagonal."""
    mean = covariances.diagonal(dim1=-2, dim2=-1).mean(-1)
    ridge = 1e-3 * torch.where(mean > 0, mean, torch.ones_like(mean))
    return covariances + ridge[..., None, None] * torch.eye(covariances.shape[-1]).to(covariances)
