"""Files that were made up or spoilt: one line, exit status 2, nothing executed. `make chaos` has more."""

import os
from pathlib import Path

import pytest

from tests.chaos.wrong_input import CANARY, Tally, examinations, ndm


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return dict(examinations(tmp_path_factory.mktemp("wrong"), number=6))


@pytest.mark.parametrize(
    "kind",
    [
        "configs", "tasks", "tables of measurements (CSV)", "values of --set", "checkpoints, on --resume",
        "checkpoints, on ndm inspect", "results, on --resume", "configs of runs, on --resume",
    ],
)  # fmt: skip
def test_wrong_input_is_refused_in_one_line_and_never_executed(kind, found):
    tally = found[kind]
    assert tally.wrong == [] and tally.executed == []
    assert tally.refused > 2


def test_executions_and_tracebacks_would_be_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tally = Tally()

    def careless(arguments):
        os.system(f"touch {CANARY}")
        raise KeyError("config")

    monkeypatch.setattr("tests.chaos.wrong_input.main", careless)
    ndm(tally, "check", "anything")
    assert len(tally.wrong) == 1 and "KeyError" in tally.wrong[0]
    assert tally.executed[-1] == CANARY and any("os.system" in one for one in tally.executed)
    assert not Path(CANARY).exists() and tally.refused == 0
