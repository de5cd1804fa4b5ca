import json
import os
import shlex
import signal
import subprocess
import sys

import pytest

from ndm_apps import __version__, datasets, shipped, tracking
from ndm_apps import run as runner
from ndm_apps import sweep as sweeper
from ndm_apps.cli import main
from ndm_apps.plugins import base
from ndm_apps.plugins.base import Result

GOOD = "task: continual/digits\nmethod: ndm\nseed: 3\nmethods:\n  ndm: {shrinkage: 0.1}\n"
TASK = "domain: continual\ndataset: {name: digits}\nstream: {experiences: 5}\n"

# What is in bad.yaml (a text, or an edit of a valid one), its wrong line, and what the message must hold.
BROKEN = {
    "empty": ("", 1, "empty"),
    "a list": ("- a\n", 1, "mapping"),
    "a scalar": ("\nhello\n", 2, "'hello'"),
    "two documents": (GOOD + "---\nseed: 1\n", 6, "second document"),
    "repeated key": (GOOD + "seed: 4\n", 6, "twice"),
    "tab": ("task: a\nmethods:\n\tndm: {}\n", 3, "tab"),
    "unclosed bracket": (("seed: 3", "seed: [3"), 4, "not valid YAML"),
    "python tag": (("seed: 3", "seed: !!python/object/apply:os.system ['touch BAD']"), 3, "tags"),
    "anchor": (("seed: 3", "seed: &x 3"), 3, "&x"),
    "alias": (("seed: 3", "seed: *x"), 3, "*x"),
    "not UTF-8": (GOOD.encode() + b"device: \xff\n", 6, "UTF-8"),
    "NUL byte": (GOOD.encode() + b"device: \0\n", 6, "NUL"),
    "huge number": (("seed: 3", f"seed: {'9' * 5000}"), 3, "too large"),
    "NaN": (("shrinkage: 0.1", "shrinkage: .nan"), 5, ".nan"),
    "infinity": (("shrinkage: 0.1", "shrinkage: .inf"), 5, ".inf"),
    "overflow": (("shrinkage: 0.1", "shrinkage: 1e999"), 5, "1e999"),
    "deep": (("shrinkage: 0.1", "shrinkage: " + "[" * 500 + "]" * 500), 5, "deeper"),
    "unknown key": (("seed: 3", "sede: 3"), 3, "unknown key 'sede'; did you mean 'seed'?"),
    "missing method": (("method: ndm\n", ""), 1, "method: missing"),
    "missing task": (("task: continual/digits\n", ""), 1, "task: missing"),
    "wrong type": (("seed: 3", "seed: three"), 3, "seed: got 'three'"),
    "boolean": (("seed: 3", "seed: true"), 3, "seed: got true"),
    "out of range": (("shrinkage: 0.1", "shrinkage: -1.0"), 5, "methods.ndm.shrinkage: got -1.0"),
    "negative seed": (("seed: 3", "seed: -3"), 3, "seed: got -3"),
    "unknown method": (("method: ndm", "method: nmd"), 2, "unknown method of continual 'nmd'; did you mean 'ndm'?"),
    "unknown setting": (("shrinkage: 0.1", "shrinkgae: 0.1"), 5, "did you mean 'shrinkage'?"),
    "unknown device": (("seed: 3", "device: gpu"), 3, "device: got 'gpu'"),
    "unknown task": (("continual/digits", "continual/digit"), 1, "did you mean 'continual/digits'?"),
    "task with a wrong data set": (
        ("task: continual/digits", "task:\n  domain: continual\n  dataset: {name: digist}"),
        3,
        "task.dataset.name: got 'digist'",
    ),
    "task of an unknown domain": (
        ("task: continual/digits", "task: {domain: chess}"),
        1,
        "no plugin for domain 'chess'",
    ),
    "extends itself": (GOOD + "extends: bad.yaml\n", 6, "circle"),
    "extends in a circle": (GOOD + "extends: other.yaml\n", None, "circle"),
    "extends nothing": (GOOD + "extends: nothing.yaml\n", 6, "no such config"),
    "broken task (domain)": ("domain: chess\n", 1, "no plugin for domain 'chess'"),
    "broken task (data set)": (TASK.replace("name: digits", "name: mnits"), 2, "did you mean 'mnist'?"),
    "broken task (two data sets)": (TASK.replace("name: digits", "name: digits, npz: a"), 2, "exactly one of"),
    "broken task (stream)": (TASK.replace("experiences: 5", "experiences: 0"), 3, "stream.experiences: got 0"),
    "broken task (key)": (TASK + "noise: 1\n", 4, "unknown key 'noise'"),
}


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


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_by_every_command_that_reads_them(name, here, refused):
    content, line, says = BROKEN[name]
    if isinstance(content, tuple):
        assert GOOD.count(content[0]) == 1
        content = GOOD.replace(*content)
    (here / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (here / "other.yaml").write_text("extends: bad.yaml\n")
    commands = [("check",)] if name.startswith("broken task") else [("check",), ("run", "--no-track"), ("sweep",)]
    for command in commands:
        told = refused(*command, "bad.yaml")
        assert told.startswith(f"error: bad.yaml:{line}: " if line else "error: other.yaml:1: ") and says in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.yaml"], "no such config: 'nothing.yaml'"),
        (["continual/digit"], "did you mean 'continual/digits'?"),
        (["."], "is a folder"),
        ([""], "is a folder"),
        (["a\0b"], "no such config"),
        (["tasks/continual/nothing"], "no such task"),
        (["good.yaml", "--set", "sede=1"], "--set sede=1: unknown key 'sede'; did you mean 'seed'?"),
        (["good.yaml", "--set", "seed"], "--set seed: must be KEY=VALUE"),
        (["good.yaml", "--set", "seed=1", "--set", "seed=2"], "seed is set twice"),
        (["good.yaml", "--set", "methods.ndm.shrinkage=[1"], "not valid YAML"),
        (["good.yaml", "--set", "seed=1\n2"], "error: --set seed=1"),
        (["good.yaml", "--set", "task.dataset.name=chess"], "task.dataset.name: got 'chess'"),
        (["tasks/continual/digits", "--set", "seed=1"], "only keys of a config can be overridden"),
        ([], "Missing argument 'CONFIG...' (see: ndm check --help)"),
        (["good.yaml", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_arguments_of_check(arguments, says, refused):
    assert says in refused("check", *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "No such command 'nonsense' (see: ndm --help)"),
        (["--nonsense"], "--nonsense"),
        (["run"], "Missing argument 'CONFIG' (see: ndm run --help)"),
        (["run", "good.yaml", "--seed", "x"], "'--seed'"),
        (["run", "good.yaml", "--seed", "-1"], "'--seed'"),
        (["run", "good.yaml", "--seed", "4294967296"], "must be 4294967295 or less"),
        (["run", "good.yaml", "--resume"], "--resume: needs --out DIR"),
        (["run", "good.yaml", "--out", "good.yaml"], "--out: good.yaml"),
        (["run", "good.yaml", "--out", "."], "--out: . is not empty and holds no run"),
        (["run", "good.yaml", "--set", "device=cuda:99"], "torch sees no such device here"),
        (["run", "continual/mnist"], "data set 'mnist' is not here"),
        (["sweep", "good.yaml", "--seeds", "5:0"], "--seeds: got '5:0'"),
        (["sweep", "good.yaml", "--seeds", ""], "--seeds: got ''"),
        (["sweep", "good.yaml", "--jobs", "0"], "'--jobs'"),
        (["sweep", "good.yaml", "--set", "seed=1,1"], "given twice"),
        (["sweep", "good.yaml", "--out", "."], "--out: . is not empty and holds no sweep"),
        (["sweep", "good.yaml", "--baseline", "naive"], "--baseline: got 'naive', must be a method of the sweep (ndm)"),
        (["sweep", "good.yaml", "--device", "gpu"], "--set device=gpu: device: got 'gpu'"),
        (["sweep", "good.yaml", "--search"], "--search: good.yaml has no search section"),
        (["sweep", "good.yaml", "--search", "--set", "seed=1"], "--set seed=1: the search section decides"),
        (["sweep", "good.yaml", "--search", "--table", "t.csv"], "--search: writes its own table"),
        (["run", "good.yaml", "--device", "cuda:99"], "torch sees no such device here"),
        (["inspect", "nowhere"], "no config.yaml there"),
        (["report", "nowhere"], "PATH: nowhere is not a folder"),
        (["report", "."], "PATH: no run and no sweep in ."),
        (["list", "nonsense"], "KIND: got 'nonsense'"),
        (["data", "nonsense"], "data set: got 'nonsense'"),
        (["ui", "--port", "0"], "'--port'"),
    ],
)
def test_wrong_arguments(arguments, says, refused):
    assert says in refused(*arguments)


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


def test_run(ndm, here, quick):
    status, out, err = ndm("run", "good.yaml", "--out", "a b", "--no-track")
    assert (status, err) == (0, "")
    assert "0.5500" in out and "A [bold]verdict[/bold]." in out and "report: a b/report.html" in out
    assert json.loads((here / "a b" / "result.json").read_text())["seed"] == 3
    assert ndm("run", "good.yaml", "--out", "a b", "--no-track")[0] == 2
    assert ndm("run", "good.yaml", "--out", "a b", "--no-track", "--resume")[0] == 0
    assert ndm("run", "good.yaml", "--seed", "5", "--no-track")[0] == 0
    (folder,) = (here / "results" / "runs").iterdir()
    assert folder.name.startswith("continual-digits-") and folder.name.endswith("-5")


def test_run_of_a_config_with_tasks_or_variants_runs_them_all(ndm, here, quick):
    (here / "several.yaml").write_text(
        GOOD + "sweep:\n  variants: [{task.stream.passes: 1}, {task.stream.passes: 2}]\n"
    )
    status, out, err = ndm("run", "several.yaml", "--out", "all", "--seed", "4", "--no-track")
    assert (status, err) == (0, "") and "report: all/report.html" in out
    runs = sorted(path.name for path in (here / "all").iterdir() if path.is_dir())
    assert runs == ["ndm-task.stream.passes=1-seed4", "ndm-task.stream.passes=2-seed4"]
    assert (here / "all" / "summary.csv").read_text().count("\n") == 3


def test_run_and_report_record_in_mlflow(ndm, here, quick, store):
    from mlflow import MlflowClient

    assert ndm("run", "good.yaml", "--out", "one")[0] == 0
    experiment = MlflowClient(store).get_experiment_by_name("ndm/continual").experiment_id
    assert [run.info.status for run in MlflowClient(store).search_runs([experiment])] == ["FINISHED"]
    assert ndm("run", "good.yaml", "--out", "two", "--no-track")[0] == 0
    assert len(MlflowClient(store).search_runs([experiment])) == 1
    status, out, _ = ndm("report", "one", "two", "--log")
    assert status == 0 and "holds 2 of 2 runs" in out
    assert len(MlflowClient(store).search_runs([experiment])) == 2


def test_a_failing_mlflow_is_a_warning(ndm, here, quick, monkeypatch):
    (here / "no.db").write_text("this is no database, whatever its name says")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'no.db'}")
    status, out, err = ndm("run", "good.yaml", "--out", "one")
    assert status == 0 and "0.5500" in out
    assert err.startswith("warning: MLflow has not got everything of 'one'") and err.count("\n") == 1
    status, out, _ = ndm("report", "one", "--log")
    assert status == 1 and "holds 0 of 1 runs" in out


def test_a_fault_of_the_program_is_no_wrong_input(here, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(runner, "resolve", lambda entry: broken)
    with pytest.raises(ZeroDivisionError):
        main(["run", "good.yaml", "--no-track"])


@pytest.mark.parametrize("command", ["run", "sweep", "demo"])
def test_ctrl_c_tells_how_to_go_on(command, ndm, here, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "resolve", lambda entry: interrupted)
    odd = ["good.yaml", "--set", "methods.ndm.detector={dimension: 4, warmup: 8}", "--out", "it's [red]here[/red]",
           "--no-track"]  # fmt: skip
    given = [] if command == "demo" else odd
    status, _, err = ndm(command, *given, *(["--jobs", "1"] if command != "run" else []))
    assert status == 130
    assert "interrupted: go on with\n" in err
    (line,) = [line for line in err.splitlines() if line.startswith("  ndm ")]
    again = shlex.split(line)[1:]
    seen = []

    def resumed(task, method, settings, context):
        seen.append(getattr(getattr(settings, "detector", None), "dimension", None))
        return Result({"final_accuracy": 1.0})

    monkeypatch.setattr(runner, "resolve", lambda entry: resumed)
    if command == "demo":
        monkeypatch.setattr(base, "plugins", lambda: {})
    assert ndm(*again)[0] == 0
    assert command == "demo" or seen[0] == 4
    assert not (here / "results").exists() or command == "demo"


def test_a_real_signal_ends_a_real_run(here):
    code = "from ndm_apps.cli import main; main()"
    arguments = ["run", "good.yaml", "--set", "task.stream.passes=100", "--set", "checkpoint_every=1", "--no-track"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--out", "real"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    state = here / "real" / "checkpoint" / "state.safetensors"
    while not state.exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert told.endswith(
        "interrupted: go on with\n  ndm run good.yaml --set task.stream.passes=100 --set checkpoint_every=1 "
        "--out real --resume --no-track\n"
    )
    assert not (here / "real" / "result.json").exists()


def test_sweep_and_report(ndm, here, quick):
    arguments = ["sweep", "good.yaml", "--seeds", "0:2", "--set", "method=ndm,naive", "--jobs", "1", "--no-track"]
    status, out, err = ndm(*arguments, "--out", "sweep", "--table", "tables/one.csv")
    assert (status, err) == (0, "")
    assert "0.3000 ± 0.0707" in out and "report: sweep/report.html" in out
    table = (here / "tables" / "one.csv").read_text()
    assert table == (here / "sweep" / "summary.csv").read_text() and table.count("\n") == 3

    (here / "sweep" / "report.html").unlink()
    status, out, err = ndm("report", "sweep", "--table", "tables/two.csv")
    assert (status, err) == (0, "") and "report: sweep/report.html" in out and "0.3000 ± 0.0707" in out
    assert (here / "sweep" / "report.html").exists()
    rows = [sorted((here / "tables" / name).read_text().splitlines()) for name in ("one.csv", "two.csv")]
    assert rows[0] == rows[1]
    assert ndm("report", "sweep/ndm-seed0", "sweep/ndm-seed1")[0] == 0


def test_sweep_records_what_repeats_it(ndm, here, quick):
    arguments = ["sweep", "good.yaml", "--seeds", "0:2", "--set", "method=ndm,naive", "--jobs", "1",
                 "--baseline", "naive", "--device", "cpu", "--no-track", "--out", "sweep"]  # fmt: skip
    assert ndm(*arguments)[0] == 0
    known = json.loads((here / "sweep" / "sweep.json").read_text())
    assert known["baseline"] == "naive"
    again = known["command"]
    assert again[0] == "ndm" and "device=cpu" in again
    before = {path: path.stat().st_mtime_ns for path in here.glob("sweep/*/result.json")}
    assert ndm(*again[1:])[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in here.glob("sweep/*/result.json")} and len(before) == 4


def test_search_prints_the_best_settings(ndm, here, quick):
    pytest.importorskip("optuna")
    space = "search:\n  trials: 3\n  seeds: 1000\n  space:\n    methods.ndm.solver: [lda, ridge]\n"
    (here / "space.yaml").write_text(GOOD + space)
    status, out, err = ndm("sweep", "space.yaml", "--search", "--jobs", "1", "--no-track", "--out", "found")
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == [
        "trials: 3 (0 failed), in found/trials.csv",
        "best accuracy on held-out data: 100.2500",
    ]
    assert "methods.ndm.solver: " in out and out.endswith("config: found/best.yaml\nreport: found/report.html\n")
    assert ndm("run", "found/best.yaml", "--out", "best", "--no-track")[0] == 0


def test_a_failing_member_of_a_sweep_is_told(ndm, here, monkeypatch):
    def function(task, method, settings, context):
        if context.seed == 1:
            raise RuntimeError("a [weird] fault")
        return Result({"final_accuracy": 0.5})

    monkeypatch.setattr(runner, "resolve", lambda entry: function)
    status, out, err = ndm("sweep", "good.yaml", "--seeds", "0:2", "--jobs", "1", "--no-track", "--out", "sweep")
    assert status == 1 and "0.5000" in out
    assert err.startswith("failed: ndm-seed1: RuntimeError: a [weird] fault (test_cli.py:") and err.count("\n") == 1


def test_report_of_what_is_not_finished(ndm, here, make_run):
    make_run("half", complete=False)
    status, out, _ = ndm("report", "half")
    assert status == 0 and "report: half/report.html" in out
    make_run("whole")
    make_run("other", task="chess/opening")
    assert ndm("report", "half", "whole", "other")[0] == 0
    (here / "half" / "report.html").unlink()
    assert "found are of 2 domains (chess, physics)" in ndm("report", "half", "whole", "other", "--table", "t.csv")[2]
    assert "no finished run" in ndm("report", "half", "--table", "t.csv")[2]
    assert not (here / "half" / "report.html").exists() and not (here / "t.csv").exists()


def test_inspect_prints_what_was_found(ndm, here, monkeypatch):
    found = {"charts": [{"labels": [1, 4], "mean_curvature": 0.123456, "more": None}], "scale": 2.0}
    found |= {"gain": 0.5, "gain_low": -0.25, "gain_high": 1.0, "gain_p": 0.25, "gain_n": 1200, "low": 1.0}
    monkeypatch.setattr(runner, "inspect_run", lambda folder: found)
    status, out, _ = ndm("inspect", "run")
    assert status == 0
    assert out.splitlines() == [
        "charts:", "  1. labels [1, 4], mean curvature 0.1235, more –", "scale: 2",
        "gain: 0.5 [-0.25, 1], p = 0.25, n = 1200", "low: 1", "report: run/report.html",
    ]  # fmt: skip


def test_data(ndm, here, monkeypatch):
    status, out, _ = ndm("data")
    assert status == 0 and "digits          ships with scikit-learn" in out and "mnist           not here" in out
    assert "cache/ndm_apps" in out
    assert "nothing to fetch" in ndm("data", "digits")[1]
    monkeypatch.setattr(datasets, "fetch", lambda name: here / "fetched" / name)
    assert ndm("data", "mnist")[1] == f"mnist is in {here / 'fetched' / 'mnist'}\n"
    monkeypatch.setattr(datasets, "locate", lambda name: here / "found")
    assert ndm("data", "mnist")[1] == f"mnist is in {here / 'found'}\n", "what is here is not fetched again"


def test_ui_serves_the_runs_of_this_folder_on_loopback(ndm, refused, here, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    started = []

    def run(command, env, check):
        started.append((command, env))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert "no runs here yet" in refused("ui")
    (here / "results").mkdir()
    (here / "results" / "mlflow.db").touch()
    status, out, _ = ndm("ui", "--port", "5005")
    assert status == 3 and "http://127.0.0.1:5005" in out
    ((command, environment),) = started
    assert command == tracking.ui_command(f"sqlite:///{here / 'results' / 'mlflow.db'}", port=5005)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"

    def ended(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", ended)
    assert ndm("ui")[0] == 0, "Ctrl-C is the way to end it"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@localhost:1")
    assert "open http://localhost:1 in a browser" in refused("ui")


def test_demo_runs_what_every_plugin_shows(ndm, here, monkeypatch):
    swept = []

    def fake(runs, out, **options):
        swept.append((out.as_posix(), {member.config.run.method for member in runs}, options["jobs"]))
        return [sweeper.Outcome(member.label, None, "not run") for member in runs]

    monkeypatch.setattr(sweeper, "sweep", fake)
    status, _, err = ndm("demo", "--jobs", "1", "--out", "shown", "--no-track")
    assert status == 1 and "not run" in err, "a demo that fails says so"
    shown = [name for plugin in base.plugins().values() for name in plugin.demo]
    assert [folder for folder, _, _ in swept] == [f"shown/{name.replace('/', '-')}" for name in shown]
    assert "continual/digits" in shown and swept[0][1] >= {"ndm", "naive"}


def test_a_reader_that_goes_away_is_no_fault(here):
    script = f"{shlex.quote(sys.executable)} -c 'from ndm_apps.cli import main; main()' list"
    done = subprocess.run(["bash", "-c", f"{script} | true; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert done.stdout.strip() in ("0", "1") and done.stderr == ""
