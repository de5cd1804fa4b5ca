"""The head of groups: doubt in the latent space that no label has a part in."""

from __future__ import annotations

import warnings

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from ndm_apps.plugins.generative.autoencoder import Code
from ndm_apps.plugins.generative.head import distil
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.model_settings import HeadSettings

#: Times that k-means starts; the closest groups are kept.
_STARTS = 2


def train_groups(model: LatentModel, code: Code, images: Tensor, settings: HeadSettings, *, seed: int) -> None:
    """Train the head of groups: as the task head, but groups of codes stand for the classes.

    Images whose codes lie together are alike. A classifier learns from images which group each is of, and is in doubt
    about an image between groups, which is like none or like several: mostly one that is not real. The borders of
    groups run through real images as well, where its doubt is misplaced but narrow; divided by a temperature, its
    logits tell of doubt long before it tips over. Nothing else is known of the images: no label, no other data, nothing
    trained on these.

    Parameters
    ----------
    model
        Its decoder is trained; its head of groups will be.
    code
        Codes of all training images, between which points are taken.
    images
        The first of these, (n, *shape): the classifier is trained on them.
    settings
        How; those of the task head hold here, too.
    seed
        Of the groups, the classifier, the points, and the order of both.

    References
    ----------
    Caron, Bojanowski, Joulin and Douze, "Deep clustering for unsupervised learning of visual features", 2018,
    arXiv:1807.05520.
    """
    groups = groups_of(code.mean[: len(images)], settings.groups, seed=seed)
    distil(model, model.groups, code, images, groups, settings, seed=seed, temperature=settings.temperature)


def groups_of(z: Tensor, count: int, *, seed: int) -> Tensor:
    """Return the group of each of some points (n, d), (n,), from 0 to ``count`` - 1, by k-means.

    Where there are fewer different points than groups, some groups are empty.

    Examples
    --------
    >>> groups_of(torch.tensor([[0.0], [9.0], [0.1], [9.1]]), 2, seed=0).diff().abs().tolist()
    [1, 1, 1]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # points that are the same make fewer groups
        found = KMeans(min(count, len(z)), n_init=_STARTS, random_state=seed).fit(z.detach().cpu().numpy())
    return torch.as_tensor(found.labels_, dtype=torch.long, device=z.device)
