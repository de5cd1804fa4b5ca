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
from ndm_apps.plugins.physics.kinetic.motion import Motion, Windows, windows

#: Iterations of L-BFGS on the same windows, and how many windows these are.
ROUND, ROUND_WINDOWS = 100, 400

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
        Iterations of L-BFGS that follow, in rounds of :data:`ROUND`.
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
    fitting: Motion,
    samples: int,
    stride: int,
    training: Training,
    generator: torch.Generator,
    progress: Progress = lambda done, total, text: None,
) -> tuple[Lagrangian, KineticNet]:
    """Train a Metric Net and a potential network on the weak Euler-Lagrange residual.

    The loss is the mean square residual over that of the momenta, as for the dictionary at no noise: the scale of the
    Lagrangian is free, and g = 0 is no solution.

    Parameters
    ----------
    fitting
        Motions.
    samples, stride
        Length of a window and distance of the next one.
    training
        Sizes and steps.
    generator
        Chooses the first weights and the batches.
    """
    train = windows(fitting, samples, stride)
    q, v = fitting.samples()
    angle = torch.tensor([k in fitting.angles for k in range(fitting.n)])
    centre = torch.where(angle, torch.zeros(fitting.n, dtype=q.dtype), q.mean(0))
    scale = torch.where(angle, torch.ones(fitting.n, dtype=q.dtype), q.std(0))
    # Networks are built from the global generator: borrow it, and put it back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = KineticNet(centre, scale, fitting.angles, training.hidden)
    speeds = v.std(0, correction=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=training.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
    for step in range(training.steps):
        chosen = torch.randint(len(train), (min(training.batch, len(train)),), generator=generator)
        optimiser.zero_grad()
        relative_residual(model, train.take(chosen), speeds).backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            progress(step, training.steps, "training the metric")
    for start in range(0, training.refinement, ROUND):
        chosen = torch.randperm(len(train), generator=generator)[:ROUND_WINDOWS]
        _refine(model, train.take(chosen), speeds, min(ROUND, training.refinement - start))
        progress(start, training.refinement, "refining the metric")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    unit = model.metric(q).diagonal(dim1=-2, dim2=-1).mean(0).max()

    def metric(x: Tensor) -> Tensor:
        return model.metric(x) / unit

    def potential(x: Tensor) -> Tensor:
        return model.potential(x) / unit

    kinetic = torch.einsum("pij,pi,pj->p", metric(q), v, v) / 2
    return Lagrangian(metric, potential, float(kinetic.square().mean().sqrt())), model


def _refine(model: KineticNet, part: Windows, speeds: Tensor, iterations: int) -> None:
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=iterations, history_size=50, line_search_fn="strong_wolfe", tolerance_change=0.0
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = relative_residual(model, part, speeds)
        value.backward()
        return value

    optimiser.step(loss)


def relative_residual(model: KineticNet, part: Windows, speeds: Tensor) -> Tensor:
    """Mean square of the weak residuals over that of the momenta, in units of the speeds."""
    q = part.q.clone().requires_grad_(True)
    momenta = (model.metric(q) @ part.v.unsqueeze(-1)).squeeze(-1)
    lagrangian = (momenta * part.v).sum(-1) / 2 - model.potential(q)
    (force,) = torch.autograd.grad(lagrangian.sum(), q, create_graph=True)
    rest = (part.rate.unsqueeze(-1) * momenta + part.value.unsqueeze(-1) * force).sum(1)
    return (speeds * rest).square().sum(-1).mean() / (speeds * momenta).square().sum(-1).mean()
