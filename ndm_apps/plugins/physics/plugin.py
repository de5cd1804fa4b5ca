"""The physics plugin as the rest of the suite sees it."""

from ndm_apps.plugins.base import Column, Plugin
from ndm_apps.plugins.physics.kinetic.settings import KineticSettings
from ndm_apps.plugins.physics.schema import PhysicsTask, SpectralSettings

PLUGIN = Plugin(
    domain="physics",
    summary="finds conserved quantities in trajectories, counts the independent ones, writes them as formulas",
    task=PhysicsTask,
    methods={"spectral": SpectralSettings, "kinetic": KineticSettings},
    entry="ndm_apps.plugins.physics.run:run",
    columns=(
        Column("n_conserved", "found", ".0f"),
        Column("n_conserved_true", "true", ".0f"),
        Column("score.spanned", "laws spanned", ".2f", "higher"),
        Column("score.textbook", "textbook", ".2f", "higher"),
        Column("worst_drift", "worst drift", ".1e", "lower"),
        Column("kinetic.curvature.median", "R", ".3f"),
        Column("kinetic.metric_error", "error of g", ".0e", "lower"),
        Column("kinetic.metric_symmetries", "symmetries of g", ".0f"),
        Column("kinetic.metric_symmetries_true", "of g, true", ".0f"),
        Column("kinetic.symmetries", "of g and V", ".0f"),
        Column("kinetic.symmetries_true", "of g and V, true", ".0f"),
        Column("kinetic.momentum_drift", "drift of momenta", ".0e", "lower"),
        Column("kinetic.bound.directions", "at most", ".0f"),
        Column("seconds", "seconds", ".1f"),
    ),
    validation=True,
    demo=("physics/pendulum",),
)
