"""The paper's network trained by gradient on a stream: one NDM per chart, grown at alarms, old ones frozen."""

from ndm_apps.plugins.continual.trained.strategy import TrainedNDMStrategy

__all__ = ["TrainedNDMStrategy"]
