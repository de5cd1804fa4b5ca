"""Densities of the latent space: mixtures of Gaussians, and standard normal coordinates behind a Coordinate Layer."""

from __future__ import annotations

import math
import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from ndm_apps.engine.coordinates import CoordinateMap


class MixtureDensity(nn.Module):
    r"""A mixture of Gaussians with full covariances, :math:`p(z) = \sum_k \pi_k N(z; \mu_k, \Sigma_k)`.

    It starts as standard normal in every component; :meth:`fit` makes it that of a sample.

    Parameters
    ----------
    components, dimension
        Number of Gaussians and dimension of z.

    Examples
    --------
    >>> density = MixtureDensity(3, 2)
    >>> density.log_prob(torch.zeros(2)).exp() * 2 * torch.pi
    tensor(1.0000)
    """

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, components: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.register_buffer("means", torch.zeros(components, dimension))
        # Upper Cholesky factors F of the precisions, F F^T = Sigma^-1.
        self.register_buffer("factors", torch.eye(dimension).repeat(components, 1, 1))

    def fit(self, z: Tensor, *, regular: float, seed: int) -> None:
        """Fit by expectation maximisation, from k-means.

        Parameters
        ----------
        z
            Points, (n, d), at least as many as components.
        regular
            Added to the diagonals of the covariances.
        seed
            Of k-means.
        """
        mixture = GaussianMixture(len(self.means), reg_covar=regular, random_state=seed)
        with warnings.catch_warnings():
            # Where the likelihood still climbs a little after 100 steps, the density is as good as it gets.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = mixture.fit(z.detach().cpu().double().numpy())
        self.assign(*(torch.as_tensor(t) for t in (fitted.weights_, fitted.means_, fitted.covariances_)))

    def assign(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Take the Gaussians as they are given.

        Parameters
        ----------
        weights
            Positive, of sum 1, (components,).
        means, covariances
            (components, d) and (components, d, d).

        Raises
        ------
        ValueError
            If a shape is not that of this mixture, or a covariance is not positive definite.
        """
        for name, values, own in (("weights", weights, self.log_weights), ("means", means, self.means),
                                  ("covariances", covariances, self.factors)):  # fmt: skip
            if values.shape != own.shape:
                raise ValueError(f"{name} must have shape {tuple(own.shape)}, got {tuple(values.shape)}")
        lower, info = torch.linalg.cholesky_ex(covariances.double())
        if bool(info.any()):
            raise ValueError(f"covariances must be positive definite, got another of component {int(info.argmax())}")
        identity = torch.eye(means.shape[1], dtype=lower.dtype, device=lower.device).expand_as(lower)
        self.log_weights.copy_(weights.double().log())
        self.means.copy_(means)
        # Sigma = L L^T, so the precision is F F^T with F = L^-T.
        self.factors.copy_(torch.linalg.solve_triangular(lower, identity, upper=False).mT)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p at points (..., d), of shape (...)."""
        components, dimension = self.means.shape
        # One matrix product for all components.
        stacked = self.factors.transpose(0, 1).reshape(dimension, -1)
        offsets = torch.einsum("kd,kde->ke", self.means, self.factors)
        white = (z @ stacked).unflatten(-1, (components, dimension)) - offsets
        log_volume = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) - dimension / 2 * math.log(2 * math.pi)
        return torch.logsumexp(self.log_weights + log_volume - white.square().sum(-1) / 2, -1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw points, (count, d)."""
        chosen = torch.multinomial(self.log_weights.exp(), count, replacement=True, generator=generator)
        noise = torch.randn(
            count, self.means.shape[1], 1, generator=generator, device=self.means.device, dtype=self.means.dtype
        )
        # Covariance F^-T F^-1, so F^-T maps standard normal points to the component's.
        spread = torch.linalg.solve_triangular(self.factors[chosen].mT, noise, upper=False)
        return self.means[chosen] + spread[..., 0]


class FlowDensity(nn.Module):
    r"""The density that is standard normal in other coordinates, :math:`p(z) = N(u(z)) \, |\det du/dz|`.

    Parameters
    ----------
    dimension
        Dimension of z.
    coordinates
        The map from z to u; None: z itself.
    """

    def __init__(self, dimension: int, coordinates: CoordinateMap | None = None) -> None:
        super().__init__()
        self.coordinates = coordinates
        # Carries the device and dtype where there is no map.
        self.register_buffer("origin", torch.zeros(dimension))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p at points (..., d), of shape (...)."""
        u, log_abs_det = (z, 0.0) if self.coordinates is None else self.coordinates(z)
        return log_abs_det - u.square().sum(-1) / 2 - z.shape[-1] / 2 * math.log(2 * math.pi)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw points, (count, d)."""
        shape, where = (count, *self.origin.shape), {"device": self.origin.device, "dtype": self.origin.dtype}
        u = torch.randn(shape, generator=generator, **where)
        return u if self.coordinates is None else self.coordinates.inverse(u)[0]
