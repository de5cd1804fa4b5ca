"""The paths that are compared, by name, between codes of images that the judge knows for what they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ndm_apps.errors import InputError
from ndm_apps.geometry import Metric
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.own import own_metric
from ndm_apps.plugins.generative.paths import geodesic_paths, line, slerp
from ndm_apps.plugins.generative.pull_back import pull_back
from ndm_apps.plugins.generative.settings import LatentSettings, MetricSettings

#: What every path is compared with; and what takes a pass of the decoder for every node and step, so that there are
#: fewer pairs of each kind and fewer nodes.
PLAIN, SLOW = ("line", "slerp"), ("pull_back", "pull_back_fisher")
FEW, FEW_NODES = 30, 17
#: How much stronger doubt counts where it is of groups: their borders are not quite where those of classes are.
OF_GROUPS = 2.0
#: What each path is, for tables and captions.
MEANINGS = {
    "line": "straight line",
    "slerp": "great arc",
    "geodesic": "geodesic",
    "avoid": "geodesic that keeps to the two classes",
    "label_free": "geodesic without labels",
    "pull_back": "geodesic of the decoder's surface",
    "pull_back_fisher": "geodesic of the pixels' distributions",
}


class Pairs(NamedTuple):
    """Indices of the images at the ends of paths, and their classes, (pairs, 2) each; the same-class ones first."""

    images: Tensor
    classes: Tensor

    @property
    def same(self) -> Tensor:
        """Which pairs are of one class, (pairs,)."""
        return self.classes[:, 0] == self.classes[:, 1]

    def of(self, name: str) -> Tensor:
        """Return which pairs a kind of path is made for, as indices."""
        index = torch.arange(len(self.images), device=self.images.device)
        if name not in SLOW:
            return index
        return torch.cat([index[kind][:FEW] for kind in (self.same, ~self.same)])


class Walked(NamedTuple):
    """Paths (pairs, nodes, d), whether the solver has converged (None without one), and milliseconds a pair."""

    nodes: Tensor
    converged: Tensor | None
    milliseconds: float


def draw_pairs(labels: Tensor, usable: Tensor, count: int, generator: torch.Generator) -> Pairs:
    """Draw pairs of images, half of them of one class; no image is in two pairs.

    Parameters
    ----------
    labels, usable
        Classes of the images, and which of them may be drawn, (n,).
    count
        How many pairs.

    Raises
    ------
    InputError
        If the images do not suffice.
    """
    index = usable.nonzero()[:, 0]
    index = index[torch.randperm(len(index), generator=generator, device=index.device)]
    half = len(index) // 2
    # Sorted by class, neighbours are mostly of one class; in random order, mostly of two.
    alike = index[:half][labels[index[:half]].argsort(stable=True)]
    found = []
    for part, wanted, same in ((alike, count // 2, True), (index[half:], count - count // 2, False)):
        pairs = part[: len(part) // 2 * 2].reshape(-1, 2)
        pairs = pairs[(labels[pairs[:, 0]] == labels[pairs[:, 1]]) == same]
        if len(pairs) < wanted:
            kind = "one class" if same else "two classes"
            raise InputError(
                f"score.pairs: got {count}, but {len(index)} test images that the judge classifies right make "
                f"{len(pairs)} pairs of {kind}, must be at most {2 * len(pairs)}"
            )
        found.append(pairs[torch.randperm(len(pairs), generator=generator, device=index.device)[:wanted]])
    images = torch.cat(found)
    return Pairs(images, labels[images])


def names(model: LatentModel, settings: LatentSettings) -> tuple[str, ...]:
    """Return the paths of a run, line and great arc first, without those that need labels or images it has not."""
    # Without labels, what remains of ``geodesic`` is ``label_free``.
    without = (() if model.classes else ("avoid", "label_free")) + (() if model.images else ("pull_back_fisher",))
    return PLAIN + tuple(name for name in settings.paths if name not in PLAIN + without)


def metric_of(name: str, model: LatentModel, settings: MetricSettings, classes: Tensor) -> Metric:
    """Return the metric of one of the geodesics; ``classes`` are those of the ends, (pairs, 2)."""
    if name in ("pull_back", "pull_back_fisher"):
        return pull_back(model, "pixels" if name == "pull_back" else "fisher")
    if name == "geodesic" and settings.own is not None:
        return own_metric(settings.own, model.dimension)
    strengths = labelled(model, settings) if name != "label_free" else labelled(model, settings, labels=False)
    if name == "avoid":
        return latent_metric(model, avoid=settings.avoid, keep=classes, **strengths)
    return latent_metric(model, **strengths)


def labelled(model: LatentModel, settings: MetricSettings, labels: bool = True) -> dict[str, float]:
    """Return the strengths of the metric, and whether its doubt is of classes: where labels are known, and wanted."""
    known = labels and model.classes > 0
    return {
        "entropy": settings.entropy if known else OF_GROUPS * settings.entropy,
        "density": settings.density,
        "head": settings.head,
        "labels": known,
    }


def walked(
    name: str, model: LatentModel, settings: LatentSettings, x: Tensor, y: Tensor, classes: Tensor, nodes: int
) -> Walked:
    """Return the paths of one kind between points x and y, (pairs, d)."""
    began = time.perf_counter()
    converged = None
    if name in PLAIN:
        plain: Callable[[Tensor, Tensor, int], Tensor] = line if name == "line" else slerp
        paths = plain(x, y, nodes)
    else:
        metric = metric_of(name, model, settings.metric, classes)
        found = geodesic_paths(metric, x, y, FEW_NODES if name in SLOW else nodes)
        paths, converged = found.points, found.converged
    return Walked(paths.detach(), converged, 1e3 * (time.perf_counter() - began) / len(x))
