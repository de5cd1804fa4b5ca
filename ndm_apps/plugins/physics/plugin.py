"""The physics plugin as the rest of the suite sees it."""

from ndm_apps.plugins.base import Column, Plugin
from ndm_apps.plugins.physics.schema import PhysicsTask, SpectralSettings

PLUGIN = Plugin(
    domain="physics",
    summary="finds conserved quantities in trajectories, counts the independent ones, writes them as formulas",
    task=PhysicsTask,
    methods={"spectral": SpectralSettings},
    entry="ndm_apps.plugins.physics.run:run",
    columns=(
        Column("n_conserved", "found", ".0f"),
        Column("n_conserved_true", "true", ".0f"),
        Column("worst_drift", "worst drift", ".1e", "lower"),
        Column("seconds", "seconds", ".1f"),
    ),
    demo=("physics/pendulum",),
)
