r"""What is known of the noise of samples from laws found before: a new law is judged by the rest of it.

A law P fluctuates along a trajectory by :math:`\nabla P \cdot \epsilon`, with :math:`\epsilon` the noise of the sample.
Of a new function H, the part of its gradient in the span of known ones fluctuates with them. Taken off from both the
residual and the gradient, it leaves

.. math:: \delta^2 = (H - \bar H - \alpha \cdot (P - \bar P))^2 / |\nabla H - \alpha \cdot \nabla P|_\Sigma^2,

with :math:`\alpha` the projection of :math:`\nabla H` in the noise metric. To first order its mean is 1 for a
conserved H as before; but P**2 with a little of a function that is not conserved no longer passes by the noise of P.
To second order noise enters both, so that the median is judged, and less strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.leaf import Mean, Samples, centred

Array = NDArray[np.float64]

_RIDGE = 1e-8


@final
@dataclass(frozen=True)
class Background:
    """Known laws on some samples.

    Attributes
    ----------
    gradients
        In units of the noise, ``(samples, columns, laws)``; each of length one.
    residuals
        Over the same lengths, ``(samples, laws)``.
    inverse
        Inverse of their Gram matrices, ``(samples, laws, laws)``.
    """

    gradients: Array
    residuals: Array
    inverse: Array

    def take(self, rows: NDArray[np.intp]) -> Background:
        """Return that of some samples."""
        return Background(self.gradients[rows], self.residuals[rows], self.inverse[rows])

    def removed(self, residual: Array, gradient: Array) -> tuple[Array, Array]:
        """Return a function's residual and squared gradient (in units of the noise) less what is known."""
        along = np.einsum("mdk,md->mk", self.gradients, gradient)
        share = np.einsum("mkl,ml->mk", self.inverse, along)
        squared = (gradient**2).sum(axis=1) - (share * along).sum(axis=1)
        return residual - (share * self.residuals).sum(axis=1), np.maximum(squared, 0.0)


def background(
    samples: Samples, known: Sequence[Formula], sigma: Array, mean: Mean = "each", *, noisy: bool
) -> Background | None:
    """Return what known laws tell of the noise of some samples; None without any.

    Where lines in time are taken off (``mean``), what grows at a constant rate is known as well as a law.
    """
    if not known:
        return None
    gradients, residuals = [], []
    for formula in known:
        with np.errstate(all="ignore"):
            terms = formula.dictionary.evaluate(samples.values, sigma if noisy else None)
            value = terms.features @ formula.coefficients
            gradient = terms.gradients(formula.coefficients[:, None])[..., 0] * sigma
        size = np.linalg.norm(gradient, axis=1)
        good = np.isfinite(value) & np.isfinite(size) & (size > 0)
        value, size = np.where(good, value, 0.0), np.where(good, size, 1.0)
        weights = np.where(good, 1.0 / np.maximum(size, 0.2 * np.median(size)) ** 2, 0.0)
        rest = centred(samples, value[:, None], weights, "line" if mean == "line" else "each")[:, 0]
        residuals.append(np.where(good, rest / size, 0.0))
        gradients.append(np.where(good[:, None], gradient / size[:, None], 0.0))
    directions = np.stack(gradients, axis=-1)
    gram = np.einsum("mdk,mdl->mkl", directions, directions) + _RIDGE * np.eye(len(known))
    return Background(directions, np.stack(residuals, axis=-1), np.linalg.inv(gram))
