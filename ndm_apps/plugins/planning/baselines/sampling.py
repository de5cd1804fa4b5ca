"""Planning by sampling sequences of controls: the cross-entropy method, MPPI and random shooting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ndm_apps.plugins.planning.baselines.objective import Objective
from ndm_apps.plugins.planning.baselines.proposals import Proposal, proposal
from ndm_apps.plugins.planning.baselines.settings import CemSettings, MppiSettings, ShootingSettings
from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.problem import Problem

Terminal = Callable[[Array], Array]


class Sampling:
    """A :class:`~ndm_apps.plugins.planning.controller.Controller` that samples, weighs, fits and samples again.

    Parameters
    ----------
    objective
        What a sequence costs.
    start_proposal
        Gives the distribution at the start of an episode.
    weigh
        Costs (samples,) to weights that add up to 1.
    samples, iterations, kept, hold
        See :class:`~ndm_apps.plugins.planning.baselines.settings.CemSettings`.
    rng
        Source of all randomness.
    """

    def __init__(
        self,
        objective: Objective,
        start_proposal: Callable[[], Proposal],
        weigh: Callable[[Array], Array],
        *,
        samples: int,
        iterations: int,
        kept: int,
        hold: int,
        rng: np.random.Generator,
    ) -> None:
        self.objective, self.start_proposal, self.weigh = objective, start_proposal, weigh
        self.samples, self.iterations, self.kept, self.hold, self.rng = samples, iterations, kept, hold, rng

    def start(self, x: Array) -> None:
        """Forget the episode before."""
        self.proposal: Proposal | None = None

    def control(self, x: Array) -> Array:
        """Return the first control of the fitted distribution."""
        if self.proposal is None:
            self.proposal, self.passed = self.start_proposal(), 0
            self.best = self.proposal.sample(0, self.rng)
        else:
            # A control that is held for some steps is over after as many.
            self.passed += 1
            over = self.passed % self.hold == 0
            self.proposal.advance(over)
            if over:
                self.best = np.concatenate((self.best[:, 1:], self.best[:, -1:]), axis=1)
        for _ in range(self.iterations):
            controls = np.concatenate((self.best, self.proposal.sample(self.samples - len(self.best), self.rng)))
            costs = self.objective(x, controls)
            self.proposal.fit(controls, self.weigh(costs))
            self.best = controls[np.argsort(costs)[: self.kept]]
        return self.proposal.first()


def cem(
    dynamics: Dynamics,
    problem: Problem,
    settings: CemSettings,
    rng: np.random.Generator,
    terminal: Terminal | None = None,
) -> Sampling:
    """Return the cross-entropy method: the distribution is fitted to the elites.

    References
    ----------
    Botev, Kroese, Rubinstein, L'Ecuyer, "The cross-entropy method for optimization", Handbook of Statistics 31, 2013.
    """

    def weigh(costs: Array) -> Array:
        weights = np.zeros(len(costs))
        weights[np.argpartition(costs, settings.elites - 1)[: settings.elites]] = 1 / settings.elites
        return weights

    return Sampling(
        Objective(dynamics, problem, terminal, settings.hold),
        lambda: proposal(problem, settings.horizon, settings.spread, settings.colour),
        weigh,
        samples=settings.samples,
        iterations=settings.iterations,
        kept=settings.kept,
        hold=settings.hold,
        rng=rng,
    )


def mppi(
    dynamics: Dynamics,
    problem: Problem,
    settings: MppiSettings,
    rng: np.random.Generator,
    terminal: Terminal | None = None,
) -> Sampling:
    """Return MPPI: every sequence counts by the exponential of its cost.

    References
    ----------
    Williams, Wagener, Goldfain, Drews, Rehg, Boots, Theodorou, "Information theoretic MPC for model-based reinforcement
    learning", ICRA 2017.
    """

    def weigh(costs: Array) -> Array:
        gap = costs - costs.min()
        scale = settings.temperature * np.median(gap)
        weights = np.exp(-gap / scale) if scale > 0 else (gap == 0).astype(float)
        return weights / weights.sum()

    return Sampling(
        Objective(dynamics, problem, terminal, settings.hold),
        lambda: proposal(problem, settings.horizon, settings.spread, settings.colour),
        weigh,
        samples=settings.samples,
        iterations=settings.iterations,
        kept=0,
        hold=settings.hold,
        rng=rng,
    )


def random_shooting(
    dynamics: Dynamics,
    problem: Problem,
    settings: ShootingSettings,
    rng: np.random.Generator,
    terminal: Terminal | None = None,
) -> Sampling:
    """Return random shooting: the best of sequences drawn without regard to earlier ones, but for the last best."""

    class Anything:
        """The widest distribution, which remembers the best sequence and nothing else."""

        def __init__(self) -> None:
            self.wide = proposal(problem, settings.horizon, 1.0, settings.colour)

        def sample(self, count: int, rng: np.random.Generator) -> Array:
            return self.wide.sample(count, rng)

        def fit(self, samples: Array, weights: Array) -> None:
            self.best = samples[weights.argmax()]

        def advance(self, over: bool) -> None:
            pass

        def first(self) -> Array:
            return self.best[0]

    return Sampling(
        Objective(dynamics, problem, terminal, settings.hold),
        Anything,
        lambda costs: (costs == costs.min()).astype(float),
        samples=settings.samples,
        iterations=1,
        kept=1,
        hold=settings.hold,
        rng=rng,
    )
