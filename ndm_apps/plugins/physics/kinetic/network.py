"""Learns a Lagrangian with a Metric Net: the geometric layer of the Neural Differential Manifold as kinetic metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.engine.mlp import MLP
from ndm_apps.plugins.physics.kinetic.lagrangian import Lagrangian
from ndm_apps.plugins.physics.kinetic.motion import Motion
from ndm_apps.plugins.physics.kinetic.objective import WeakObjective

#: Steps from one report of progress to the next.
TOLD = 20

Progress = Callable[[int, int, str], None]


@final
@dataclass(frozen=True)
class Training:
    """How the networks are trained.

    Attributes
    ----------
    hidden
        Widths of the hidden layers, of both networks.
    steps, batch, rate
        Steps of Adam, windows in each, and its learning rate, which falls to 0 along a half cosine.
    refinement
        Iterations of L-BFGS that follow, on all windows.
    """

    hidden: Sequence[int]
    steps: int
    batch: int
    rate: float
    refinement: int


@final
class KineticNet(nn.Module):
    r"""A Metric Net and a potential network on coordinates in which an angle is a point of the unit circle.

    With e(q) these coordinates and J their Jacobian, :math:`g = J^T G(e) J` and :math:`V = V(e)`.

    Parameters
    ----------
    centre, scale
        Of the coordinates that are no angles; 0 and 1 for angles. Shape ``(n,)``.
    angles
        Numbers of the angles.
    hidden
        Widths of the hidden layers.
    """

    def __init__(self, centre: Tensor, scale: Tensor, angles: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        n = len(centre)
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        self.register_buffer("angle", torch.tensor([k in angles for k in range(n)]))
        self.sines = list(angles)
        width = n + len(self.sines)
        self.net = MetricNet(width, hidden).double()
        self.force = MLP(width, hidden, 1).double()
        self.force.set_output(torch.zeros(1), gain=0.1)

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Metric and potential at the points ``q``."""
        return self.metric(q), self.potential(q)

    def metric(self, q: Tensor) -> Tensor:
        """Metric at the points ``q``, ``(..., n, n)``."""
        z, jacobian = self._embedded(q)
        return jacobian.mT @ self.net(z) @ jacobian

    def potential(self, q: Tensor) -> Tensor:
        """Potential at the points ``q``, ``(...)``."""
        value: Tensor = self.force(self._embedded(q)[0])[..., 0]
        return value

    def _embedded(self, q: Tensor) -> tuple[Tensor, Tensor]:
        t = (q - self.centre) / self.scale
        z = torch.cat((torch.where(self.angle, t.cos(), t), t[..., self.sines].sin()), -1)
        first = torch.where(self.angle, -t.sin(), torch.ones_like(t)) / self.scale
        second = torch.diag_embed(t.cos())[..., self.sines, :]
        return z, torch.cat((torch.diag_embed(first), second), -2)


def fit_network(
    objective: WeakObjective,
    fitting: Motion,
    training: Training,
    generator: torch.Generator,
    progress: Progress = lambda done, total, text: None,
) -> tuple[Lagrangian, KineticNet]:
    """Train a Metric Net and a potential network on the weak Euler-Lagrange residual.

    Adam on batches of windows comes near, as if there were no noise; L-BFGS on all windows finds the minimum.

    Parameters
    ----------
    objective
        Of the motions.
    fitting
        The motions.
    training
        Sizes and steps.
    generator
        Chooses the first weights and the batches.
    """
    q, v = fitting.samples()
    angle = torch.tensor([k in fitting.angles for k in range(fitting.n)])
    centre = torch.where(angle, torch.zeros(fitting.n, dtype=q.dtype), q.mean(0))
    scale = torch.where(angle, torch.ones(fitting.n, dtype=q.dtype), q.std(0))
    # Networks are built from the global generator: borrow it, and put it back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = KineticNet(centre, scale, fitting.angles, training.hidden)
    optimiser = torch.optim.Adam(model.parameters(), lr=training.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
    total = training.steps + training.refinement
    for step in range(training.steps):
        chosen = torch.randint(len(objective), (min(training.batch, len(objective)),), generator=generator)
        optimiser.zero_grad()
        objective.exact(chosen)(model).backward()
        optimiser.step()
        schedule.step()
        if step % TOLD == 0:
            progress(step, total, "training the metric")
    _refine(model, objective, training.refinement, lambda done: progress(training.steps + done, total, "refining it"))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    unit = model.metric(q).diagonal(dim1=-2, dim2=-1).mean(0).max()

    def metric(x: Tensor) -> Tensor:
        return model.metric(x) / unit

    def potential(x: Tensor) -> Tensor:
        return model.potential(x) / unit

    kinetic = torch.einsum("pij,pi,pj->p", metric(q), v, v) / 2
    return Lagrangian(metric, potential, float(kinetic.square().mean().sqrt())), model


def _refine(model: KineticNet, objective: WeakObjective, iterations: int, told: Callable[[int], None]) -> None:
    if not iterations:
        return
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=iterations, history_size=100, line_search_fn="strong_wolfe", tolerance_change=0.0
    )
    done = 0

    def loss() -> Tensor:
        nonlocal done
        optimiser.zero_grad()
        value = objective(model)
        value.backward()
        if done % TOLD == 0:
            told(min(done, iterations))
        done += 1
        return value

    optimiser.step(loss)
