"""Runs the campaign: ``python -m tests.chaos [--only TEXT] [--write]``, such as ``--only "wrong input"``."""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ndm_apps.files import write_text
from tests.chaos.campaign import campaign
from tests.chaos.table import faults_table, input_table
from tests.chaos.verdict import Verdict
from tests.chaos.wrong_input import examinations

RELIABILITY = Path("results/reliability")
WRONG_INPUT = "wrong input"
EACH = 50  # inputs of each kind


def main(arguments: Sequence[str]) -> int:
    """Do all that is asked for; return 1 if a fault was not survived, or input was not refused as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--only", default="", help="faults whose name, with what it strikes, holds this text")
    parser.add_argument("--write", action="store_true", help="write faults.md and bad_input.md in results/reliability")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        well = faults(Path(scratch) / "fault", chosen.only, write=chosen.write)
        if chosen.only in WRONG_INPUT:
            well &= wrong_inputs(Path(scratch), write=chosen.write)
    return int(not well)


def faults(here: Path, only: str, *, write: bool) -> bool:
    """Inject the faults in turn, and return whether all were survived."""
    found: list[tuple[str, str, Verdict]] = []
    for name, struck, inject in campaign(here):
        if only not in f"{name}: {struck}":
            continue
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir()
        began = time.monotonic()
        verdict = _verdict(inject)
        found.append((name, struck, verdict))
        told = "" if verdict.survived else f"NOT SURVIVED: {verdict}"
        print(f"{len(found):3} {name}: {struck} ({time.monotonic() - began:.1f} s) {told}", flush=True)
        if write:
            write_text(RELIABILITY / "faults.md", faults_table(found))
    if found:
        print(faults_table(found))
    return all(verdict.survived for *_, verdict in found)


def wrong_inputs(scratch: Path, *, write: bool) -> bool:
    """Examine wrong input of every kind, and return whether all was refused in one line and none executed."""
    here = scratch / "input"
    here.mkdir()
    found = []
    for name, tally in examinations(here, EACH):
        found.append((name, tally))
        print(f"{name}: {tally.refused} refused", *tally.wrong, *tally.executed, sep="\n  ", flush=True)
    text = input_table(found)
    print(text)
    if write:
        write_text(RELIABILITY / "bad_input.md", text)
    return not any(tally.wrong or tally.executed for _, tally in found)


def _verdict(inject: Callable[[], Verdict]) -> Verdict:
    """Return the verdict on a fault; that something went wrong about it counts against us."""
    try:
        return inject()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        return Verdict(hit=False, lost=False, half=(), same=False, told=repr(error))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
