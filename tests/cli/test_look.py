"""The commands that look: ``check``, ``list``, ``data``, help."""

import shlex
import subprocess
import sys

from ndm_apps import __version__, datasets, shipped


def test_check(ndm):
    status, out, err = ndm("check", "good.yaml", "continual/digits", "tasks/continual/digits.yaml")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "ok: good.yaml (config: task continual/digits, method ndm, seed 3)",
        "ok: continual/digits (config: task continual/digits, method ndm, seed 0)",
        "ok: tasks/continual/digits.yaml (task continual/digits, domain continual)",
    ]
    status, out, err = ndm("check", "good.yaml", "--set", "seed=9", "--set", "method=naive")
    assert (status, "method naive, seed 9" in out) == (0, True)
    status, out, err = ndm("check", "nothing.yaml", "good.yaml", "neither.yaml")
    assert (status, out.count("\n"), err.count("\n")) == (2, 1, 2), "all are checked"


def test_every_shipped_config_and_task_passes_check(ndm):
    names = shipped.names("configs") + [f"tasks/{name}" for name in shipped.names("tasks")]
    status, out, err = ndm("check", *names)
    assert (status, out.count("ok: "), err) == (0, len(names), "")


def test_help_fits_a_terminal_of_80_columns(ndm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, whole, _ = ndm()
    assert status == 0 and ndm("--help")[1] == whole == ndm("-h")[1]
    commands = [line.split()[0] for line in whole.partition("Commands:\n")[2].splitlines()]
    assert commands == ["list", "check", "run", "discover", "sweep", "inspect", "report", "ui", "data", "demo", "new"]
    assert "..." not in whole.partition("Commands:")[2], "no summary is cut short"
    for text in (whole, *(ndm(command, "--help")[1] for command in commands)):
        assert max(map(len, text.splitlines())) <= 80
    assert ndm("--version")[:2] == (0, f"ndm {__version__}\n")


def test_list(ndm):
    everything = ndm("list")[1]
    for kind in ("plugins", "tasks", "configs"):
        status, out, _ = ndm("list", kind)
        assert status == 0 and out.startswith(f"{kind}\n") and out in everything
    assert "  continual/digits\n" in ndm("list", "tasks")[1]
    assert "methods: ndm, " in ndm("list", "plugins")[1]


def test_data(ndm, here, monkeypatch):
    status, out, _ = ndm("data")
    assert status == 0 and "digits          ships with scikit-learn" in out and "mnist           not here" in out
    assert "cache/ndm_apps" in out
    assert "nothing to fetch" in ndm("data", "digits")[1]
    monkeypatch.setattr(datasets, "fetch", lambda name: here / "fetched" / name)
    assert ndm("data", "mnist")[1] == f"mnist is in {here / 'fetched' / 'mnist'}\n"
    monkeypatch.setattr(datasets, "locate", lambda name: here / "found")
    assert ndm("data", "mnist")[1] == f"mnist is in {here / 'found'}\n", "what is here is not fetched again"


def test_a_reader_that_goes_away_is_no_fault(here):
    script = f"{shlex.quote(sys.executable)} -c 'from ndm_apps.cli import main; main()' list"
    done = subprocess.run(["bash", "-c", f"{script} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert done.stdout.strip() in ("0", "1") and done.stderr == ""
