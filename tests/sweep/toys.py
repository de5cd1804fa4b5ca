"""Plugins' functions that end as no function should; worker processes import them by name."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from ndm_apps.plugins.base import Result
from ndm_apps.sweep import Member, members


def toys(name, seeds, *overrides):
    """Members whose plugin is the function of that name."""
    runs = members("continual/digits", list(overrides), methods=["ndm"], seeds=list(seeds))
    return [
        Member(run.label, replace(run.config, plugin=replace(run.config.plugin, entry=f"tests.sweep.toys:{name}")))
        for run in runs
    ]


def quick(task, method, settings, context):
    context.log("loss", 1.0, 0)
    return Result({"final_accuracy": context.seed / 10, "process": os.getpid()})


def deadly(task, method, settings, context):
    """Be killed with seed 1 every time, with seed 2 the first time; exit with seed 3."""
    with (Path(os.environ["NDM_TOYS"]) / f"attempts-{context.seed}").open("a") as file:
        file.write("+")
        attempt = file.tell()
    if context.seed == 1 or (context.seed == 2 and attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if context.seed == 3:
        raise SystemExit("I am leaving")
    return quick(task, method, settings, context)


def slow(task, method, settings, context):
    """Tell that it runs, and go on for a minute."""
    folder = Path(os.environ["NDM_TOYS"])
    context.log("loss", 1.0, 0)
    (folder / f"started-{context.seed}").write_text(str(os.getpid()))
    try:
        time.sleep(60)
    finally:
        (folder / f"ended-{context.seed}").touch()
    return Result({"final_accuracy": 0.0})


def steady(task, method, settings, context):
    """Take half a second."""
    time.sleep(0.5)
    return quick(task, method, settings, context)
