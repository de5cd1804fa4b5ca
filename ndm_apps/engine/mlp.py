"""The one small network of the engine: a multilayer perceptron with tanh between its affine layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    r"""A smooth multilayer perceptron, :math:`x \mapsto W_k \tanh(\dots \tanh(W_1 x + b_1) \dots) + b_k`.

    Its activation is fixed because curvature takes second derivatives of it, in closed form.

    Parameters
    ----------
    inputs, outputs
        Widths of input and output.
    hidden
        Widths of the hidden layers, none or more.

    Examples
    --------
    >>> MLP(3, (8, 8), 2)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        widths = [inputs, *hidden, outputs]
        if min(widths) < 1:
            raise ValueError(f"inputs, hidden and outputs must be at least 1, got {inputs}, {tuple(hidden)}, {outputs}")
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def affine(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of each layer, first to last."""
        return [(layer.weight, layer.bias) for layer in self.layers if isinstance(layer, nn.Linear)]

    def set_output(self, bias: Float[Tensor, " outputs"], gain: float) -> None:
        """Scale the weights of the last layer by ``gain`` and set its bias: ``gain=0`` makes the map constant."""
        last_weight, last_bias = self.affine()[-1]
        with torch.no_grad():
            last_weight.mul_(gain)
            last_bias.copy_(bias)

    def push_forward(
        self, x: Float[Tensor, "*batch inputs"], v: Float[Tensor, "*batch k inputs"]
    ) -> tuple[Float[Tensor, "*batch outputs"], Float[Tensor, "*batch k outputs"]]:
        r"""Return the output at ``x`` and its derivatives along k directions, :math:`J v`."""
        *hidden, (last_weight, last_bias) = self.affine()
        for weight, bias in hidden:
            x = torch.tanh(nn.functional.linear(x, weight, bias))
            v = (1 - x.square()).unsqueeze(-2) * (v @ weight.mT)
        return nn.functional.linear(x, last_weight, last_bias), v @ last_weight.mT

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Return the output at ``x``."""
        *hidden, last = self.layers
        for layer in hidden:
            x = torch.tanh(layer(x))
        output: Tensor = last(x)
        return output
