"""The hooks that see the forward passes of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ndm_apps.engine.natural_gradient.forward_pass import ForwardPass, Watched, outputs_of, random_state
from ndm_apps.engine.natural_gradient.kronecker import LayerPass

__all__ = ["Hook", "Observer"]


class Hook:
    """A hook that stays behind when its module is copied or pickled: copies are observed by nobody.

    Examples
    --------
    >>> import copy
    >>> model = nn.Linear(1, 1)
    >>> _ = model.register_forward_hook(Hook(lambda module, inputs, output: print("seen")))
    >>> _ = model(torch.zeros(1)), copy.deepcopy(model)(torch.zeros(1))
    seen
    """

    def __init__(self, function: Callable[..., None] | None = None) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> None:
        """Call the function, if this is not a copy."""
        if self._function is not None:
            self._function(*arguments)

    def __reduce__(self) -> tuple[type[Hook], tuple[()]]:
        return Hook, ()


class Observer:
    """Keeps the last forward pass of a model in training mode, with gradients, until it is taken.

    Parameters
    ----------
    watched
        The model.
    layers
        Its layers whose inputs and outputs are wanted.
    report
        Called after each such pass with the uses of these layers and with what the model returned.
    """

    def __init__(
        self, watched: Watched, layers: Iterable[nn.Linear], report: Callable[[Sequence[LayerPass], Any], None]
    ) -> None:
        model = watched.model
        self._watched, self._report = watched, report
        self._device = next(model.parameters()).device
        self._watching, self._before = True, random_state(self._device)
        self._passes: list[LayerPass] = []
        self._last: ForwardPass | None = None
        self._handles: list[RemovableHandle] = [
            *(layer.register_forward_hook(Hook(self._record)) for layer in layers),
            model.register_forward_pre_hook(Hook(self._begin)),
            model.register_forward_hook(Hook(self._observe), with_kwargs=True),
        ]

    def take(self) -> ForwardPass | None:
        """Return the last pass, if there was one since the last call."""
        last, self._last = self._last, None
        return last

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Look away for a while."""
        self._watching = False
        try:
            yield
        finally:
            self._watching = True

    def detach(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, inputs: Any) -> None:
        if self._watching:
            self._passes.clear()
            self._before = random_state(self._device)

    def _record(self, layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self._watching and self._watched.model.training and output.requires_grad:
            self._passes.append(LayerPass(layer, inputs[0].detach(), output))

    def _observe(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any) -> None:
        if not (self._watching and module.training):
            return
        passes, self._passes = self._passes, []
        outputs = outputs_of(result)
        if not outputs.requires_grad or not outputs.numel():
            return
        drawn = not torch.equal(self._before, random_state(self._device))
        self._last = ForwardPass(self._watched, arguments, keywords, result, self._before if drawn else None)
        self._report(passes, result)
