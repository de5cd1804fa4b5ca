"""The generative plugin as the rest of the suite sees it."""

from ndm_apps.plugins.base import Column, Plugin
from ndm_apps.plugins.generative.schema import GenerativeTask
from ndm_apps.plugins.generative.settings import METHODS

PLUGIN = Plugin(
    domain="generative",
    summary="learns a latent space with a metric, interpolates along its geodesics, samples it, and says what to trust",
    task=GenerativeTask,
    methods=METHODS,
    entry="ndm_apps.plugins.generative.run:run",
    inspect="ndm_apps.plugins.generative.inspect:inspect",
    columns=(
        Column("interpolation.geodesic.different.low", "low confidence, geodesic", ".3f", "lower"),
        Column("interpolation.line.different.low", "line", ".3f"),
        Column("interpolation.slerp.different.low", "slerp", ".3f"),
        Column("interpolation.geodesic.different.nearest", "to real images", ".3f", "lower"),
        Column("samples.density.frechet", "Fréchet, density", ".1f", "lower"),
        Column("samples.prior.frechet", "Fréchet, prior", ".1f", "lower"),
        Column("interpolation.geodesic.milliseconds", "ms a pair", ".1f", "lower"),
        Column("interpolation.geodesic.converged", "converged", ".2f", "higher"),
        Column("train_seconds", "training seconds", ".0f", "lower"),
    ),
    demo=("generative/digits",),
    validation=True,
)
