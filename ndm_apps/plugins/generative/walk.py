r"""A random walk through the latent space whose steps are measured by its metric.

geoopt's samplers do not serve here. They draw the momentum as the Riemannian gradient of white noise, with covariance
:math:`g^{-2}` where the law needs :math:`g^{-1}`, and refuse a manifold that is not reversible
(:class:`~ndm_apps.geometry.manifold.LearnedManifold` is none): their steps would be too long by :math:`w^{-1/2}` where
the weight w is below 1, and too short where it is above. Nor does Brownian motion: its law is the volume
:math:`\sqrt{\det g} = w^{d/2}`, largest where no data are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ndm_apps.geometry.metric import MetricValue, evaluate
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.model import LatentModel


@torch.no_grad()
def random_walk(
    model: LatentModel,
    start: Tensor,
    generator: torch.Generator,
    *,
    steps: int = 100,
    size: float = 0.1,
    **strengths: float,
) -> Tensor:
    r"""Walk from points (b, d) by Metropolis-Hastings steps in the latent metric, and return where walks end, (b, d).

    A step is :math:`z' = z + h\, d^{-1/2}\, g(z)^{-1/2} \xi` with white noise :math:`\xi`: of length h in the metric,
    long where data are, short where they are not. It is taken with the probability that keeps the density of codes,

    .. math:: \min\Bigl(1, \frac{p(z')\, q(z' \to z)}{p(z)\, q(z \to z')}\Bigr), \qquad
        q(z \to z') \propto \sqrt{\det g(z)}\; e^{-d\, (z' - z)^\top g(z)\, (z' - z) / 2 h^2},

    so that walks that begin as codes are distributed end as codes are, and none gets lost.

    Parameters
    ----------
    model
        A trained model.
    start
        Where walks begin, such as codes of images.
    generator
        Of all that is random.
    steps
        How many.
    size
        Length h of a step, in the metric; two codes are about 1 apart.
    strengths
        Of the metric: ``entropy``, ``density``, ``head`` of
        :func:`~ndm_apps.plugins.generative.metric.latent_metric`.

    Raises
    ------
    ValueError
        If a start is further from all codes than that of an image would be.

    References
    ----------
    Hastings, "Monte Carlo sampling methods using Markov chains and their applications", Biometrika 57, 1970; Girolami,
    Calderhead, "Riemann manifold Langevin and Hamiltonian Monte Carlo methods", J. Royal Statist. Soc. B 73, 2011.
    """
    model.check("start", start)
    metric = latent_metric(model, **strengths)
    z, here, log_p = start, evaluate(metric, start), model.log_density(start)
    scale = size / start.shape[-1] ** 0.5
    where = {"generator": generator, "dtype": z.dtype, "device": z.device}
    for _ in range(steps):
        noise = torch.randn(z.shape, **where)
        step = scale * torch.linalg.solve_triangular(here.cholesky.mT, noise.unsqueeze(-1), upper=True).squeeze(-1)
        there, log_q = evaluate(metric, z + step), model.log_density(z + step)
        gain = log_q - log_p + _log_kernel(there, step, scale) - _log_kernel(here, step, scale)
        taken = torch.rand(gain.shape, **where).log() < gain
        z, log_p = torch.where(taken[:, None], z + step, z), torch.where(taken, log_q, log_p)
        here = MetricValue(*(torch.where(taken[:, None, None], b, a) for a, b in zip(here, there, strict=True)))
    return z


def _log_kernel(here: MetricValue, step: Tensor, scale: float) -> Tensor:
    """Logarithm of the density of a step, up to a constant."""
    white = (here.cholesky.mT @ step.unsqueeze(-1)).squeeze(-1) / scale
    return here.cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1) - white.square().sum(-1) / 2
