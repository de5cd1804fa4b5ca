"""Generation: an autoencoder whose latent space carries a metric, geodesics on it, and how far to trust the result.

References
----------
Di Zhang, The Neural Differential Manifold, arXiv:2510.25113 (2025).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ndm_apps.plugins.generative.metric import latent_metric as latent_metric
    from ndm_apps.plugins.generative.model import LatentModel as LatentModel
    from ndm_apps.plugins.generative.paths import geodesic_paths as geodesic_paths

_DOORS = {"LatentModel": "model", "geodesic_paths": "paths", "latent_metric": "metric"}
__all__ = ["LatentModel", "geodesic_paths", "latent_metric"]


def __getattr__(name: str) -> object:
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DOORS[name]}"), name)
