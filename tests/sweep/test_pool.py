import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ndm_apps.sweep import sweep
from tests.sweep.toys import toys


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch):
    """Folder in which the toys leave word."""
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv("NDM_TOYS", str(folder))
    return folder


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.05)


def test_runs_that_kill_their_worker_or_exit_leave_the_others_alone(tmp_path, notes):
    outcomes = sweep(toys("deadly", range(6)), tmp_path / "sweep", jobs=2, track=False)
    assert [outcome.result and outcome.result["final_accuracy"] for outcome in outcomes] == [
        0,
        None,
        0.2,
        None,
        0.4,
        0.5,
    ]
    assert outcomes[1].reason == "its worker died 4 times: SIGKILL(-9)"
    assert outcomes[3].reason.startswith("SystemExit: I am leaving")
    attempts = [len((notes / f"attempts-{seed}").read_text()) for seed in range(6)]
    assert attempts == [1, 4, 2, 1, 1, 1]
    assert os.getpid() not in {outcome.result["process"] for outcome in outcomes if outcome.result}
    failed = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["failed"]
    assert failed == {outcome.label: outcome.reason for outcome in outcomes if outcome.result is None}


DRIVER = """
import sys
from pathlib import Path
from ndm_apps.sweep import sweep
from tests.sweep.toys import toys
sweep(toys("slow", range(2)), Path(sys.argv[1]), jobs=2, track=False)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_runs_end_in_order_with_their_driver(number, tmp_path, notes):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "sweep")], stderr=subprocess.DEVNULL)
    until(lambda: len(list(notes.glob("started-*"))) == 2 or driver.poll() is not None)
    workers = [int(file.read_text()) for file in notes.glob("started-*")]
    driver.send_signal(number)
    assert driver.wait(timeout=60) != 0
    until(lambda: len(list(notes.glob("ended-*"))) == 2)
    until(lambda: not any(os.path.exists(f"/proc/{worker}/cmdline") for worker in workers))
    # Nothing of the interrupted runs keeps the next driver out.
    outcomes = sweep(toys("quick", range(2)), tmp_path / "sweep", track=False)
    assert [outcome.result["final_accuracy"] for outcome in outcomes] == [0.0, 0.1]
