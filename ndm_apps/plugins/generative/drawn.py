"""Which pictures a generative run has, from what its evaluation holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndm_apps.geometry import GeodesicWarning
from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.generative import pictures, samples, trust
from ndm_apps.plugins.generative.clusters import class_means
from ndm_apps.plugins.generative.compared import MEANINGS, Pairs, labelled, walked
from ndm_apps.plugins.generative.data import Split
from ndm_apps.plugins.generative.latent_map import latent_map
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.scores import Even, Reference, decoded, nearest
from ndm_apps.plugins.generative.settings import LatentSettings

#: Paths in the strips, pairs of each kind there, and images of each path.
STRIPS, SAME, DIFFERENT, COLUMNS = ("line", "slerp", "geodesic", "label_free"), 2, 4, 12
#: Images of each class that are averaged.
AVERAGED = 6


def of_paths(paths: Mapping[str, Even], pairs: Pairs, reference: Reference, low: float) -> dict[str, Picture]:
    """Return the strips of some pairs, and means along the paths of all pairs of two classes.

    Parameters
    ----------
    paths
        By name, evenly taken.
    pairs
        Whose images they join.
    reference
        Real images.
    low
        Confidence below which the judge is in doubt.
    """
    different = (~pairs.same).nonzero()[:, 0]
    chosen = [*pairs.same.nonzero()[:SAME, 0].tolist(), *different[:DIFFERENT].tolist()]
    shown = [name for name in STRIPS if name in paths]
    of_two = {name: (~pairs.same)[pairs.of(name)] for name in paths}
    found = {}
    if next(iter(paths.values())).images.ndim == 5:
        points = next(iter(paths.values())).z.shape[1]
        columns = torch.linspace(0, points - 1, min(COLUMNS, points)).round().long()
        found["strips"] = pictures.strips(
            [
                {
                    MEANINGS[name]: (
                        _array(paths[name].images[pair, columns]),
                        _array(paths[name].reading.confidence[pair, columns]),
                    )
                    for name in shown
                }
                for pair in chosen
            ],
            low,
            f"The first {SAME} pairs of one class and {DIFFERENT} of two, unselected.",
        )
    found["profiles"] = pictures.profiles(
        {MEANINGS[name]: _array(one.reading.confidence[of_two[name]]) for name, one in paths.items()},
        {
            MEANINGS[name]: _array(nearest(one.images[of_two[name]].flatten(2), reference.pixels))
            for name, one in paths.items()
        },
    )
    return found


def of_samples(model: LatentModel, values: Mapping[str, Any], shown: Mapping[str, Tensor]) -> dict[str, Picture]:
    """Return the grid of samples, if they are images; ``shown`` holds points (n, d) of each way to draw them."""
    if not model.images:
        return {}
    titles = {name: f"{samples.MEANINGS[name]}: {values[name]['frechet']:.1f}" for name in values}
    return {
        "samples": pictures.sample_grid(
            {name: _array(decoded(model.decode, shown[name].to(model.scale))) for name in titles}, titles
        )
    }


def of_trust(values: Mapping[str, Any]) -> dict[str, Picture]:
    """Return how well each score tells bad samples."""
    told = "samples of the density of codes"
    return {"trust": pictures.trust_bars(values["images"]["density"]["auroc"], trust.MEANINGS, told)}


def of_latent_space(
    model: LatentModel, settings: LatentSettings, code: Tensor, labels: Tensor, nodes: int
) -> dict[str, Picture]:
    """Return the map of the plane through the codes of three images of different classes, or of two of two.

    Parameters
    ----------
    code, labels
        Codes of real images (n, d) in the order to choose from, and their classes (n,).
    nodes
        Of a path.
    """
    corners = _corners(labels)
    if code.shape[1] < 2 or len(corners) < 3:
        return {}
    ends = torch.tensor([(0, 1), (1, 2), (0, 2)], device=code.device)
    x, y = code[corners][ends].unbind(1)
    names = ["line", "slerp", *(["geodesic"] if "geodesic" in settings.paths else [])]
    paths = {MEANINGS[name]: walked(name, model, settings, x, y, labels[corners][ends], nodes).nodes for name in names}
    metric = latent_metric(model, **labelled(model, settings.metric))
    told = tuple(str(int(label)) for label in labels[corners])
    return {"latent_map": latent_map(model, metric, code[corners], told, paths)}


def of_classes(model: LatentModel, settings: LatentSettings, split: Split, code: Tensor) -> dict[str, Picture]:
    """Return the mean of some images of each class, in the geodesics' metric, of codes, and of pixels.

    Parameters
    ----------
    code
        Codes of the test images, (n, d).
    """
    if not model.images or "geodesic" not in settings.paths:
        return {}
    labels = split.y_test.unique()
    index = torch.cat([(split.y_test == label).nonzero()[:AVERAGED, 0] for label in labels])
    z, of = code[index], split.y_test[index]
    metric = latent_metric(model, **labelled(model, settings.metric))
    with warnings.catch_warnings():
        # The caption tells it.
        warnings.simplefilter("ignore", GeodesicWarning)
        found = class_means(metric, z, of)
    means = {
        "geodesic mean": decoded(model.decode, found.point),
        "mean of codes": decoded(model.decode, torch.stack([z[of == label].mean(0) for label in labels])),
        "mean of pixels": torch.stack([split.x_test[index][of == label].mean(0) for label in labels]),
    }
    restless = int((~found.converged).sum())
    return {"class_means": pictures.class_means({name: _array(one) for name, one in means.items()}, AVERAGED, restless)}


def _corners(labels: Tensor) -> Tensor:
    """Return the first three images, of three classes where there are as many."""
    first = [int((labels == label).nonzero()[0, 0]) for label in labels.unique()]
    chosen = sorted(first)[:3]
    rest = [index for index in range(len(labels)) if index not in chosen]
    return torch.tensor(chosen + rest[: 3 - len(chosen)], device=labels.device)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
