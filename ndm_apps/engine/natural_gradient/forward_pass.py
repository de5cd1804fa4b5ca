"""One forward pass of a model, kept so that it can be made again and differentiated along tangents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ndm_apps.engine.natural_gradient.output_metric import OutputMetric, constant_metric
from ndm_apps.engine.natural_gradient.products import Value

__all__ = ["ForwardPass", "Watched", "outputs_of", "random_state"]


class Watched:
    """A model, the metric on its outputs, and the weight of the metrics learned in it."""

    def __init__(self, model: nn.Module, metric: OutputMetric, learned: float) -> None:
        self.model, self._metric, self._learned = model, metric, learned
        # Looked up once: walking through the modules takes as long as a small network's forward pass.
        self._buffers = [name for name, _ in model.named_buffers()]

    def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Return what the model returns, and leave its buffers, such as running means, as they are."""
        if not self._buffers:
            return self.model(*arguments, **keywords)
        copies = {name: self.model.get_buffer(name).clone() for name in self._buffers}
        return functional_call(self.model, copies, arguments, keywords)

    def values(self, result: Any) -> list[Value]:
        """Return the outputs, and the points of the geometries if they count, with their metrics."""
        values = [Value(outputs_of(result), self._metric)]
        for geometry in result[1] if self._learned else ():
            with torch.no_grad():
                g = self._learned * geometry.metric(geometry.point.detach())
            values.append(Value(geometry.point, constant_metric(g)))
        return values


class ForwardPass:
    """What a model was given, what it computed, and how the loss depends on that.

    A pass that is made again draws the same random numbers, so that it differs by the parameters alone.

    Parameters
    ----------
    watched
        The model.
    arguments, keywords, result
        What it was given, and what it returned.
    random_state
        State of torch's random-number generator before, if the model has drawn from it.

    Attributes
    ----------
    values
        What it computed, detached.
    """

    def __init__(
        self,
        watched: Watched,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        result: Any,
        random_state: Tensor | None,
    ) -> None:
        self._watched, self._arguments, self._keywords = watched, arguments, keywords
        self._random_state = random_state
        self.values = [Value(value.detach(), metric) for value, metric in watched.values(result)]
        self._slope: Tensor | None = None
        outputs_of(result).register_hook(self._keep_slope)  # type: ignore[no-untyped-call]

    @property
    def slope(self) -> Tensor:
        """Derivative of the loss by the outputs; zero until the loss's backward pass is made."""
        return torch.zeros_like(self.values[0].value) if self._slope is None else self._slope

    def again(self) -> Any:
        """Return the result for the parameters as they are now."""
        if self._random_state is None:
            return self._watched.call(self._arguments, self._keywords)
        device = self.values[0].value.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            _set_random_state(self._random_state, device)
            return self._watched.call(self._arguments, self._keywords)

    def push(self, parameters: list[Tensor], tangents: list[Tensor], size: float) -> list[Tensor]:
        """Return the derivatives of the values along tangents of the parameters, by a difference; these stay displaced.

        ``size`` is the multiple of the tangents on the scale of which the values change; the difference is over a small
        part of it.
        """
        step = size * float(torch.finfo(tangents[0].dtype).eps) ** (1 / 3)
        torch._foreach_add_(parameters, tangents, alpha=step)
        moved = self._watched.values(self.again())
        return [(new.value - old.value).div_(step) for new, old in zip(moved, self.values, strict=True)]

    def loss_change(self) -> Tensor:
        """Return how much the parameters as they are now change the loss on this batch, through the outputs."""
        outputs, metric = self.values[0]
        change = outputs_of(self.again()) - outputs
        return (self.slope * change).sum() + metric.divergence(outputs, change).sum() / len(outputs)

    def _keep_slope(self, gradient: Tensor) -> None:
        self._slope = gradient.detach()


def outputs_of(result: Any) -> Tensor:
    """Return the outputs: the result of a model, or the first part of it."""
    outputs: Tensor = result[0] if isinstance(result, tuple) else result
    return outputs


def random_state(device: torch.device) -> Tensor:
    """Return the state of torch's random-number generator on a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
