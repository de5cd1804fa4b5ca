"""The continual-learning plugin as the rest of the suite sees it."""

from ndm_apps.plugins.base import Column, Plugin
from ndm_apps.plugins.continual.baselines.settings import METHODS
from ndm_apps.plugins.continual.schema import ContinualTask
from ndm_apps.plugins.continual.settings import TRAINED, NDMSettings

PLUGIN = Plugin(
    domain="continual",
    summary="learns from streams without boundaries or exemplars, detects shifts on curvature, grows charts",
    task=ContinualTask,
    methods={"ndm": NDMSettings, **TRAINED, **METHODS},
    entry="ndm_apps.plugins.continual.run:run",
    inspect="ndm_apps.plugins.continual.inspect:inspect",
    columns=(
        Column("final_accuracy", "accuracy", ".4f", "higher"),
        Column("prequential_accuracy", "prequential accuracy", ".4f", "higher"),
        Column("rules.shared", "shared read-out", ".4f", "higher"),
        Column("rules.hard", "hard routing", ".4f", "higher"),
        Column("forgetting", "forgetting", ".4f", "lower"),
        Column("stored_exemplars", "exemplars", ".0f", "lower"),
        Column("charts", "charts", ".1f"),
        Column("shift.recall_abrupt", "jumps found", ".2f", "higher"),
        Column("shift.median_delay_abrupt", "delay (samples)", ".0f", "lower"),
        Column("shift.recall_gradual", "blends found", ".2f", "higher"),
        Column("shift.false_alarms_per_10k", "false alarms / 10k", ".1f", "lower"),
        Column("seconds", "seconds", ".1f"),
    ),
    validation=True,
    demo=("continual/digits",),
)
