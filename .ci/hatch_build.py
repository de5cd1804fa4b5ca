"""Put tasks/ and configs/ into the wheel; an editable install reads them from the checkout instead."""

from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ShipTasksAndConfigs(BuildHookInterface):
    """Add the two data folders to every wheel that is not editable."""

    def initialize(self, version: str, build_data: dict) -> None:
        """Map ``tasks`` to ``ndm_apps/_tasks`` and ``configs`` to ``ndm_apps/_configs``."""
        if version == "editable":
            return
        for folder in ("tasks", "configs"):
            build_data["force_include"][str(Path(self.root) / folder)] = f"ndm_apps/_{folder}"
