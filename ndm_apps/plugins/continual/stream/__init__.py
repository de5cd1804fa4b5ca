"""Streams: a data set put into an order, with the truth about where its distribution changes."""

from ndm_apps.plugins.continual.stream.base import ArrayStream, Stream, TestSets
from ndm_apps.plugins.continual.stream.build import build_stream
from ndm_apps.plugins.continual.stream.open import open_stream

__all__ = ["ArrayStream", "Stream", "TestSets", "build_stream", "open_stream"]
