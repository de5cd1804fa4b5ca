r"""The metric of the latent space, built from what the model knows: where data are, and where its head is in doubt.

.. math::
    g(z) = w(z) \Bigl[\frac{I}{s^2} + a\, J_f^\top J_f\Bigr], \qquad f = 2 \sqrt{\operatorname{softmax} h(z)}, \qquad
    \log w = 2 k_e H(z) + 2 k_v (1 - p_a - p_b) + \log\bigl(1 + k_p\, \sigma((q_{05} - \log p(z)) / u)\bigr)

with h the logits of the task head, H the entropy of its prediction, :math:`p_a, p_b` the probabilities of the two
classes that a path is to keep to, p the density of codes, :math:`q_{05}, q_{50}` its quantiles on codes of held-out
images, :math:`u = (q_{50} - q_{05}) / 2`, and s the root of the mean squared distance of two codes. Where data are and
the head has no doubt, lengths are those of flat space in units of s; they grow with doubt and where no data are. Every
factor is bounded: a path is not driven away to infinity, and does not jam in front of a wall. :math:`J_f^\top J_f` is
the Fisher-Rao metric of the head.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cached_property
from itertools import repeat

import torch
from torch import Tensor, nn

from ndm_apps.geometry import scalar_curvature
from ndm_apps.geometry.analytic import Conformal, Euclidean
from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.plugins.generative.fused import log_density_and_score, perceptron_and_pull
from ndm_apps.plugins.generative.model import LatentModel

#: Points whose weights and gradients are worked out together: what is made on the way then stays in the cache.
_CHUNK = 512


class LatentMetric:
    """Metric of the latent space of a model; see :func:`latent_metric`.

    Attributes
    ----------
    model
        The trained model, which is not to change: what is made of it is kept.
    entropy, avoid, density, head
        The strengths :math:`k_e, k_v, k_p, a`.
    keep
        The two classes that paths keep to: a pair, or a tensor (..., 2) of one pair for each of the leading axes of the
        points; None if paths may go through any class.
    labels
        Whether doubt is that of the task head; False: of the head of groups, which was found without labels.
    """

    def __init__(
        self,
        model: LatentModel,
        entropy: float,
        avoid: float,
        density: float,
        head: float,
        keep: Tensor | None,
        labels: bool = True,
    ) -> None:
        self.model, self.entropy, self.avoid, self.density, self.head = model, entropy, avoid, density, head
        self.keep, self.labels = keep, labels
        # 1 for the classes to keep to, 0 for others; one class twice counts once.
        self.kept = None
        if keep is not None:
            self.kept = model.scale.new_zeros(*keep.shape[:-1], model.classes).scatter(-1, keep, 1.0)

    def __call__(self, z: Tensor) -> Tensor:
        """Return g at points (..., d), of shape (..., d, d)."""
        basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device).expand(*z.shape, z.shape[-1])
        # Rows of the transposed Jacobian of f: one for each direction.
        slopes = value_and_derivative(self._amplitudes, rows(z, basis), basis)[1]
        return self.weight(z)[..., None, None] * (basis / self.model.scale + self.head * slopes @ slopes.mT)

    def weight(self, z: Tensor) -> Tensor:
        """Return w at points (..., d), of shape (...); it is 1 where data are and the head has no doubt."""
        log_weight = torch.zeros_like(z[..., 0])
        if self.entropy or self.avoid:
            log_probability = self._doubter(z).log_softmax(-1)
            probability = log_probability.exp()
            log_weight = log_weight - 2 * self.entropy * (probability * log_probability).sum(-1)
            if self.avoid:
                log_weight = log_weight + 2 * self.avoid * (1 - (probability * self._kept(z.shape[:-1])).sum(-1))
        if self.density:
            low, middle = self.model.density_levels
            rarity = torch.sigmoid((low - self.model.log_density(z)) / ((middle - low) / 2))
            log_weight = log_weight + (self.density * rarity).log1p()
        return log_weight.exp()

    def curvature(self, z: Tensor) -> Tensor:
        """Return the scalar curvature at points (..., d), of shape (...)."""
        return scalar_curvature(self, z)

    def part(self, which: Tensor) -> LatentMetric:
        """Return the metrics of some of the paths, where each has its own classes to keep to."""
        if self.keep is None or self.keep.ndim == 1:
            return self
        some = copy.copy(self)
        some.keep, some.kept = self.keep[which], self.kept[which]
        return some

    def _amplitudes(self, z: Tensor) -> Tensor:
        # softmax by its logarithm: the root has no derivative at 0.
        return 2 * (self._doubter(z).log_softmax(-1) / 2).exp()

    def weight_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return w at points (..., d), of shape (...), and its gradient, (..., d); the model must be as it was."""
        flat = z.reshape(-1, z.shape[-1])
        kept = self._kept(z.shape[:-1]).reshape(len(flat), -1).split(_CHUNK) if self.avoid else repeat(None)
        parts = [self._log_weight_and_gradient(*part) for part in zip(flat.split(_CHUNK), kept, strict=False)]
        log_weight, slope = (torch.cat(column) for column in zip(*parts, strict=True))
        weight = log_weight.exp()
        return weight.reshape(z.shape[:-1]), (weight.unsqueeze(-1) * slope).reshape(z.shape)

    def _log_weight_and_gradient(self, z: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        value, slope = [], []
        if self.entropy or self.avoid:
            logits, pull = perceptron_and_pull(self._doubter, z)
            log_probability = logits.log_softmax(-1)
            probability = log_probability.exp()
            entropy = -(probability * log_probability).sum(-1, keepdim=True)
            value.append(2 * self.entropy * entropy)
            by_logits = -2 * self.entropy * (log_probability + entropy)
            if kept is not None:
                share = (probability * kept).sum(-1, keepdim=True)
                value.append(2 * self.avoid * (1 - share))
                by_logits = by_logits - 2 * self.avoid * (kept - share)
            slope.append(pull(probability * by_logits))
        if self.density:
            log_p, score = self._log_density_and_score(z)
            low, middle = self.model.density_levels
            width = (middle - low) / 2
            rarity = torch.sigmoid((low - log_p) / width)
            factor = 1 + self.density * rarity
            value.append(factor.log().unsqueeze(-1))
            slope.append(((rarity - 1) * (1 - 1 / factor) / width).unsqueeze(-1) * score)
        return sum(value, torch.zeros_like(z[:, :1])).squeeze(-1), sum(slope, torch.zeros_like(z))

    @property
    def _doubter(self) -> nn.Sequential:
        return self.model.head if self.labels else self.model.groups

    @cached_property
    def _log_density_and_score(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        return log_density_and_score(self.model.density)

    def _kept(self, shape: torch.Size) -> Tensor:
        """For points (*shape, d), (*shape, classes)."""
        missing = [1] * (len(shape) + 1 - self.kept.ndim)
        return self.kept.reshape(*self.kept.shape[:-1], *missing, -1).expand(*shape, -1)


class ConformalLatentMetric(LatentMetric):
    r"""The case a = 0, where the metric is conformally flat.

    Geodesics then need gradients of w alone, and the scalar curvature has a closed form: with
    :math:`g = e^{2 f} I`, :math:`R = -e^{-2f} (2 (d-1) \Delta f + (d-1)(d-2) |\nabla f|^2)`.
    """

    def __call__(self, z: Tensor) -> Tensor:
        """Return g at points (..., d), of shape (..., d, d)."""
        return torch.diag_embed(self.conformal_weight(z).unsqueeze(-1).expand(z.shape))

    def conformal_weight(self, z: Tensor) -> Tensor:
        """Return the factor of the identity, w / s^2, at points (..., d), of shape (...)."""
        return self.weight(z) / self.model.scale

    def conformal_weight_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return w / s^2 at points (..., d), of shape (...), and its gradient, (..., d)."""
        weight, gradient = self.weight_and_gradient(z)
        return weight / self.model.scale, gradient / self.model.scale

    def scalar_curvature(self, z: Tensor) -> Tensor:
        """Return the scalar curvature at points (..., d) in closed form, of shape (...)."""
        return Conformal(lambda x: self.conformal_weight(x).log() / 2, Euclidean(z.shape[-1])).scalar_curvature(z)


def latent_metric(
    model: LatentModel,
    entropy: float = 1.0,
    avoid: float = 0.0,
    density: float = 10.0,
    head: float = 0.0,
    keep: Tensor | tuple[int, int] | None = None,
    labels: bool = True,
) -> LatentMetric:
    r"""Return the metric of a model's latent space.

    Parameters
    ----------
    model
        A trained model, whose ``density_levels`` and ``scale`` are known.
    entropy
        Strength :math:`k_e` of the doubt of the head, in nats.
    avoid
        Strength :math:`k_v` of what keeps a path from classes other than the two of ``keep``; 0: none.
    density
        Strength :math:`k_p` of what keeps a path where codes are: no more than so much is added to the factor 1 there.
    head
        Share a of the Fisher-Rao metric of the head.
    keep
        The two classes that a path keeps to, a pair of integers, or a tensor (..., 2) for points (..., d) with the
        same leading axes; goes with ``avoid``.
    labels
        Whether the head is the one that was told labels; False: the head of groups, found without any.

    Raises
    ------
    ValueError
        If a strength is negative or not finite, labels are asked for that the model does not have, ``avoid`` goes
        without ``keep`` or without labels, or ``keep`` holds what is no class.

    References
    ----------
    Arvanitidis, Hauberg, Schoelkopf, "Geometrically Enriched Latent Spaces", AISTATS 2021, arXiv:2008.00565.

    Examples
    --------
    >>> from ndm_apps.plugins.generative.model_settings import AutoencoderSettings, DensitySettings
    >>> model = LatentModel((4,), 3, AutoencoderSettings(dimension=2, hidden=(8,), flow=0), DensitySettings())
    >>> _ = model.density_levels.copy_(torch.tensor([-5.0, -2.0]))
    >>> metric = latent_metric(model, entropy=0.0)
    >>> metric.weight(torch.tensor([[0.0, 0.0], [9.0, 9.0]])).round(decimals=1)
    tensor([ 2.1000, 11.0000])
    """
    for name, value in (("entropy", entropy), ("avoid", avoid), ("density", density), ("head", head)):
        if not (0 <= value < math.inf):
            raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
        if value and name != "density" and labels and not model.classes:
            raise ValueError(f"{name} must be 0 for a model without labels, got {value!r}")
    if not labels and avoid:
        raise ValueError(f"avoid must be 0 without labels, got {avoid!r}")
    if (keep is None) != (avoid == 0):
        raise ValueError(f"keep must be given with avoid, and only then, got keep = {keep} and avoid = {avoid}")
    if keep is not None:
        keep = torch.as_tensor(keep, device=model.scale.device)
        if keep.is_floating_point() or keep.ndim == 0 or keep.shape[-1] != 2:
            raise ValueError(f"keep must be two classes, or integers of shape (..., 2), got shape {tuple(keep.shape)}")
        if bool(((keep < 0) | (keep >= model.classes)).any()):
            wrong = int(keep[(keep < 0) | (keep >= model.classes)][0])
            raise ValueError(f"keep must hold classes from 0 to {model.classes - 1}, got {wrong}")
    return (LatentMetric if head else ConformalLatentMetric)(model, entropy, avoid, density, head, keep, labels)
