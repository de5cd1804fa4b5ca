"""Predictions of several read-outs, solved and weighted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from ndm_apps.engine import NaturalGradientReadout
from ndm_apps.plugins.continual.charts.pairs import Pairs
from ndm_apps.plugins.continual.charts.transition import Solution, Transition

Rule = Literal["combined", "hard", "shared"]

_ENOUGH = 30  # samples of a class before a domain's own mean of it is believed
_NEGLIGIBLE = 0.02  # weight of a domain for which inputs are not mapped


def complete(own: NaturalGradientReadout, shared: NaturalGradientReadout) -> bool:
    """Return whether a read-out knows all the classes that are known at all."""
    counts = nn.functional.pad(own.counts, (0, shared.classes - own.classes))
    return bool((counts[shared.counts >= _ENOUGH] >= _ENOUGH).all())


class Predictor:
    """The read-outs of domains as they are now, ready to predict.

    Parameters
    ----------
    pairs
        What tells the domains apart. For ``"lda"`` it speaks for domains without an expert, too.
    shared
        The read-out of all samples; for ``"ridge"`` it is what speaks for domains without an expert.
    experts
        Weights and biases by domain.
    transitions
        Maps of inputs, by domain, before the expert looks at them.
    immerse
        Map of inputs to features.
    temperature
        Of the domains' weights.
    """

    def __init__(
        self,
        pairs: Pairs,
        shared: NaturalGradientReadout,
        experts: Mapping[int, Solution],
        transitions: Mapping[int, Transition],
        *,
        immerse: Callable[[Tensor], Tensor] | None,
        temperature: float,
    ) -> None:
        self.pairs, self.transitions, self.immerse, self.temperature = pairs, transitions, immerse, temperature
        self.solver, self.classes = shared.solver, shared.classes
        self.shared = shared.solution()
        padded = {id(expert): self._padded(*expert) for expert in experts.values()}
        self.experts = {domain: padded[id(expert)] for domain, expert in experts.items()}

    def _padded(self, weight: Tensor, bias: Tensor) -> Solution:
        missing = self.classes - len(bias)
        return nn.functional.pad(weight, (0, 0, 0, missing)), nn.functional.pad(bias, (0, missing), value=-torch.inf)

    @property
    def parameters(self) -> int:
        """Number of weights, biases and places of coordinates."""
        pairs = len(self.pairs.names) * (self.pairs.readout.features + 1)
        experts = {id(expert): sum(part.numel() for part in expert) for expert in self.experts.values()}
        return pairs + sum(experts.values()) + sum(len(part.permutation) for part in self.transitions.values())

    def __call__(self, phi: Tensor, x: Tensor | None, rule: Rule) -> Tensor:
        """Return logits or log-probabilities ``(batch, classes)`` for features and inputs ``(batch, ...)``."""
        if rule == "shared":
            return _linear(phi, self.shared)
        fallback = self.pairs.classes(phi) if self.solver == "lda" else _linear(phi, self.shared)
        if not any(domain > 0 for domain in self.experts):
            return fallback
        evidence = self.pairs.domains(phi)
        if rule == "hard":
            return self._hard(phi, evidence.argmax(1))
        weights = torch.softmax(evidence / self.temperature, 1)
        for domain in self.transitions:
            weights[:, domain] *= weights[:, domain] >= _NEGLIGIBLE
        weights = weights / weights.sum(1, keepdim=True)
        experts = [domain for domain in self.experts if domain < weights.shape[1]]
        logits = torch.stack([fallback, *(self._logits(domain, phi, x, weights[:, domain]) for domain in experts)], 1)
        said = weights[:, experts]
        log_weights = torch.cat([(1 - said.sum(1, keepdim=True)).clamp_min(0), said], 1).log()
        return mixture(logits, log_weights, solver=self.solver)

    def _hard(self, phi: Tensor, home: Tensor) -> Tensor:
        """Return the logits of the read-out of one domain for each sample, without maps of inputs."""
        logits = _linear(phi, self.shared)
        by_pair = self.pairs.readout(phi)
        for domain in home.unique().tolist():
            here = home == domain
            if domain in self.experts and domain not in self.transitions:
                logits[here] = _linear(phi[here], self.experts[domain]).to(logits)
                continue
            logits[here] = -torch.inf
            for number, (owner, label) in enumerate(self.pairs.names):
                if owner == domain:
                    logits[here, label] = by_pair[here, number]
        return logits

    def _logits(self, domain: int, phi: Tensor, x: Tensor | None, weights: Tensor) -> Tensor:
        if domain not in self.transitions or x is None or self.immerse is None:
            return _linear(phi, self.experts[domain])
        logits = _linear(phi[:0], self.experts[domain]).new_zeros(len(phi), self.classes)
        needed = weights > 0
        if needed.any():
            logits[needed] = _linear(self.immerse(self.transitions[domain](x[needed])), self.experts[domain]).to(logits)
        return logits


def _linear(phi: Tensor, solution: Solution) -> Tensor:
    weight, bias = solution
    return nn.functional.linear(phi, weight.to(phi), bias.to(phi))


def mixture(logits: Tensor, log_weights: Tensor, *, solver: str) -> Tensor:
    r"""Combine experts: :math:`\log \sum_s w_s\, p_s(y)` for ``"lda"``, :math:`\sum_s w_s f_s` for ``"ridge"``.

    Parameters
    ----------
    logits
        Of each expert, ``(batch, experts, classes)``; minus infinity for classes never seen.
    log_weights
        ``(batch, experts)``, normalised.

    Examples
    --------
    >>> logits = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    >>> mixture(logits, torch.tensor([[0.9, 0.1]]).log(), solver="lda").exp().sum().item()
    1.0
    """
    if solver == "lda":
        return torch.logsumexp(torch.log_softmax(logits, -1) + log_weights[..., None], 1)
    weighted = logits * log_weights.exp()[..., None]
    return torch.where(logits.isneginf(), logits, weighted).sum(1)
