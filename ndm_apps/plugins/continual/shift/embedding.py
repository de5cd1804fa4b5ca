"""The fixed linear coordinates in which a stream is watched."""

from __future__ import annotations

import torch
from torch import Tensor

from ndm_apps.plugins.continual.shift.growing import Growing


class Embedding(Growing):
    r"""Principal coordinates of a stream's first samples, :math:`z = V^\top (x - c)`, and what they leave out.

    Parameters
    ----------
    dimension
        Number d of coordinates; fewer if the first samples do not span as many.

    Attributes
    ----------
    centre, axes
        Mean c, ``(features,)``, and principal directions V, ``(features, d)``; None until :meth:`fit`.
    prior
        Covariance of the first samples in these coordinates, ``(d, d)`` in float64: diagonal, positive definite.

    Examples
    --------
    >>> embedding = Embedding(1)
    >>> embedding.fit(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> z, r = embedding(torch.tensor([[3.0, 2.0]]))
    >>> round(z.abs().item(), 4), round(r.item(), 4)
    (3.0, 4.0)
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.centre: Tensor | None
        self.axes: Tensor | None
        self.prior: Tensor | None
        for name in ("centre", "axes", "prior"):
            self.register_buffer(name, None)

    @property
    def fitted(self) -> bool:
        """Whether the coordinates are fixed."""
        return self.centre is not None

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Fix the coordinates by samples ``(batch, features)``."""
        self.centre = x.mean(0)
        _, _, axes = torch.linalg.svd(x - self.centre, full_matrices=False)
        self.axes = axes[: self.dimension].T.contiguous()
        # Principal coordinates are uncorrelated. Directions without any variance (constant features, fewer samples than
        # dimensions) still need some.
        variance = self(x)[0].var(0)
        self.prior = torch.diag(variance + 1e-3 * variance.mean().clamp(min=torch.finfo(x.dtype).eps))

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return coordinates ``(batch, d)`` and squared distances from their subspace ``(batch,)``, in float64."""
        assert self.centre is not None and self.axes is not None
        centred = x - self.centre
        z = centred @ self.axes
        r = (centred.square().sum(1) - z.square().sum(1)).clamp(min=0)
        return z.double(), r.double()
