"""The training loop all methods share: mini-batches from tensors in memory, one optimiser step each."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.engine import GeometricLoss, NaturalGradient
from ndm_apps.engine.layer import Geometry
from ndm_apps.engine.parallel import ALONE, Workers
from ndm_apps.engine.precision import compiled, in_full_precision, mixed_precision
from ndm_apps.engine.weighting import GradientBalance, Weight, constant
from ndm_apps.errors import InputError
from ndm_apps.plugins.supervised.model import logits_of
from ndm_apps.plugins.supervised.schema import MLPSettings, NDMSettings, TrainingSettings

#: Steps between two looks at the gradients of both losses, for a weight that balances them.
LOOK_EVERY = 10


class Training:
    """A network in training on ``z`` (samples, n) with labels ``y`` (samples,), which can be saved at every step.

    Parameters
    ----------
    settings
        How it is trained.
    network
        What is trained; it returns logits, or logits and geometries.
    z, y
        The training samples, on the network's device.
    seed
        Of the order of samples, the points of the curvature, and the natural gradient's targets.
    workers
        The processes that train the network together. Each holds all samples and takes its share of each mini-batch.

    Raises
    ------
    InputError
        If the processes cannot share mini-batches equally, or would not take the steps that one process takes.

    Attributes
    ----------
    step
        Steps made so far.
    seconds
        Time they took: of the processor where the network is on the CPU, so that other processes do not count.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        network: nn.Module,
        z: Tensor,
        y: Tensor,
        *,
        seed: int,
        workers: Workers = ALONE,
    ) -> None:
        self.network, self.z, self.y, self.workers = network, z, y, workers
        self.batch_size = settings.batch_size
        self.points = settings.points if isinstance(settings, NDMSettings) else None
        _require_equal_shares(settings, len(y), workers)
        self._mixed = settings.precision == "mixed"
        self._forward = compiled(network) if settings.compile else network
        self.step, self.seconds = 0, 0.0
        self._order = torch.arange(len(y))
        self._generators = [torch.Generator().manual_seed(seed), torch.Generator(z.device).manual_seed(seed)]
        self.geometric = geometric_loss(settings, workers)
        self.weight = geometric_weight(settings, network, workers)
        self.optimiser = optimiser(settings, network, self._generators[1], workers)

    def advance(self) -> None:
        """Make one step."""
        began = self._clock()
        batch, points = self._next_batch()
        self.network.train()
        self.optimiser.zero_grad()
        with mixed_precision(self.z.device, enabled=self._mixed):
            output = self._forward(self.z[batch])
        loss = nn.functional.cross_entropy(logits_of(output).to(self.z.dtype), self.y[batch])
        if self.geometric is not None:
            layers: list[Geometry] = in_full_precision(output[1], self.z.dtype) if self._mixed else output[1]
            geometric = self.geometric(layers if points is None else [layer.at(points) for layer in layers]).total
            loss = loss + self.weight(self.step, loss, geometric) * geometric
        loss.backward()
        self.workers.average([p.grad for p in self.network.parameters() if p.grad is not None])
        self.optimiser.step()
        self.step += 1
        self.seconds += self._clock() - began

    @torch.no_grad()
    def loss(self) -> float:
        """Return the task's loss on all training samples, of which each process takes a part."""
        self.network.eval()
        part = slice(self.workers.rank, None, self.workers.size)
        total = nn.functional.cross_entropy(logits_of(self.network(self.z[part])), self.y[part], reduction="sum")
        self.workers.add([total])
        return (total / len(self.y)).item()

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "geometric": self.geometric and self.geometric.state_dict(),
            "weight": self.weight.state_dict(),
            "generators": [generator.get_state() for generator in self._generators],
            "order": self._order,
            "step": self.step,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.geometric is not None:
            self.geometric.load_state_dict(state["geometric"])
        self.weight.load_state_dict(state["weight"])
        for generator, saved in zip(self._generators, state["generators"], strict=True):
            generator.set_state(saved)
        self._order = state["order"]
        self.step, self.seconds = state["step"], state["seconds"]

    def _next_batch(self) -> tuple[Tensor, Tensor | None]:
        """Return the samples of the next mini-batch, and the points of it where the geometric loss is evaluated.

        Each pass goes through the samples in a new order. Every process draws the same and takes its share.
        """
        batches = max(1, len(self.y) // self.batch_size)
        number = self.step % batches
        if number == 0:
            self._order = torch.randperm(len(self.y), generator=self._generators[0])
        chosen = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        points = None
        if self.geometric is not None and self.points is not None and self.points < len(chosen):
            points = torch.randperm(len(chosen), generator=self._generators[0])[: self.points].to(self.z.device)
        return self.workers.take(chosen.to(self.y.device), points)

    def _clock(self) -> float:
        if self.z.device.type == "cpu":
            return time.process_time()
        if self.z.device.type == "cuda":
            torch.cuda.synchronize(self.z.device)
        return time.perf_counter()


def _require_equal_shares(settings: TrainingSettings, samples: int, workers: Workers) -> None:
    """Refuse what several processes cannot do as one would."""
    if workers.size == 1:
        return
    parts = {"batch_size": min(settings.batch_size, samples)}
    if isinstance(settings, NDMSettings) and settings.geometric and settings.points is not None:
        parts["points"] = min(settings.points, parts["batch_size"])
    for name, count in parts.items():
        if count % workers.size:
            raise InputError(f"{name}: got {count}, must be a multiple of the {workers.size} processes")
    if isinstance(settings, MLPSettings) and settings.dropout:
        raise InputError(
            f"dropout: got {settings.dropout} with {workers.size} processes, must be 0: each draws its own"
        )


def geometric_loss(settings: TrainingSettings, workers: Workers = ALONE) -> GeometricLoss | None:
    """Return the geometric loss; None where there is none."""
    if not isinstance(settings, NDMSettings) or not settings.geometric:
        return None
    return GeometricLoss(
        settings.curvature,
        settings.volume,
        settings.compatibility,
        every=settings.curv_every,
        workers=workers,
    )


def geometric_weight(settings: TrainingSettings, network: nn.Module, workers: Workers = ALONE) -> Weight:
    """Return the weight of the geometric loss as training goes on."""
    if isinstance(settings, NDMSettings) and settings.geometric and settings.weighting == "balanced":
        return GradientBalance(network.parameters(), settings.geometric, every=LOOK_EVERY, workers=workers)
    return constant(settings.geometric if isinstance(settings, NDMSettings) else 0.0)


def optimiser(
    settings: TrainingSettings, network: nn.Module, generator: torch.Generator, workers: Workers = ALONE
) -> torch.optim.Optimizer:
    """Return the optimiser that the settings describe."""
    if isinstance(settings, NDMSettings) and settings.optimiser != "adam":
        return NaturalGradient(
            network,
            settings.learning_rate,
            method=settings.optimiser,
            metric="categorical",
            learned=settings.learned,
            damping=settings.damping,
            generator=generator,
            workers=workers,
        )
    decay = settings.weight_decay if isinstance(settings, MLPSettings) else 0.0
    return torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=decay)
