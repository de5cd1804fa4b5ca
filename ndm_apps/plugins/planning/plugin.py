"""The planning plugin as the rest of the suite sees it."""

from ndm_apps.plugins.base import Column, Plugin
from ndm_apps.plugins.planning.schema import PlanningTask
from ndm_apps.plugins.planning.settings import METHODS

PLUGIN = Plugin(
    domain="planning",
    summary="learns the dynamics of an environment as a field with a metric, and acts along least-action paths on it",
    task=PlanningTask,
    methods=METHODS,
    entry="ndm_apps.plugins.planning.run:run",
    columns=(
        Column("mean_return", "return", ".2f", "higher"),
        Column("success_rate", "success", ".2f", "higher"),
        Column("ratio_to_optimum", "x optimum", ".3f", "lower"),
        Column("environment_steps", "steps learnt from", ".0f", "lower"),
        Column("plan_ms_median", "ms a step (median)", ".2f", "lower"),
        Column("plan_ms_mean", "ms a step (mean)", ".2f", "lower"),
        Column("seconds", "seconds", ".1f"),
    ),
    validation=True,
    demo=("planning/pendulum",),
)
