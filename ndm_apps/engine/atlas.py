"""Atlas: a changing set of charts, each at home somewhere, that share out the points between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["Atlas", "Freezable", "HasEnergy", "Mergeable"]


@runtime_checkable
class HasEnergy(Protocol):
    """A chart that tells how far from home points are."""

    def energy(self, x: Float[Tensor, "*batch n"], /) -> Float[Tensor, "*batch"]:
        """Negative log-density up to a constant that all charts share, or a squared distance."""
        ...


@runtime_checkable
class Freezable(Protocol):
    """A chart with more to freeze than its parameters."""

    def freeze(self) -> None:
        """Stop all learning that is not by gradient."""
        ...


@runtime_checkable
class Mergeable(Protocol):
    """A chart that can take over what another chart knows."""

    def merge(self, other: Any, /) -> None:
        """Become the chart of both regions."""
        ...


class Atlas(nn.Module):
    r"""Charts :math:`k` with energies :math:`E_k(x)`, and the partition of unity they induce.

    .. math:: w_k(x) = \frac{e^{-E_k(x) / T}}{\sum_j e^{-E_j(x) / T}}, \qquad \sum_k w_k = 1

    Charts are numbered from 0 in the order they were grown; removing one renumbers those after it. Growing never
    changes what a chart already there computes.

    Parameters
    ----------
    factory
        Makes an empty chart: how :meth:`load_state_dict` gets as many charts as the saved atlas had. Without it, an
        atlas loads only states with as many charts as it has.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.

    Examples
    --------
    >>> from ndm_apps.engine.gaussian_chart import GaussianChart
    >>> atlas = Atlas(lambda: GaussianChart(1))
    >>> for centre in (-2.0, 2.0):
    ...     chart = GaussianChart(1)
    ...     chart.update(torch.tensor([[centre - 1], [centre + 1]], dtype=torch.float64))
    ...     _ = atlas.grow(chart)
    >>> x = torch.tensor([[-2.0], [0.0], [2.5]], dtype=torch.float64)
    >>> atlas.route(x).tolist(), round(atlas.partition_of_unity(x)[1, 0].item(), 3)
    ([0, 0, 1], 0.5)
    """

    def __init__(self, factory: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        self.factory = factory
        self.charts = nn.ModuleList()
        self.frozen: Tensor
        self.register_buffer("frozen", torch.zeros(0, dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.charts)

    def grow(self, chart: nn.Module) -> int:
        """Add a chart and return its number.

        Raises
        ------
        ValueError
            If it has no method ``energy``, or is in the atlas already.
        """
        if not isinstance(chart, HasEnergy):
            raise ValueError(f"chart must have a method energy(x), got {type(chart).__name__}")
        if any(chart is other for other in self.charts):
            raise ValueError("chart must be new, got one that is in the atlas already")
        self.charts.append(chart)
        self.frozen = torch.cat([self.frozen, self.frozen.new_zeros(1)])
        return len(self.charts) - 1

    def freeze(self, index: int) -> None:
        """Stop a chart from learning: by gradient, and by whatever its own ``freeze`` stops."""
        chart = self._chart(index)
        chart.requires_grad_(False)
        if isinstance(chart, Freezable):
            chart.freeze()
        self.frozen[index] = True

    def remove(self, index: int) -> nn.Module:
        """Take a chart out and return it; later charts move up by one."""
        chart = self._chart(index)
        del self.charts[index]
        keep = torch.arange(len(self.frozen), device=self.frozen.device) != index
        self.frozen = self.frozen[keep]
        return chart

    def merge(self, index: int, other: int) -> int:
        """Let chart ``index`` take over chart ``other``, which is removed; return the number of the merged chart.

        Raises
        ------
        ValueError
            If the two are one, if the first is frozen, or if it has no method ``merge``.
        """
        chart, absorbed = self._chart(index), self._chart(other)
        if index == other:
            raise ValueError(f"other must be another chart than index, got {index} twice")
        if bool(self.frozen[index]):
            raise ValueError(f"index must be a chart that is not frozen, got {index}")
        if not isinstance(chart, Mergeable):
            raise ValueError(f"chart {index} must have a method merge(other), got {type(chart).__name__}")
        chart.merge(absorbed)
        self.remove(other)
        return index - int(other < index)

    def energies(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch charts"]:
        """Return the energy of each point in each chart.

        Raises
        ------
        ValueError
            If there are no charts.
        """
        if not len(self):
            raise ValueError("atlas has no charts yet: call grow first")
        return torch.stack([chart.energy(x) for chart in cast(list[HasEnergy], self.charts)], dim=-1)

    def partition_of_unity(
        self, x: Float[Tensor, "*batch n"], temperature: float = 1.0
    ) -> Float[Tensor, "*batch charts"]:
        """Return the weight of each chart at each point; the lower the ``temperature``, the sharper the borders."""
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        return torch.softmax(-self.energies(x) / temperature, dim=-1)

    def route(self, x: Float[Tensor, "*batch n"]) -> Int[Tensor, "*batch"]:
        """Return the number of the chart with the least energy at each point."""
        return self.energies(x).argmin(-1)

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch charts"]:
        """Return the partition of unity at temperature 1."""
        return self.partition_of_unity(x)

    def _chart(self, index: int) -> nn.Module:
        if not 0 <= index < len(self):
            raise ValueError(f"chart numbers are 0 ... {len(self) - 1}, got {index}")
        return self.charts[index]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Called before the charts load their own part, so their number can be put right here.
        frozen = state_dict.get(f"{prefix}frozen")
        if frozen is not None and self.factory is not None:
            missing = len(frozen) - len(self)
            del self.charts[len(frozen) :]
            self.charts.extend(self.factory() for _ in range(missing))
            self.frozen = torch.cat([self.frozen[: len(frozen)], self.frozen.new_zeros(max(missing, 0))])
        before = self.frozen.tolist()
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for chart, was, now in zip(self.charts, before, self.frozen.tolist(), strict=True):
            # Others keep what they have: a chart may hold parameters that are never trained.
            if was != now:
                chart.requires_grad_(not now)
