"""All faults of the campaign, in order."""

from collections.abc import Iterator
from pathlib import Path

from tests.chaos import delivery, killed, starved, sweeps
from tests.chaos.killed import Fault


def campaign(here: Path) -> Iterator[Fault]:
    """Yield every fault; each is injected in the empty folder ``here``."""
    yield from killed.kills(here)
    yield from killed.signals(here)
    yield from starved.starvation(here)
    yield from starved.clocks(here)
    yield from delivery.deliveries(here)
    yield from sweeps.sweeps(here)
