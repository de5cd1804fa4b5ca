"""A read-out for each domain that a stream's charts tell apart, and their combination."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndm_apps.engine import NaturalGradientReadout
from ndm_apps.plugins.continual.charts.domains import Domains
from ndm_apps.plugins.continual.charts.pairs import Pairs, blank, joined, shrunk, total
from ndm_apps.plugins.continual.charts.prediction import Predictor, Rule, complete
from ndm_apps.plugins.continual.charts.transition import Transition

_HOME = 0
_LARGEST = 4096  # inputs with more coordinates are not matched: the assignment takes their cube of time


class ChartReadouts(nn.Module):
    r"""Classify in a stream whose charts may show new inputs under known labels.

    Charts are put together into domains (:class:`~ndm_apps.plugins.continual.charts.domains.Domains`). Each domain has
    accumulated statistics of its own; as they are sums, the shared read-out is there for nothing. With the mixture
    discriminant of all (domain, class) pairs, :math:`\delta_{sc}(\varphi)`, the domains' weights and the class
    probabilities are

    .. math:: w_s(\varphi) \propto \Bigl(\sum_c e^{\delta_{sc}(\varphi)}\Bigr)^{1/T}, \qquad
              p(c \mid x) = \sum_s w_s(\varphi(x))\, p_s(c \mid x) .

    A domain for which a transition map to the first one holds
    (:class:`~ndm_apps.plugins.continual.charts.transition.Transition`) shares its read-out,
    :math:`p_s(c \mid x) = p_0(c \mid \varphi(T_s x))`, and memory grows no further. Any other has a read-out of its
    own, its scatter shrunk towards the shared one, which counts as much as D / 4 samples. A domain that lacks a class
    others know is no expert: its weight goes to the mixture discriminant, :math:`\sum_s e^{\delta_{sc}}`, or to the
    shared read-out for ``"ridge"``. With one domain, as in class-incremental streams, all of this is exactly the
    shared read-out.

    Parameters
    ----------
    features
        D.
    immerse
        Map of inputs ``(batch, ...)`` to features ``(batch, D)``: transition maps are sought if it is given, and
        :meth:`update` and :meth:`forward` want the inputs then.
    solver, shrinkage, dtype
        As of :class:`~ndm_apps.engine.NaturalGradientReadout`.
    temperature
        T, greater than 0.
    limit
        Most domains. What comes later goes to the first.

    Attributes
    ----------
    own
        Read-outs of the domains that have one, by their number.
    transitions
        Transition maps to the first domain, sought and found, by the number of the domain.

    References
    ----------
    Hastie and Tibshirani, "Discriminant analysis by Gaussian mixtures", J. Royal Statistical Society B 58, 1996.

    Examples
    --------
    >>> x = torch.tensor([[0.0, 0.0], [0.0, 0.2], [1.0, 0.0], [1.0, 0.2]]).repeat(20, 1)
    >>> y = torch.tensor([0, 0, 1, 1]).repeat(20)
    >>> readouts = ChartReadouts(2)
    >>> readouts.update(x, y, torch.zeros(80, dtype=torch.long))
    >>> readouts.update(x + 5, 1 - y, torch.ones(80, dtype=torch.long))  # the same labels, the other way round
    >>> readouts(torch.tensor([[0.1, 0.1], [5.1, 5.1]])).argmax(1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        features: int,
        *,
        immerse: Callable[[Tensor], Tensor] | None = None,
        solver: Literal["lda", "ridge"] = "lda",
        shrinkage: float = 1e-3,
        temperature: float = 8.0,
        limit: int = 16,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be finite and greater than 0, got {temperature}")
        self.features, self.temperature = features, temperature
        self._immerse: Callable[[Tensor], Tensor] | None
        object.__setattr__(self, "_immerse", immerse)  # no submodule: it is saved elsewhere
        self.domains = Domains(limit)
        home = NaturalGradientReadout(features, solver=solver, shrinkage=shrinkage, dtype=dtype)
        self.own = nn.ModuleDict({str(_HOME): home})
        self.transitions = nn.ModuleDict()
        self.inputs: NaturalGradientReadout | None = None  # of the home domain
        self.moved: Pairs | None = None  # inputs of domains with a map, as they came: they tell the domains apart
        self.mapped: NaturalGradientReadout | None = None  # the same, mapped
        self._predictor: Predictor | None = None

    @property
    def home(self) -> NaturalGradientReadout:
        """The read-out of the first domain."""
        return self.own[str(_HOME)]  # type: ignore[return-value]

    @property
    def shared(self) -> NaturalGradientReadout:
        """The read-out of all samples as they came."""
        moved = [] if self.moved is None else list(self.moved.parts(self.home).values())
        return self.home if self.single else total([*self.own.values(), *moved])

    @property
    def single(self) -> bool:
        """Whether there is one domain, so that the classifier is linear."""
        return len(self.own) == 1 and self.moved is None

    @property
    def parameters(self) -> int:
        """Number of learnt numbers that a prediction uses."""
        return self.home.means.numel() + self.home.classes if self.single else self._solved().parameters

    @property
    def accepted(self) -> dict[int, Transition]:
        """The transition maps that hold, by domain."""
        return {int(key): part for key, part in self.transitions.items() if part.state == "accepted"}

    @torch.no_grad()
    def update(self, phi: Tensor, labels: Tensor, charts: Tensor, x: Tensor | None = None) -> None:
        """Learn samples of the given charts.

        Parameters
        ----------
        phi, labels, charts
            Features ``(batch, D)``, integer labels and integer charts ``(batch,)``.
        x
            The inputs, ``(batch, ...)``, if transition maps are sought.

        Raises
        ------
        ValueError
            As :meth:`~ndm_apps.engine.NaturalGradientReadout.check`, or if charts or inputs do not fit the features.
            Nothing is learnt then.
        """
        self._check(phi, labels, charts, x)
        if not len(phi):
            return
        domains = self.domains.place(charts.cpu(), labels.cpu()).to(phi.device)
        for domain in domains.unique().tolist():
            here = domains == domain
            self._learn(domain, phi[here], labels[here], None if x is None or self._immerse is None else x[here])
        self._predictor = None

    @torch.no_grad()
    def merge(self, chart: int, into: int) -> None:
        """Let one chart take over what another has learnt; two domains become one if they had no other charts."""
        merged = self.domains.merge(chart, into)
        if merged is None:
            return
        gone, kept = merged
        if self.moved is not None:
            # What has been learnt of pairs of one class merges into one pair.
            moved = Pairs(self.home)
            for domain, part in self.moved.parts(self.home).items():
                moved.add(kept if domain == gone else domain, part)
            self.moved = moved
        if str(gone) in self.own:
            part = self.own.pop(str(gone))
            if str(kept) in self.own:
                self.own[str(kept)].merge(part)
            elif self.moved is not None:
                self.moved.add(kept, part)
        if str(gone) in self.transitions:
            self.transitions.pop(str(gone))
        self._predictor = None

    @torch.no_grad()
    def forward(self, phi: Tensor, x: Tensor | None = None, rule: Rule = "combined") -> Tensor:
        """Return logits, or log-probabilities of a mixture, ``(batch, classes)``.

        Parameters
        ----------
        phi
            Features ``(batch, D)``.
        x
            The inputs, ``(batch, ...)``: wanted once a transition map holds.
        rule
            ``"combined"``; or, to compare with, ``"hard"``, the domain of largest weight alone, or ``"shared"``.

        Raises
        ------
        ValueError
            If nothing has been learnt yet, or the inputs are missing.
        """
        if self.single:
            return self.home(phi)
        if x is None and self.accepted:
            raise ValueError("x must be given: some domains have transition maps")
        return self._solved()(phi, x, rule)

    def _learn(self, domain: int, phi: Tensor, labels: Tensor, x: Tensor | None) -> None:
        if domain == _HOME:
            self.home.update(phi, labels)
            if x is not None and x[0].numel() <= _LARGEST:
                if self.inputs is None:
                    self.inputs = NaturalGradientReadout(x[0].numel(), dtype=self.home.means.dtype).to(x.device)
                self.inputs.update(x.flatten(1), labels)
            return
        transition = self._transition(domain, x)
        if transition is not None and transition.state == "accepted":
            assert self.moved is not None and self.mapped is not None and self._immerse is not None and x is not None
            self.moved.update(domain, phi, labels)
            self.mapped.update(self._immerse(transition(x)), labels)
            return
        if str(domain) not in self.own:
            self.own[str(domain)] = blank(self.home)
        own: NaturalGradientReadout = self.own[str(domain)]  # type: ignore[assignment]
        own.update(phi, labels)
        if transition is None or x is None or self.inputs is None or self._immerse is None:
            return
        if transition.state == "gathering":
            transition.gather(x, labels)
            if transition.gathered:
                rival = shrunk(own, self.shared, self.features / 4)
                transition.begin(self.inputs, (self._mapped_readout().solution(), rival.solution()))
        elif transition.state == "judging":
            transition.judge(self._immerse(transition(x)), phi, labels)
            if transition.state == "accepted":
                self._accept(domain, own)

    def _transition(self, domain: int, x: Tensor | None) -> Transition | None:
        if str(domain) not in self.transitions:
            if x is None or self.inputs is None:
                return None
            self.transitions[str(domain)] = Transition(self.inputs.features, dtype=self.home.means.dtype).to(x.device)
        return self.transitions[str(domain)]  # type: ignore[return-value]

    def _accept(self, domain: int, own: NaturalGradientReadout) -> None:
        """Give up a domain's own read-out: what it knows goes on telling the domain from others."""
        if self.moved is None:
            self.moved, self.mapped = Pairs(self.home), blank(self.home)
        self.moved.add(domain, own)
        self.own.pop(str(domain))

    def _mapped_readout(self) -> NaturalGradientReadout:
        """Return the read-out of the home domain and all that has been mapped to it."""
        return self.home if self.mapped is None else total([self.home, self.mapped])

    def _solved(self) -> Predictor:
        if self._predictor is not None:
            return self._predictor
        shared, maps = self.shared, self.accepted
        experts = {}
        for key, own in self.own.items():
            if int(key) != _HOME and complete(own, shared):
                experts[int(key)] = shrunk(own, shared, self.features / 4).solution()
        if complete(home := self._mapped_readout(), shared):
            pull_back = home if maps else shrunk(home, shared, self.features / 4)
            experts |= dict.fromkeys([_HOME, *maps], pull_back.solution())
        pairs = joined({int(key): part for key, part in self.own.items()}, self.moved)
        self._predictor = Predictor(pairs, shared, experts, maps, immerse=self._immerse, temperature=self.temperature)
        return self._predictor

    def _check(self, phi: Tensor, labels: Tensor, charts: Tensor, x: Tensor | None) -> None:
        self.home.check(phi, labels)
        if charts.shape != labels.shape or charts.is_floating_point():
            raise ValueError(f"charts must be integers of shape ({len(phi)},), got {charts.dtype} of {charts.shape}")
        if len(charts) and charts.min() < 0:
            raise ValueError(f"charts must be at least 0, got {int(charts.min())}")
        if x is not None and len(x) != len(phi):
            raise ValueError(f"x must have {len(phi)} samples like phi, got {len(x)}")
        if x is None and self.accepted:
            raise ValueError("x must be given: some domains have transition maps")

    def get_extra_state(self) -> dict[str, Any]:
        """Return which parts there are, for ``state_dict``."""
        return {
            "own": list(self.own),
            "transitions": {key: part.inputs for key, part in self.transitions.items()},
            "inputs": None if self.inputs is None else self.inputs.features,
            "moved": self.moved is not None,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Nothing: the parts have been made before."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Called before the parts load their own state: make those that were saved.
        saved = state_dict.get(f"{prefix}_extra_state")
        if saved is not None:
            home, dtype = blank(self.home), self.home.means.dtype
            self.own = nn.ModuleDict({key: blank(home) for key in saved["own"]})
            self.transitions = nn.ModuleDict(
                {key: Transition(inputs, dtype=dtype) for key, inputs in saved["transitions"].items()}
            )
            self.inputs = None if saved["inputs"] is None else NaturalGradientReadout(saved["inputs"], dtype=dtype)
            self.moved, self.mapped = (Pairs(home), blank(home)) if saved["moved"] else (None, None)
        self._predictor = None
        super()._load_from_state_dict(state_dict, prefix, *rest)
