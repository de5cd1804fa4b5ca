r"""Natural gradient: steps measured by the Fisher metric on parameters, with Kronecker-factored blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["NaturalGradient"]


class _Eigen(NamedTuple):
    """Eigenvalues and eigenvectors of the two factors of a block."""

    inputs: tuple[Tensor, Tensor]
    outputs: tuple[Tensor, Tensor]


class NaturalGradient(torch.optim.Optimizer):
    r"""K-FAC: gradient descent preconditioned by the Fisher metric, block by block.

    For a linear layer with inputs a (a 1 appended for the bias) and pre-activations s, the block is approximated by

    .. math:: F \approx A \otimes G, \qquad A = E[a a^\top], \qquad G = E[\nabla_s \log p\, \nabla_s \log p^\top],

    with :math:`\log p` the log-likelihood of targets drawn from the model's own output, and the step is
    :math:`-\eta\, (A \otimes G + \text{damping})^{-1} \nabla L` (damped exactly, in the eigenbasis of the factors;
    without damping, the pseudo-inverse). Parameters outside linear layers take plain gradient steps with the same
    learning rate and momentum, and so do layers on which the output does not depend.

    It is a drop-in optimiser: hooks observe the forward passes of the model in training mode. The loss it goes with is
    the mean over the batch of the negative log-likelihood: half the squared distance for ``"gaussian"``,
    ``cross_entropy`` for ``"categorical"``.

    Parameters
    ----------
    model
        The module whose parameters are trained. It returns its output, (batch, ..., outputs), or a tuple that starts
        with it.
    lr
        Step size :math:`\eta`.
    momentum
        Between 0 and 1 (excluded).
    damping
        Added to the eigenvalues of every block, at least 0.
    likelihood
        What the output is: the mean of a Gaussian of unit variance, or the logits of categories.
    samples
        Targets drawn per observation to estimate G, one backward pass each; G is exact, at one backward pass per
        output, if not given.
    decay
        Weight of the past in the moving averages of A and G, in [0, 1).
    every
        Observe one forward pass in so many.
    generator
        Source of the sampled targets, on the model's device; torch's global one if not given.

    References
    ----------
    Amari, "Natural gradient works efficiently in learning", Neural Computation 10, 1998.
    Martens and Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature", 2015,
    arXiv:1503.05671.

    Examples
    --------
    One step solves linear regression:

    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(50, 3)
    >>> y = x @ torch.tensor([[1.0], [2.0], [3.0]]) - 1
    >>> model = nn.Linear(3, 1)
    >>> optimiser = NaturalGradient(model, lr=1.0, damping=0.0)
    >>> loss = (model(x) - y).square().sum(-1).mean() / 2
    >>> loss.backward()
    >>> optimiser.step()
    >>> model.weight.detach().round(decimals=3).tolist(), round(model.bias.item(), 3)
    ([[1.0, 2.0, 3.0]], -1.0)
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 0.1,
        *,
        momentum: float = 0.0,
        damping: float = 1e-3,
        likelihood: Literal["gaussian", "categorical"] = "gaussian",
        samples: int | None = None,
        decay: float = 0.95,
        every: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        for name, value, good, allowed in (
            ("lr", lr, 0 <= lr < math.inf, "finite and not negative"),
            ("momentum", momentum, 0 <= momentum < 1, "in [0, 1)"),
            ("damping", damping, 0 <= damping < math.inf, "finite and not negative"),
            ("likelihood", likelihood, likelihood in _ROOTS, f"one of {sorted(_ROOTS)}"),
            ("samples", samples, samples is None or samples >= 1, "at least 1 or None"),
            ("decay", decay, 0 <= decay < 1, "in [0, 1)"),
            ("every", every, every >= 1, "at least 1"),
        ):
            if not good:
                raise ValueError(f"{name} must be {allowed}, got {value!r}")
        super().__init__(model.parameters(), {"lr": lr, "momentum": momentum, "damping": damping})
        self._likelihood, self._samples, self._generator = likelihood, samples, generator
        self._decay, self._every = decay, every
        self._passes: list[tuple[nn.Linear, Tensor, Tensor]] = []
        self._eigen: dict[nn.Linear, _Eigen] = {}
        self._linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        self._model = model
        self._handles: list[RemovableHandle] = [module.register_forward_hook(self._record) for module in self._linear]
        self._handles.append(model.register_forward_pre_hook(self._begin))
        self._handles.append(model.register_forward_hook(self._observe))

    def detach(self) -> None:
        """Take the hooks off the model; the optimiser observes nothing any more."""
        for handle in self._handles:
            handle.remove()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step; ``closure``, if given, evaluates the loss anew and returns it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        settings = {parameter: group for group in self.param_groups for parameter in group["params"]}
        gradients = {parameter: parameter.grad for parameter in settings if parameter.grad is not None}
        for layer in self._linear:
            if layer.weight in gradients and "A" in self.state[layer.weight]:
                self._precondition(layer, gradients, settings[layer.weight]["damping"])
        for parameter, direction in gradients.items():
            group = settings[parameter]
            if group["momentum"]:
                buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
                direction = buffer.mul_(group["momentum"]).add_(direction)
            parameter.add_(direction, alpha=-group["lr"])
        return loss

    def factors(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Return the factors A and G of a layer's block, with the bias as the last input.

        Raises
        ------
        ValueError
            If no forward pass through the layer has been observed.
        """
        state = self.state.get(layer.weight, {})
        if "A" not in state:
            raise ValueError("layer must be a linear layer of the model that an observed output depends on")
        return state["A"], state["G"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of an optimiser of the same model."""
        super().load_state_dict(state_dict)
        self._eigen.clear()

    def _begin(self, module: nn.Module, inputs: Any) -> None:
        self._passes.clear()

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self._model.training and output.requires_grad and isinstance(layer, nn.Linear):
            self._passes.append((layer, inputs[0].detach(), output))

    def _observe(self, module: nn.Module, inputs: Any, output: Any) -> None:
        passes = list(self._passes)
        self._passes.clear()
        outputs = output[0] if isinstance(output, tuple) else output
        if not passes or not outputs.numel():
            return
        # Kept with the first parameter so that a resumed run observes the same passes.
        counter = self.state[self.param_groups[0]["params"][0]]
        seen = counter.get("forward_passes", 0)
        counter["forward_passes"] = seen + 1
        if seen % self._every:
            return
        batch = outputs.shape[0]
        with torch.no_grad():
            cotangents = _ROOTS[self._likelihood](outputs, self._samples, self._generator)
        gradients: dict[int, Tensor] = {}
        for cotangent in cotangents:
            parts = torch.autograd.grad(
                outputs, [out for *_, out in passes], cotangent, retain_graph=True, allow_unused=True
            )
            for index, part in enumerate(parts):
                if part is not None:
                    rows = part.reshape(-1, part.shape[-1])
                    gradients[index] = gradients.get(index, 0) + rows.mT @ rows / batch
        self._accumulate(passes, gradients)

    def _accumulate(self, passes: list[tuple[nn.Linear, Tensor, Tensor]], gradients: dict[int, Tensor]) -> None:
        """Blend this pass into the moving averages; several uses of one layer are one sum."""
        fresh: dict[nn.Linear, list[tuple[Tensor, Tensor]]] = {}
        for index, g in gradients.items():
            layer, inputs, _ = passes[index]
            rows = inputs.reshape(-1, inputs.shape[-1])
            if layer.bias is not None:
                rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
            fresh.setdefault(layer, []).append((rows.mT @ rows / len(rows), g))
        for layer, uses in fresh.items():
            a = torch.stack([use[0] for use in uses]).mean(0)
            g = torch.stack([use[1] for use in uses]).sum(0)
            state = self.state[layer.weight]
            for name, value in (("A", a), ("G", g)):
                state[name] = value if name not in state else torch.lerp(value, state[name], self._decay)
            self._eigen.pop(layer, None)

    def _precondition(self, layer: nn.Linear, gradients: dict[Tensor, Tensor], damping: float) -> None:
        """Replace the gradients of a layer by their natural counterparts."""
        if layer not in self._eigen:
            a, g = self.factors(layer)
            self._eigen[layer] = _Eigen(_eigh(a), _eigh(g))
        (a_values, a_vectors), (g_values, g_vectors) = self._eigen[layer]
        joined = layer.bias is not None
        gradient = gradients[layer.weight]
        if joined:
            bias = gradients.get(layer.bias, torch.zeros_like(layer.bias))
            gradient = torch.cat([gradient, bias[:, None]], dim=1)
        values = g_values[:, None] * a_values + damping
        inverse = torch.where(values > 0, 1 / values, 0.0)
        natural = g_vectors @ (inverse * (g_vectors.mT @ gradient @ a_vectors)) @ a_vectors.mT
        gradients[layer.weight] = natural[:, :-1] if joined else natural
        if joined and layer.bias in gradients:
            gradients[layer.bias] = natural[:, -1]


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, those that are zero to rounding set to zero, and eigenvectors."""
    values, vectors = torch.linalg.eigh(matrix)
    floor = len(values) * torch.finfo(values.dtype).eps * values[-1].clamp_min(0)
    return torch.where(values > floor, values, 0.0), vectors


def _gaussian_root(outputs: Tensor, samples: int | None, generator: torch.Generator | None) -> list[Tensor]:
    """Return cotangents whose mean outer product at each output is the identity."""
    if samples is None:
        eye = torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
        return [row.expand_as(outputs) for row in eye]
    shape = (samples, *outputs.shape)
    noise = torch.randn(shape, generator=generator, dtype=outputs.dtype, device=outputs.device)
    return list(noise / samples**0.5)


def _categorical_root(outputs: Tensor, samples: int | None, generator: torch.Generator | None) -> list[Tensor]:
    """Return cotangents whose mean outer product at each output is diag(p) - p p^T, p the probabilities."""
    p = outputs.softmax(-1)
    eye = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
    if samples is None:
        return [p[..., c, None].sqrt() * (eye[c] - p) for c in range(p.shape[-1])]
    flat = p.reshape(-1, p.shape[-1])
    drawn = torch.multinomial(flat, samples, replacement=True, generator=generator).mT
    return [(eye[labels].reshape(p.shape) - p) / samples**0.5 for labels in drawn]


_ROOTS: dict[str, Callable[[Tensor, int | None, torch.Generator | None], list[Tensor]]] = {
    "gaussian": _gaussian_root,
    "categorical": _categorical_root,
}
