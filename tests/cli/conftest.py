"""Fixtures of the command line: a working folder, a call of a command, runs that take no time."""

import pytest

from ndm_apps import run as runner
from ndm_apps.cli import main
from ndm_apps.plugins.base import Result

GOOD = "task: continual/digits\nmethod: ndm\nseed: 3\nmethods:\n  ndm: {shrinkage: 0.1}\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder of the test's own, with a valid config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NDM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def ndm(here, capsys):
    """Function that runs a command line and returns status, output and errors."""

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return call


@pytest.fixture
def refused(ndm, here):
    """Function that runs a command line that must be refused in one line, and returns that line."""

    def call(*arguments):
        before = sorted(here.rglob("*"))
        status, out, err = ndm(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: ") and err.count("\n") == 1 and err[:-1].isprintable()
        assert sorted(here.rglob("*")) == before
        return err

    return call


@pytest.fixture
def quick(monkeypatch):
    """Runs that take no time, and have something to tell."""

    def function(task, method, settings, context):
        context.log("loss", 1.0, 0)
        context.progress(1, 1, "[red]not markup[/]")
        return Result({"final_accuracy": 0.25 + context.seed / 10, "verdict": "A [bold]verdict[/bold]."})

    monkeypatch.setattr(runner, "resolve", lambda entry: function)
