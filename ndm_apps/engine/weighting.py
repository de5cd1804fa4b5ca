r"""The weight :math:`\lambda` of the geometric loss: constant, warmed up, or found while training.

A weight is an object that is called once per step, ``weight = schedule(step, task, geometric)``, with the two losses
before they are added, and returns a number; ``state_dict`` and ``load_state_dict`` carry it over a checkpoint. Weights
that do not look at the losses may be called with the step alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from ndm_apps.engine.parallel import ALONE, Workers

__all__ = ["Constraint", "GradientBalance", "Weight", "constant", "linear_warmup"]

_SMALLEST, _LARGEST = 1e-8, 1e8
"""Where automatic weights stop: from beyond, they would take too long to come back."""


class Weight(ABC):
    """The weight of the geometric loss as training goes on."""

    @abstractmethod
    def __call__(self, step: int, task: Tensor | None = None, geometric: Tensor | None = None) -> float:
        """Return the weight at this step.

        Parameters
        ----------
        step
            Number of the step, from 0.
        task, geometric
            The two losses of this step, unweighted scalars on which ``backward`` has not been called.
        """

    def state_dict(self) -> dict[str, float]:
        """Return what a resumed run needs: numbers by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what :meth:`state_dict` returned."""
        if set(state) != set(self.state_dict()):
            raise ValueError(f"state must have the keys {sorted(self.state_dict())}, got {sorted(state)}")


class _Scheduled(Weight):
    """A weight that is a function of the step."""

    def __init__(self, schedule: Callable[[int], float]) -> None:
        self.schedule = schedule

    def __call__(self, step: int, task: Tensor | None = None, geometric: Tensor | None = None) -> float:
        return self.schedule(step)


def constant(value: float) -> Weight:
    """Return the weight that is ``value`` at every step."""
    return _Scheduled(lambda step: value)


def linear_warmup(value: float, steps: int) -> Weight:
    """Return the weight that rises from 0 at step 0 to ``value`` at ``steps`` and stays there.

    Examples
    --------
    >>> [linear_warmup(0.1, 2)(step) for step in range(4)]
    [0.0, 0.05, 0.1, 0.1]
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return _Scheduled(lambda step: value * min(step / steps, 1.0))


class _Found(Weight):
    """A weight that is found while training, kept as its logarithm: it stays positive, and steps are factors."""

    def __init__(self, start: float) -> None:
        if not _SMALLEST <= start <= _LARGEST:
            raise ValueError(f"start must be between {_SMALLEST:g} and {_LARGEST:g}, got {start}")
        self.log_weight = math.log(start)

    def _move_to(self, log_weight: float) -> None:
        self.log_weight = min(max(log_weight, math.log(_SMALLEST)), math.log(_LARGEST))

    def state_dict(self) -> dict[str, float]:
        return {"log_weight": self.log_weight}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        super().load_state_dict(state)
        self.log_weight = float(state["log_weight"])


class GradientBalance(_Found):
    r"""The weight at which the geometric loss pulls ``ratio`` times as hard as the task.

    .. math::
        \log \lambda \leftarrow s \log \lambda
        + (1 - s) \log \frac{r\, |\nabla L_\text{task}|}{|\nabla L_\text{geo}|}

    with gradients by the parameters on which both losses depend. Averaging logarithms keeps one step with a huge or
    tiny gradient from deciding. Where one of the gradients is zero or not finite the weight stays as it is.

    Parameters
    ----------
    parameters
        The parameters; those on which only one of the losses depends are left out.
    ratio
        r, the share of the geometric loss; positive.
    smoothing
        s, from 0 (the last step alone) to below 1.
    every
        Measure at every so many steps: a measurement costs a backward pass of each loss.
    start
        The weight before the first measurement, which then replaces it.
    workers
        The processes among which the samples of the losses are shared: gradients are averaged over them.

    References
    ----------
    Chen, Badrinarayanan, Lee and Rabinovich, "GradNorm: gradient normalization for adaptive loss balancing in deep
    multitask networks", 2018, arXiv:1711.02257. Wang, Teng and Perdikaris, "Understanding and mitigating gradient
    pathologies in physics-informed neural networks", 2020, arXiv:2001.04536.

    Examples
    --------
    >>> p = torch.ones(2, requires_grad=True)
    >>> weight = GradientBalance([p], ratio=0.5)
    >>> round(weight(0, p.sum(), 10 * p.sum()), 6)
    0.05
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        ratio: float = 1.0,
        *,
        smoothing: float = 0.9,
        every: int = 1,
        start: float = 1.0,
        workers: Workers = ALONE,
    ) -> None:
        super().__init__(start)
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not self.parameters:
            raise ValueError("parameters must hold at least one that requires a gradient, got none")
        if not 0 < ratio < math.inf:
            raise ValueError(f"ratio must be positive and finite, got {ratio}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be from 0 to below 1, got {smoothing}")
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.ratio, self.smoothing, self.every = ratio, smoothing, every
        self.workers = workers
        self.measured = False

    def __call__(self, step: int, task: Tensor | None = None, geometric: Tensor | None = None) -> float:
        """Measure both gradients, if it is time, and return the weight."""
        if task is None or geometric is None:
            raise ValueError("task and geometric must be the losses of this step, got None")
        if step % self.every == 0 and task.requires_grad and geometric.requires_grad:
            pull, push = self._norms(task, geometric)
            if 0 < pull < math.inf and 0 < push < math.inf:
                target = math.log(self.ratio * pull / push)
                keep = self.smoothing if self.measured else 0.0
                self._move_to(keep * self.log_weight + (1 - keep) * target)
                self.measured = True
        return math.exp(self.log_weight)

    def _norms(self, task: Tensor, geometric: Tensor) -> tuple[float, float]:
        """Return the gradient norms of the two losses, by the parameters they share."""
        pulls, pushes = (
            torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True)
            for loss in (task, geometric)
        )
        shared = [(a, b) for a, b in zip(pulls, pushes, strict=True) if a is not None and b is not None]
        if not shared:
            raise ValueError("parameters must hold some on which both task and geometric depend, got none")
        self.workers.average([gradient for pair in shared for gradient in pair])
        return _norm(a for a, _ in shared), _norm(b for _, b in shared)

    def state_dict(self) -> dict[str, float]:
        """Return the logarithm of the weight, and whether it has been measured yet."""
        return {**super().state_dict(), "measured": float(self.measured)}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self.measured = bool(state["measured"])


class Constraint(_Found):
    r"""The multiplier that holds the geometric loss to a budget, :math:`L_\text{geo} \le b`.

    Dual ascent on the logarithm of the multiplier, with the excess in it once more as damping, which is what the
    quadratic term of an augmented Lagrangian does:

    .. math::
        e = \mathrm{clip}(\log(L_\text{geo} / b), -1, 1), \qquad
        \log \mu \leftarrow \log \mu + \rho\, e, \qquad \lambda = \mu\, e^{\kappa e}

    The logarithm of the excess makes the rate free of the units of either loss. Where the task keeps the budget by
    itself the weight goes down to its floor, as complementary slackness asks.

    Parameters
    ----------
    budget
        b, positive.
    rate
        :math:`\rho`, positive: by how many factors of e a step may move the multiplier.
    damping
        :math:`\kappa`, not negative.
    start
        The multiplier before the first step.

    References
    ----------
    Bertsekas, "Constrained optimization and Lagrange multiplier methods", 1982. Stooke, Achiam and Abbeel,
    "Responsive safety in reinforcement learning by PID Lagrangian methods", 2020, arXiv:2007.03964.

    Examples
    --------
    >>> weight = Constraint(budget=0.1, rate=0.5, damping=0.0)
    >>> over, under = torch.tensor(7.0), torch.tensor(0.01)
    >>> [round(weight(step, None, over), 3) for step in range(2)], round(weight(2, None, under), 3)
    ([1.649, 2.718], 1.649)
    """

    def __init__(self, budget: float, *, rate: float = 0.05, damping: float = 0.2, start: float = 1.0) -> None:
        super().__init__(start)
        if not 0 < budget < math.inf:
            raise ValueError(f"budget must be positive and finite, got {budget}")
        if not 0 < rate < math.inf:
            raise ValueError(f"rate must be positive and finite, got {rate}")
        if not 0 <= damping < math.inf:
            raise ValueError(f"damping must be finite and not negative, got {damping}")
        self.budget, self.rate, self.damping = budget, rate, damping

    def __call__(self, step: int, task: Tensor | None = None, geometric: Tensor | None = None) -> float:
        """Move the multiplier by the excess of this step, and return the weight."""
        if geometric is None:
            raise ValueError("geometric must be the geometric loss of this step, got None")
        excess = _clipped_log(float(geometric.detach()) / self.budget)
        self._move_to(self.log_weight + self.rate * excess)
        return math.exp(self.log_weight + self.damping * excess)


def _norm(gradients: Iterable[Tensor]) -> float:
    return float(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]).norm())


def _clipped_log(ratio: float) -> float:
    """Return the logarithm, between -1 and 1; what is not a number counts as far too large."""
    if math.isnan(ratio):
        return 1.0
    return min(max(math.log(ratio), -1.0), 1.0) if ratio > 0 else -1.0
