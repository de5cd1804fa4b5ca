"""What a coordinate map is, and maps one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn


class CoordinateMap(nn.Module, ABC):
    r"""A diffeomorphism of :math:`R^n`, :math:`x \mapsto z`.

    ``n`` is the dimension. Both directions return the image and :math:`\log |\det J|` of the map they computed, so
    the two log-determinants of a round trip cancel. Both are made of operations that :mod:`torch.func` differentiates
    and vectorises, since metrics are pulled back through them.
    """

    n: int

    @abstractmethod
    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``z`` and :math:`\log |\det dz/dx|`."""

    @abstractmethod
    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``x`` and :math:`\log |\det dx/dz|`."""

    def push_forward(
        self, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch k n"]
    ) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch k n"]]:
        r"""Return ``z`` and k tangent vectors at each point carried over to it, :math:`J v`."""

        def along(direction: Tensor) -> Tensor:
            derivative: Tensor = torch.func.jvp(lambda y: self(y)[0], (x,), (direction,))[1]
            return derivative

        pushed: Tensor = torch.func.vmap(along, in_dims=-2, out_dims=-2)(v)
        return self(x)[0], pushed

    def initialise(self, x: Float[Tensor, "*batch n"]) -> None:
        """Set what depends on the data, such as scales, from a sample. Most maps have nothing of the kind."""


class Composition(CoordinateMap):
    r"""Maps one after another, :math:`z = f_k \circ \dots \circ f_1 (x)`; log-determinants add.

    Parameters
    ----------
    maps
        The maps in the order they are applied, all of one dimension.
    """

    def __init__(self, maps: Iterable[CoordinateMap]) -> None:
        super().__init__()
        maps = list(maps)
        dimensions = {part.n for part in maps}
        if len(dimensions) != 1:
            raise ValueError(f"maps must be at least one, all of one dimension, got dimensions {sorted(dimensions)}")
        self.n = dimensions.pop()
        self.maps = nn.ModuleList(maps)

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        """Return ``z`` and the sum of the log-determinants."""
        total = x.new_zeros(x.shape[:-1])
        for part in self.maps:
            x, log_abs_det = part(x)
            total = total + log_abs_det
        return x, total

    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        """Return ``x`` and the sum of the inverses' log-determinants."""
        total = z.new_zeros(z.shape[:-1])
        for part in reversed(cast(list[CoordinateMap], list(self.maps))):
            z, log_abs_det = part.inverse(z)
            total = total + log_abs_det
        return z, total

    def push_forward(
        self, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch k n"]
    ) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch k n"]]:
        """Return ``z`` and the tangent vectors, carried over by one map after the other."""
        for part in cast(Iterable[CoordinateMap], self.maps):
            x, v = part.push_forward(x, v)
        return x, v

    @torch.no_grad()
    def initialise(self, x: Float[Tensor, "*batch n"]) -> None:
        """Initialise each map on the sample as the maps before it hand it over."""
        for part in cast(Iterable[CoordinateMap], self.maps):
            part.initialise(x)
            x, _ = part(x)
