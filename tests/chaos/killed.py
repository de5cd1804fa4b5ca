"""Faults of the first kind: a run that is killed at once, or told to end, at a chosen moment."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.moments import HalfWritten, Moment, Send
from tests.chaos.verdict import Verdict, strike

#: What a fault is called, what it strikes, and the function that injects it.
Fault = tuple[str, str, Callable[[], Verdict]]

LOG = "ndm_apps.run_files:MetricsLog.log"
DUE = "ndm_apps.run_files:RunCheckpoint.due"
SAVE = "ndm_apps.run_files:RunCheckpoint.save"
SECURE = "ndm_apps.files:_secure"  # a temporary file is written by then, and has not its name yet
RENAME = "os:replace"
PLUGINS = ("continual", "physics", "planning", "supervised")
#: A checkpoint in the middle of the run; physics, which takes a second, saves at its end only.
MIDDLE = {"continual": 4, "physics": 1, "planning": 2, "supervised": 3}
FIGURE = {"continual": "timeline", "physics": "spectrum", "planning": "phase", "supervised": "reliability"}
HELD = "interrupted; the run stops as soon as it has saved"
GO_ON = "go on with\n  ndm run "


@dataclass(frozen=True)
class TornLine:
    """Begin a line of the log, and die."""

    def __call__(self, log: Any, *_: Any) -> None:
        log._file.write(b'{"name": "accur')
        log._file.flush()
        Send()()


def moments(plugin: str) -> dict[str, Moment]:
    """Return when a run of a plugin is killed, in words."""
    middle = MIDDLE[plugin]
    return {
        "while it writes its config": Moment(SECURE, HalfWritten(), about=".config.yaml-"),
        "before its first checkpoint": Moment(SAVE, Send()),
        "in the middle of a line of its log": Moment(LOG, TornLine(), middle if plugin != "physics" else 1),
        "while it writes a checkpoint": Moment(SECURE, HalfWritten(), middle, about=".state.safetensors-"),
        "before a checkpoint gets its name": Moment(RENAME, Send(), middle, about=".state.safetensors-"),
        "right after a checkpoint": Moment(SAVE, Send(), middle, after=True),
        "before it writes its result": Moment("ndm_apps.run:write_result", Send()),
        "while it writes a figure": Moment(SECURE, HalfWritten(), about=f".{FIGURE[plugin]}"),
        "while it writes its result": Moment(SECURE, HalfWritten(), about=".result.json-"),
        "between its result and its page": Moment("ndm_apps.report:write_run_page", Send()),
        "while it writes its page": Moment(SECURE, HalfWritten(), about=".report.html-"),
    }


def kills(here: Path) -> Iterator[Fault]:
    """Yield what kills a run at each of its moments."""
    for plugin in PLUGINS:
        for name, moment in moments(plugin).items():
            if plugin in ("physics", "planning") and name.endswith(("figure", "page")):
                continue  # figures and pages are written by the runner, for all plugins in the same way
            yield f"kill -9 of a run {name}", plugin, partial(strike, here, plugin, moment)


def signals(here: Path) -> Iterator[Fault]:
    """Yield the faults that let a run end in order: it saves, and says how to go on."""
    for plugin in PLUGINS:
        saves = plugin in ("continual", "supervised")  # the others have no state in between
        for name, sent in (("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM)):
            moment = Moment(DUE, Send(sent), 5, after=True) if saves else Moment(LOG, Send(sent), after=True)
            says = (HELD, GO_ON) if saves else (GO_ON,)
            yield name, plugin, partial(strike, here, plugin, moment, status=130, says=says)
    twice = Moment(DUE, Twice(), 5, after=True)
    yield "Ctrl-C, and once more", "continual", partial(strike, here, "continual", twice, status=130, says=(GO_ON,))


@dataclass(frozen=True)
class Twice:
    """Ctrl-C, pressed twice."""

    def __call__(self, *_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
