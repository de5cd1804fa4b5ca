r"""Adaptive Runge-Kutta integration of a batch of trajectories, each with its own step: the method of order 8(5, 3).

Coefficients: E. Hairer, S. P. Norsett, G. Wanner, *Solving Ordinary Differential Equations I*, 2nd edition, Springer
1993, section II.5 and appendix (DOP853). Twelve evaluations a step; the error is estimated by combining embedded
solutions of orders 5 and 3.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Steps after which a trajectory is given up: it winds too fast to be followed in any useful time.
MOST_STEPS = 1_000

# fmt: off
_STAGES = (
    (0.05260015195876773,),
    (0.0197250569845379, 0.0591751709536137),
    (0.02958758547680685, 0.0, 0.08876275643042054),
    (0.2413651341592667, 0.0, -0.8845494793282861, 0.924834003261792),
    (0.037037037037037035, 0.0, 0.0, 0.17082860872947386, 0.12546768756682242),
    (0.037109375, 0.0, 0.0, 0.17025221101954405, 0.06021653898045596, -0.017578125),
    (
        0.03709200011850479, 0.0, 0.0, 0.17038392571223998, 0.10726203044637328, -0.015319437748624402,
        0.008273789163814023,
    ),
    (
        0.6241109587160757, 0.0, 0.0, -3.3608926294469414, -0.868219346841726, 27.59209969944671, 20.154067550477894,
        -43.48988418106996,
    ),
    (
        0.47766253643826434, 0.0, 0.0, -2.4881146199716677, -0.590290826836843, 21.230051448181193,
        15.279233632882423, -33.28821096898486, -0.020331201708508627,
    ),
    (
        -0.9371424300859873, 0.0, 0.0, 5.186372428844064, 1.0914373489967295, -8.149787010746927, -18.52006565999696,
        22.739487099350505, 2.4936055526796523, -3.0467644718982196,
    ),
    (
        2.273310147516538, 0.0, 0.0, -10.53449546673725, -2.0008720582248625, -17.9589318631188, 27.94888452941996,
        -2.8589982771350235, -8.87285693353063, 12.360567175794303, 0.6433927460157636,
    ),
)
_SOLUTION = (
    0.054293734116568765, 0.0, 0.0, 0.0, 0.0, 4.450312892752409, 1.8915178993145003, -5.801203960010585,
    0.3111643669578199, -0.1521609496625161, 0.20136540080403034, 0.04471061572777259,
)
_ERROR_3 = (
    -0.18980075407240762, 0.0, 0.0, 0.0, 0.0, 4.450312892752409, 1.8915178993145003, -5.801203960010585,
    -0.4226823213237919, -0.1521609496625161, 0.20136540080403034, 0.02265179219836082,
)
_ERROR_5 = (
    0.01312004499419488, 0.0, 0.0, 0.0, 0.0, -1.2251564463762044, -0.4957589496572502, 1.6643771824549864,
    -0.35032884874997366, 0.3341791187130175, 0.08192320648511571, -0.022355307863886294,
)
# fmt: on


class Trajectory(NamedTuple):
    """Ends of a batch of trajectories.

    Attributes
    ----------
    state : Tensor
        State at time 1, shape ``(..., m)``; the last one reached where ``finished`` is False.
    finished : Tensor
        Whether time 1 was reached, shape ``(...)``.
    steps : Tensor
        Accepted steps, shape ``(...)``.
    """

    state: Float[Tensor, "*batch m"]
    finished: Bool[Tensor, "*batch"]
    steps: Int[Tensor, "*batch"]


def integrate(
    rate: Callable[[Tensor], Tensor],
    state: Float[Tensor, "*batch m"],
    scale: Callable[[Tensor, Tensor], Tensor],
    tolerance: float,
) -> Trajectory:
    r"""Solve :math:`\dot s = f(s)` from time 0 to 1, each sample with steps of its own size.

    Parameters
    ----------
    rate : callable
        f, ``(..., m) -> (..., m)``; it treats samples one by one, and returns nan where it is not defined.
    state : Tensor
        Initial states, shape ``(..., m)``.
    scale : callable
        From states and their rates to what counts as an error of one in each component, ``(..., m)``.
    tolerance : float
        Error allowed per step, in units of ``scale``.

    Returns
    -------
    Trajectory
        Differentiable with respect to everything: the sequence of steps is held fixed.

    Examples
    --------
    >>> import torch
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> end = integrate(lambda s: -s, one, lambda s, rate: s.abs() + rate.abs(), tolerance=1e-10)
    >>> bool((end.state - (-one).exp()).abs() < 1e-9), bool(end.finished)
    (True, True)
    """
    batch, m = state.shape[:-1], state.shape[-1]
    state = state.reshape(-1, m)
    slope = rate(state)
    time = torch.zeros(len(state), 1, dtype=state.dtype, device=state.device)
    size = torch.full_like(time, 1 / 4)
    steps = torch.zeros(len(state), dtype=torch.long, device=state.device)
    # Shorter steps would not reach the end in the number allowed, save in float64, where they mean a singularity.
    smallest = torch.finfo(state.dtype).eps ** 0.5
    active = torch.arange(len(state), device=state.device)
    for _ in range(MOST_STEPS):
        if not len(active):
            break
        now, before, before_slope = time[active], state[active], slope[active]
        step = torch.minimum(size[active], 1 - now)
        trial, slopes = _step(rate, before, before_slope, step)
        trial_slope = rate(trial)
        with torch.no_grad():
            ratio = (step * _error(slopes) / (tolerance * scale(trial, trial_slope))).amax(-1, keepdim=True)
            finite = torch.isfinite(ratio) & torch.isfinite(trial_slope).all(-1, keepdim=True)
            good = finite & (ratio <= 1)
            # Selected by a mask, a trial with nan anywhere would still poison gradients: it is thrown away whole.
            usable = bool(finite.all()) or not trial.requires_grad
            accepted = good & usable
            factor = torch.where(finite, (0.9 * ratio.clamp(min=1e-16) ** -0.125).clamp(0.2, 6.0), 0.2)
            next_size = torch.where(accepted | ~good, step * factor, size[active])
            arrived = accepted & (now + step >= 1 - 8 * torch.finfo(state.dtype).eps)
            now = torch.where(arrived, torch.ones_like(now), torch.where(accepted, now + step, now))
            lost = ~accepted & (next_size < smallest)
            size, time = size.index_copy(0, active, next_size), time.index_copy(0, active, now)
            steps = steps.index_add(0, active, accepted.squeeze(-1).long())
        if usable:
            state = state.index_copy(0, active, torch.where(accepted, trial, before))
            slope = slope.index_copy(0, active, torch.where(accepted, trial_slope, before_slope))
        active = active[((now < 1) & ~lost).squeeze(-1)]
    finished = time.squeeze(-1) >= 1
    return Trajectory(state.reshape(*batch, m), finished.reshape(batch), steps.reshape(batch))


def integrate_evenly(rate: Callable[[Tensor], Tensor], state: Float[Tensor, "*batch m"], steps: int) -> Tensor:
    """Solve the same equation with so many equal steps of order 8; nan where a trajectory is lost."""
    step = torch.full_like(state[..., :1], 1 / steps)
    for _ in range(steps):
        state, _ = _step(rate, state, rate(state), step)
    return state


def _step(rate: Callable[[Tensor], Tensor], state: Tensor, slope: Tensor, step: Tensor) -> tuple[Tensor, list[Tensor]]:
    slopes = [slope]
    for weights in _STAGES:
        slopes.append(rate(state + step * _mix(weights, slopes)))
    return state + step * _mix(_SOLUTION, slopes), slopes


def _error(slopes: list[Tensor]) -> Tensor:
    # Hairer's combination: the estimate of order 5, made smaller where that of order 3 is much larger.
    fifth, third = _mix(_ERROR_5, slopes), _mix(_ERROR_3, slopes)
    size = (fifth.square() + 0.01 * third.square()).sqrt()
    return torch.where(size == 0, size, fifth.square() / size)


def _mix(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return torch.stack([weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight]).sum(0)
