"""Pooled responses of images to a dictionary of whitened patches, learnt without labels."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize, softshrink

from ndm_apps.plugins.continual.immersion.base import Immersion

# Responses are computed for so many numbers and filters at a time: they stay in the processor's cache.
CHUNK, BLOCK = 2**18, 256
# Patches that a dictionary is learnt from.
PATCHES = 100_000


class PatchDictionary(Immersion):
    r"""Immerse images by their pooled responses to a dictionary of patches.

    For each patch q of an image (at all positions), with mean and variance over its pixels of all channels,

    .. math:: \tilde q = \frac{q - \bar q}{\sqrt{\operatorname{var} q + c}}, \quad
        z_k = d_k^\top Z (\tilde q - m), \quad
        r_k^\pm = \max(\pm z_k - \alpha, 0), \quad
        \psi_{k, \pm, \text{cell}} = \Bigl(\operatorname*{mean}_{\text{cell}} r_k^\pm\Bigr)^p,

    with m the mean and :math:`Z = (\Sigma + \epsilon I)^{-1/2}` the whitening of the normalised patches of the first
    samples, and :math:`d_1 \dots d_K` the dictionary, of length one: the centres of a spherical k-means of the whitened
    patches (up to their signs), whitened patches drawn at random, or random directions. Cells are those of square grids
    laid over the positions, plain or as overlapping Gaussian windows.

    With ``mirror`` the features are :math:`(\psi(x) + \psi(Jx)) / \sqrt 2`, J the reflection left-right. The best
    linear read-out (ridge or LDA) of :math:`[\psi(x), \psi(Jx)]` trained on all images and their mirror images is
    unchanged by swapping the two parts, thus a function of their sum alone: the invariant features give the same
    classifier at half the width, and without the second pass over the data.

    Parameters
    ----------
    patch
        Side of the patches.
    filters
        K. If the first samples have fewer patches than that, random directions fill the dictionary up.
    dictionary
        ``"kmeans"``, ``"patches"`` or ``"random"``.
    contrast
        c, relative to the variance of all pixels of the first samples.
    whitening
        :math:`\epsilon`.
    threshold
        :math:`\alpha`.
    pool
        Sides of the grids.
    smoothing
        Standard deviation of the Gaussian windows that stand in for the cells, in sides of a cell; 0 for plain cells.
    power
        p.
    mirror
        Add up each image and its mirror image.
    resize
        Side that images are brought to first, bilinearly; None for their own size.
    seed
        Seed of the patches drawn and of k-means.
    samples
        How many first samples :meth:`fit` wants.

    References
    ----------
    Coates, Lee and Ng, "An analysis of single-layer networks in unsupervised feature learning", AISTATS 2011.
    Coates and Ng, "The importance of encoding versus training with sparse coding and vector quantization", ICML 2011.

    Examples
    --------
    >>> images = torch.rand(20, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> immersion = PatchDictionary(patch=3, filters=5, pool=(2,))
    >>> immersion.fit(images)
    >>> immersion(images).shape  # 5 filters, 2 signs, 4 cells
    torch.Size([20, 40])
    """

    centre: Tensor
    contrast: Tensor
    bank: Tensor
    cells: Tensor

    def __init__(
        self,
        *,
        patch: int = 7,
        filters: int = 96,
        dictionary: Literal["kmeans", "patches", "random"] = "kmeans",
        contrast: float = 0.1,
        whitening: float = 0.2,
        threshold: float = 0.15,
        pool: tuple[int, ...] = (4,),
        smoothing: float = 0.4,
        power: float = 0.5,
        mirror: bool = False,
        resize: int | None = None,
        seed: int = 0,
        samples: int = 2000,
    ) -> None:
        super().__init__(samples)
        for name, value in (("patch", patch), ("filters", filters), ("pool", min(pool, default=0)), ("resize", resize)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, number in (("contrast", contrast), ("whitening", whitening), ("power", power)):
            if not 0 < number < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {number}")
        for name, number in (("threshold", threshold), ("smoothing", smoothing)):
            if not 0 <= number < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {number}")
        if dictionary not in ("kmeans", "patches", "random"):
            raise ValueError(f"dictionary must be 'kmeans', 'patches' or 'random', got {dictionary!r}")
        self.patch, self.filters, self.dictionary, self.pool = patch, filters, dictionary, tuple(pool)
        self.relative_contrast, self.whitening, self.threshold, self.power = contrast, whitening, threshold, power
        self.smoothing, self.mirror, self.resize, self.seed = smoothing, mirror, resize, seed
        for name in ("centre", "contrast", "bank", "cells"):
            self.register_buffer(name, None)

    def _fit(self, x: Tensor) -> None:
        x = self._images(x)
        rows, columns = (side - self.patch + 1 for side in x.shape[-2:])
        if min(rows, columns) < 1:
            raise ValueError(f"patch: got {self.patch}, images have {tuple(x.shape[-2:])} pixels")
        if max(self.pool) > min(rows, columns):
            raise ValueError(f"pool: got {max(self.pool)}, there are only {rows} x {columns} positions of patches")
        generator = torch.Generator().manual_seed(self.seed)
        self.centre = x.mean()
        variance = x.var(correction=0)
        # Images without any contrast (but for rounding) have nothing to be relative to.
        rounding = (10 * torch.finfo(x.dtype).eps * x.abs().max()).square()
        self.contrast = self.relative_contrast * (variance if variance > rounding else torch.ones_like(variance))
        patches = self._sample(x, generator)
        mean = patches.mean(0)
        patches = patches - mean
        values, vectors = torch.linalg.eigh(patches.mT @ patches / len(patches))
        whitener = (vectors / (values.clamp(min=0) + self.whitening).sqrt()) @ vectors.mT
        atoms = self._learn(patches @ whitener, generator)
        bank = atoms @ whitener
        # A patch's own mean goes into the bank and m into an extra row: z = [q / s, 1] bank.
        offset = bank @ mean
        bank = bank - bank.mean(1, keepdim=True)
        if self.mirror:
            mirrored = bank.view(-1, x.shape[1], self.patch, self.patch).flip(-1).flatten(1)
            bank, offset = torch.cat([bank, mirrored]), torch.cat([offset, offset])
        self.bank = torch.cat([bank, -offset[:, None]], 1).mT.contiguous()
        self.cells = torch.cat([_grid(rows, columns, side, self.smoothing) for side in self.pool]).to(x)

    def _sample(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw normalised patches ``(patches, channels * patch * patch)`` of all images."""
        views = x.unfold(2, self.patch, 1).unfold(3, self.patch, 1)
        n, _, rows, columns = views.shape[:4]
        total = n * rows * columns
        # Each image gives as many, as far as that goes.
        drawn = (torch.rand(min(total, PATCHES), generator=generator, dtype=torch.float64) * total).long()
        drawn = drawn.to(x.device)
        patches = views[drawn // (rows * columns), :, drawn // columns % rows, drawn % columns].flatten(1)
        patches = patches - patches.mean(1, keepdim=True)
        return patches / (patches.square().mean(1, keepdim=True) + self.contrast).sqrt()

    def _learn(self, patches: Tensor, generator: torch.Generator) -> Tensor:
        """Return the dictionary ``(filters, pixels)``, rows of length one."""
        noise = torch.randn(self.filters, patches.shape[1], generator=generator, dtype=torch.float64).to(patches)
        if self.dictionary == "random":
            return normalize(noise)
        order = torch.randperm(len(patches), generator=generator).to(patches.device)
        atoms = patches[order[: self.filters]]
        atoms = torch.where(atoms.norm(dim=1, keepdim=True) > 0, atoms, noise[: len(atoms)])
        atoms = normalize(torch.cat([atoms, noise[len(atoms) :]]))
        if self.dictionary == "patches":
            return atoms
        for _ in range(10):
            sums = torch.zeros_like(atoms)
            for part in torch.split(patches, 10_000):
                response = part @ atoms.mT
                index = response.abs().argmax(1)
                sums.index_add_(0, index, part * response.gather(1, index[:, None]).sign())
            atoms = torch.where(sums.norm(dim=1, keepdim=True) > 0, normalize(sums), atoms)
        return atoms

    def _images(self, x: Tensor) -> Tensor:
        """Bring samples to ``(batch, channels, height, width)`` of the wanted size."""
        if x.ndim not in (3, 4):
            raise ValueError(
                f"x: got samples of shape {tuple(x.shape[1:])}, must be images ([channels,] height, width)"
            )
        x = x[:, None] if x.ndim == 3 else x
        if self.resize is None:
            return x
        return interpolate(x, size=(self.resize, self.resize), mode="bilinear", antialias=True, align_corners=False)

    def _map(self, x: Tensor) -> Tensor:
        x = self._images(x) - self.centre
        if torch.compiler.is_exporting():
            return self._respond(x)
        positions = (x.shape[2] - self.patch + 1) * (x.shape[3] - self.patch + 1)
        chunk = max(1, CHUNK // (positions * min(self.bank.shape[1], BLOCK)))
        out = x.new_empty(len(x), 2 * self.filters * len(self.cells))
        for start in range(0, len(x), chunk):
            out[start : start + chunk] = self._respond(x[start : start + chunk])
        return out

    def _respond(self, x: Tensor) -> Tensor:
        h, channels = self.patch, x.shape[1]
        views = x.unfold(2, h, 1).unfold(3, h, 1)
        rows, columns = views.shape[2:4]
        patches = views.permute(1, 4, 5, 0, 2, 3).reshape(channels * h * h, -1)
        mean = patches.mean(0)
        variance = patches.square().mean(0) - mean.square()
        scale = (variance.clamp(min=0) + self.contrast).rsqrt()
        patches = torch.cat([patches * scale, torch.ones_like(scale)[None]])
        differences, totals = [], []
        for block in torch.split(self.bank, BLOCK, 1):
            response = softshrink(patches.mT @ block, self.threshold).view(-1, rows * columns, block.shape[1])
            differences.append(self.cells @ response)
            totals.append(self.cells @ response.abs_())
        difference, total = torch.cat(differences, -1), torch.cat(totals, -1)
        pooled = torch.stack([total + difference, total - difference], 2).div_(2).clamp_(min=0).pow(self.power)
        return (self._with_mirror_image(pooled) if self.mirror else pooled).flatten(1)

    def _with_mirror_image(self, psi: Tensor) -> Tensor:
        """Add ``psi(x)`` and ``psi(Jx)`` from ``(batch, cells, 2, filters and mirrored filters)``."""
        order, start = [], 0
        for side in self.pool:
            grid = torch.arange(start, start + side * side, device=psi.device).view(side, side)
            order.append(grid.flip(1).flatten())
            start += side * side
        return (psi[..., : self.filters] + psi[:, torch.cat(order), :, self.filters :]) / 2**0.5


def _grid(rows: int, columns: int, side: int, smoothing: float) -> Tensor:
    """Return weights ``(side * side, rows * columns)`` that average positions within the cells of a square grid."""
    along_rows, along_columns = _windows(rows, side, smoothing), _windows(columns, side, smoothing)
    return torch.einsum("ir,jc->ijrc", along_rows, along_columns).reshape(side * side, rows * columns)


def _windows(length: int, count: int, smoothing: float) -> Tensor:
    """Return averages ``(count, length)`` over windows that cover a line evenly and symmetrically.

    Plain windows share a position with their neighbours where the count does not divide the length.
    """
    number, position = torch.arange(count)[:, None], torch.arange(length, dtype=torch.float64)
    if smoothing:
        centre = (number + 0.5) * length / count - 0.5
        return torch.softmax(-0.5 * ((position - centre) / (smoothing * length / count)).square(), 1)
    start, stop = number * length // count, -(-(number + 1) * length // count)
    inside = ((position >= start) & (position < stop)).double()
    return inside / inside.sum(1, keepdim=True)
