"""Settings of the baselines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ndm_apps.plugins.base import Settings


class NaiveSettings(Settings):
    """Fine-tuning of a multilayer perceptron: plain SGD on the stream (Avalanche's ``Naive``)."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(max_length=10)] = (400, 400)
    learning_rate: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class ReplaySettings(NaiveSettings):
    """Experience replay: the same network and optimiser, with a reservoir of stored exemplars.

    Each mini-batch of the stream is joined by ``replayed`` exemplars drawn from a reservoir of ``exemplars``.
    """

    exemplars: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    replayed: Annotated[int, Field(ge=1, le=65536)] = 32


class StreamingLDASettings(Settings):
    """Avalanche's ``StreamingLDA`` on the inputs themselves (Hayes and Kanan 2020): no lift, no charts."""

    shrinkage: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-2
