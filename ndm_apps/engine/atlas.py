"""Atlas: a changing set of charts, each at home somewhere, that share out the points between them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ndm_apps.engine.coordinates import CoordinateMap
from ndm_apps.engine.gaussian_chart import Comparison

__all__ = ["Atlas", "Comparable", "Freezable", "HasCoordinates", "HasEnergy", "Mergeable", "Transition"]


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


@runtime_checkable
class Comparable(Protocol):
    """A chart that tells whether another one has learnt from the same distribution."""

    def compare(self, other: Any, /, level: float) -> Comparison:
        """Return a p-value, and what difference the test would have noticed."""
        ...


@runtime_checkable
class HasCoordinates(Protocol):
    """A chart with coordinates of its own."""

    def coordinates(self) -> CoordinateMap:
        """Return the map to them, as it is now."""
        ...


class Transition(CoordinateMap):
    r"""The change from the coordinates of one chart to those of another, :math:`\phi_j \circ \phi_i^{-1}`.

    Charts whose coordinates are defined everywhere have transitions that are, too: exact inverses of one another at any
    point. Where only one of the two charts is at home (see :meth:`Atlas.partition_of_unity`), the other's coordinates,
    and so the transition, are an extrapolation: right as a change of names, without anything learnt behind it.

    Parameters
    ----------
    source, target
        Maps :math:`\phi_i` and :math:`\phi_j` from common coordinates.
    """

    def __init__(self, source: CoordinateMap, target: CoordinateMap) -> None:
        super().__init__()
        if source.n != target.n:
            raise ValueError(f"source and target must have one dimension, got {source.n} and {target.n}")
        self.n, self.source, self.target = source.n, source, target

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        """Return coordinates in the target chart, and the log-determinant."""
        return self._follow(self.source, self.target, x)

    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        """Return coordinates in the source chart, and the inverse's log-determinant."""
        return self._follow(self.target, self.source, z)

    @staticmethod
    def _follow(source: CoordinateMap, target: CoordinateMap, z: Tensor) -> tuple[Tensor, Tensor]:
        x, back = source.inverse(z)
        there, forth = target(x)
        return there, back + forth


class Atlas(nn.Module):
    r"""Charts :math:`k` with energies :math:`E_k(x)`, and the partition of unity they induce.

    .. math:: w_k(x) = \frac{e^{-E_k(x) / T}}{\sum_j e^{-E_j(x) / T}}, \qquad \sum_k w_k = 1

    Charts are numbered from 0 in the order they were grown; removing one renumbers those after it. Growing never
    changes what a chart already there computes: energies, coordinates and transitions among old charts stay the same to
    the bit, and so does the partition of unity among them, :math:`w_k / \sum_{j \text{ old}} w_j`, as computed from
    their energies alone.

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

    def duplicates(self, level: float = 0.01, effect: float = 1.0) -> list[tuple[int, int]]:
        """Find pairs of charts that have learnt from one distribution, most alike first.

        Parameters
        ----------
        level
            Probability with which a pair of one distribution is overlooked.
        effect
            A pair must know enough to notice that its means are this many standard deviations apart (19 times in 20);
            so at most one pair in 20 of those that are so far apart, or further, is taken for one.

        Returns
        -------
        list of (int, int)
            Numbers of charts, lower first. Charts that cannot be compared make no pair.

        Raises
        ------
        ValueError
            If the effect is not positive, or a chart refuses the level.
        """
        if not effect > 0:
            raise ValueError(f"effect must be positive, got {effect}")
        found = []
        for (i, one), (j, other) in combinations(enumerate(self.charts), 2):
            if isinstance(one, Comparable) and type(one) is type(other):
                comparison = one.compare(other, level)
                if comparison.p_value >= level and comparison.detectable <= effect:
                    found.append((comparison.p_value, i, j))
        return [(i, j) for _, i, j in sorted(found, key=lambda pair: -pair[0])]

    def merge_duplicates(self, level: float = 0.01, effect: float = 1.0) -> list[int]:
        """Merge charts that have learnt from one distribution, the most alike first, until there are none left.

        The chart with the lower number takes over the other, unless it is frozen and the other is not; of two frozen
        charts neither is touched. Parameters and errors are those of :meth:`duplicates`.

        Returns
        -------
        list of int
            For each chart there was, the number of the chart it has become or been merged into.
        """
        numbers = list(range(len(self)))
        while pairs := [pair for pair in self.duplicates(level, effect) if not bool(self.frozen[list(pair)].all())]:
            keep, other = sorted(pairs[0], key=lambda index: bool(self.frozen[index]))
            merged = self.merge(keep, other)
            moved = [merged if index == other else index - int(index > other) for index in range(len(self) + 1)]
            numbers = [moved[index] for index in numbers]
        return numbers

    def transition(self, i: int, j: int) -> Transition:
        r"""Return the change from the coordinates of chart i to those of chart j, as the charts are now.

        Raises
        ------
        ValueError
            If there is no such chart, or it has no coordinates.

        Examples
        --------
        >>> from ndm_apps.engine.gaussian_chart import GaussianChart
        >>> atlas = Atlas()
        >>> for scale in (1.0, 2.0):
        ...     chart = GaussianChart(1, strength=0.0, ridge=0.0)
        ...     chart.update(torch.tensor([[-scale], [scale]], dtype=torch.float64))
        ...     _ = atlas.grow(chart)
        >>> z, log_abs_det = atlas.transition(0, 1)(torch.ones(1, dtype=torch.float64))
        >>> z.tolist(), round(log_abs_det.item(), 4)
        ([0.5], -0.6931)
        """
        maps = []
        for index in (i, j):
            chart = self._chart(index)
            if not isinstance(chart, HasCoordinates):
                raise ValueError(f"chart {index} must have a method coordinates(), got {type(chart).__name__}")
            maps.append(chart.coordinates())
        return Transition(*maps)

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
            self.charts.extend(self.factory().to(self.frozen.device) for _ in range(missing))
            self.frozen = torch.cat([self.frozen[: len(frozen)], self.frozen.new_zeros(max(missing, 0))])
        before = self.frozen.tolist()
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for chart, was, now in zip(self.charts, before, self.frozen.tolist(), strict=True):
            # Others keep what they have: a chart may hold parameters that are never trained.
            if was != now:
                chart.requires_grad_(not now)
