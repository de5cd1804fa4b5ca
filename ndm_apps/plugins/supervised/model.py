"""The networks that are compared, all behind the same projection of the inputs."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from ndm_apps.engine import NDM
from ndm_apps.errors import InputError
from ndm_apps.plugins.supervised.schema import MLPSettings, NDMSettings, TrainingSettings


class Classifier(nn.Module):
    """A projection of the inputs and a network on it: (batch, ...) to logits (batch, classes)."""

    def __init__(self, inputs: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.inputs, self.network = inputs, network

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return logits_of(self.network(self.inputs(x)))


def logits_of(output: Tensor | tuple[Tensor, object]) -> Tensor:
    """Return the logits in what a network returns: alone, or before the geometries."""
    return output if isinstance(output, Tensor) else output[0]


def build_network(settings: TrainingSettings, n: int, classes: int) -> nn.Module:
    """Return the network on ``n`` coordinates that the settings describe, drawn from torch's global generator."""
    match settings:
        case NDMSettings():
            return NDM(
                n,
                classes,
                depth=settings.depth,
                couplings=settings.couplings,
                coupling_hidden=settings.coupling_hidden,
                mixing=settings.mixing,
                structure=settings.structure,
                metric_hidden=settings.metric_hidden,
            )
        case MLPSettings():
            return perceptron(
                n,
                classes,
                width=widest(n, classes, settings.layers, settings.parameters),
                layers=settings.layers,
                dropout=settings.dropout,
                spectral_norm=settings.spectral_norm,
            )
    raise TypeError(f"no network for {type(settings).__name__}")


def perceptron(
    n: int, classes: int, *, width: int, layers: int, dropout: float = 0.0, spectral_norm: float | None = None
) -> nn.Sequential:
    """Return a ReLU perceptron; dropout follows each hidden layer, spectral normalisation takes every weight matrix."""
    widths = [n, *[width] * layers]
    parts: list[nn.Module] = []
    for a, b in pairwise(widths):
        parts += [_linear(a, b, spectral_norm), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*parts, _linear(width, classes, spectral_norm))


def widest(n: int, classes: int, layers: int, parameters: int) -> int:
    """Return the largest width with which a perceptron has no more than so many parameters.

    Raises
    ------
    InputError
        If not even one unit a layer fits.

    Examples
    --------
    >>> widest(4, 3, layers=1, parameters=8 * 5 + 3)
    5
    """

    def count(width: int) -> int:
        widths = [n, *[width] * layers, classes]
        return sum((a + 1) * b for a, b in pairwise(widths))

    if count(1) > parameters:
        raise InputError(f"parameters: got {parameters}, must be at least {count(1)} for {layers} layers on {n} inputs")
    width = 1
    while count(width + 1) <= parameters:
        width += 1
    return width


def predicting_parameters(network: nn.Module) -> int:
    """Return the number of parameters that predictions depend on: those of Metric Nets are not among them."""
    everything = sum(parameter.numel() for parameter in network.parameters())
    if isinstance(network, NDM):
        metrics = (layer.metric for layer in network.layers if layer.metric is not None)
        everything -= sum(parameter.numel() for metric in metrics for parameter in metric.parameters())
    return everything


def baked(network: nn.Module) -> nn.Module:
    """Put the weights of normalised layers in place of their parametrisation, which ``torch.export`` cannot follow."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return network


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return self.factor * weight


def _linear(a: int, b: int, spectral_norm: float | None) -> nn.Linear:
    layer = nn.Linear(a, b)
    if spectral_norm is not None:
        parametrizations.spectral_norm(layer)
        parametrize.register_parametrization(layer, "weight", _Scale(spectral_norm))
    return layer
