import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ndm_apps import run as runner
from ndm_apps.config import dump_yaml, load_config
from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Picture, Result
from ndm_apps.run import default_folder, execute, inspect_run

SMALL = ("methods.ndm.immersion.width=20", "task.stream.batch_size=64")


def settled(folder: Path) -> dict:
    """The result without what differs from one time to the next (the checkout may be edited meanwhile)."""
    result = json.loads((folder / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in ("seconds", "peak_memory_mb", "git")}


def logged(folder: Path) -> list[dict]:
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in point.items() if key != "time"} for point in points]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fake(monkeypatch, function):
    """Let every run be that of a function in place of the plugin's."""
    monkeypatch.setattr(runner, "resolve", lambda entry: function)


def small(*overrides):
    return load_config("continual/digits", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    execute(small(), folder, track=False)
    return folder


def test_the_files_of_a_run(finished):
    assert set(content(finished)) == {
        "config.yaml", "metrics.jsonl", "result.json", "report.html", "dataset.json", "checkpoint/state.safetensors",
        "figures/captions.json", "figures/accuracy_matrix.svg", "figures/timeline.svg", "figures/charts.svg",
    }  # fmt: skip
    result = json.loads((finished / "result.json").read_text())
    assert set(result) == {
        "task", "method", "seed", "seconds", "peak_memory_mb", "config", "versions", "git", "verdict",
        "final_accuracy", "accuracy_matrix", "boundaries", "rules",
        "forgetting", "backward_transfer", "charts", "parameters", "memory_mb",
        "stored_exemplars", "samples_seen", "shift",
    }  # fmt: skip
    assert set(result["shift"]) == {
        "true", "blends", "alarms", "delays", "precision", "recall", "f1", "mean_delay", "tested",
        "false_alarms_per_10k",
        "recall_abrupt", "recall_gradual", "median_delay_abrupt", "median_delay_gradual",
    }  # fmt: skip
    assert (result["task"], result["method"], result["seed"]) == ("continual/digits", "ndm", 0)
    assert result["samples_seen"] == 1437 and result["stored_exemplars"] == 0
    assert np.shape(result["accuracy_matrix"]) == (5, 5)
    assert result["final_accuracy"] == pytest.approx(np.mean(result["accuracy_matrix"][-1]))
    assert result["final_accuracy"] > 0.9
    assert 0 < result["seconds"] < 600 and 50 < result["peak_memory_mb"] < 5000
    assert result["versions"]["torch"] == torch.__version__.partition("+")[0] or "+" in torch.__version__
    assert result["config"] == small().resolved()


def test_the_log_holds_the_accuracies(finished):
    result = json.loads((finished / "result.json").read_text())
    accuracies = [point for point in logged(finished) if point["name"] == "accuracy"]
    assert [point["value"] for point in accuracies] == pytest.approx([np.mean(r) for r in result["accuracy_matrix"]])
    assert accuracies[-1]["step"] == result["samples_seen"]


def test_the_config_of_a_run_repeats_it(finished, tmp_path):
    config = load_config(finished / "config.yaml")
    assert config == small()
    execute(config, tmp_path / "again", track=False)
    assert settled(tmp_path / "again") == settled(finished)
    assert logged(tmp_path / "again") == logged(finished)
    execute(load_config(finished / "config.yaml", ["seed=1"]), tmp_path / "other", track=False)
    assert settled(tmp_path / "other")["accuracy_matrix"] != settled(finished)["accuracy_matrix"]


def test_a_complete_run_is_left_as_it_is(finished):
    before = content(finished)
    result = execute(small(), finished, resume=True)
    assert result == json.loads((finished / "result.json").read_text())
    assert content(finished) == before
    with pytest.raises(InputError, match=r"^--out: .* holds a run already; add --resume"):
        execute(small(), finished)
    with pytest.raises(InputError, match=r"^--resume: .* holds a run of another config"):
        execute(small("seed=1"), finished, resume=True)
    assert content(finished) == before


def test_a_run_cut_off_before_its_page_gets_it(finished):
    page = (finished / "report.html").read_bytes()
    (finished / "report.html").unlink()
    execute(small(), finished, resume=True, track=False)
    assert len((finished / "report.html").read_bytes()) == len(page)


def test_other_folders_are_refused_and_left_alone(tmp_path, monkeypatch):
    fake(monkeypatch, lambda *_: pytest.fail("must not run"))
    (tmp_path / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match=r"^--out: .* is not empty and holds no run"):
            execute(small(), tmp_path, resume=resume)
    with pytest.raises(InputError, match=r"^--out: .*notes.txt"):
        execute(small(), tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"^--out: .*notes.txt/below"):
        execute(small(), tmp_path / "notes.txt" / "below")
    assert content(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    fake(monkeypatch, lambda *_: pytest.fail("must not run"))
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"^--out: .* cannot be written \(permission denied\)"):
        execute(small(), tmp_path / "run")


def test_a_device_that_is_not_there(tmp_path):
    for device in ("cuda:7", "mps"):
        if device == "mps" and torch.backends.mps.is_available():
            continue
        with pytest.raises(InputError, match=f"device: got '{device}', but torch sees no such device here"):
            execute(small(f"device={device}"), tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_found_by_the_plugin_leaves_nothing(tmp_path, monkeypatch, store):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDM_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nowhere"))
    before = content(tmp_path)
    with pytest.raises(InputError, match="data set 'mnist' is not here"):
        execute(load_config("continual/mnist"), tmp_path / "results" / "runs" / "mine")
    assert content(tmp_path) == before and not (tmp_path / "results" / "runs").exists()
    from mlflow import MlflowClient

    assert MlflowClient(store).get_experiment_by_name("ndm/continual") is None


def test_values_that_are_refused_are_told_in_one_line(tmp_path, monkeypatch):
    def refuses(*_):
        raise ValueError("x: sample 3 is not finite,\n  got nan")

    fake(monkeypatch, refuses)
    with pytest.raises(InputError, match=r"^continual/digits: x: sample 3 is not finite, got nan$"):
        execute(small(), tmp_path / "run", track=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fault", [lambda: int("x"), lambda: np.zeros(3).reshape(2, 2), lambda: {}["k"]])
def test_a_fault_of_the_program_keeps_its_traceback(fault, tmp_path, monkeypatch):
    fake(monkeypatch, lambda *_: fault())
    with pytest.raises((ValueError, KeyError)):
        execute(small(), tmp_path / "run", track=False)
    assert not (tmp_path / "run" / "result.json").exists() and (tmp_path / "run" / "config.yaml").exists()


def test_nan_in_the_users_arrays(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 5)), np.arange(80) % 4
    x[7, 2] = np.nan
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[20:], y_test=y[20:])
    config = load_config(
        "continual/digits", [f"task.dataset={{npz: {tmp_path / 'mine.npz'}}}", "task.stream.experiences=2"]
    )
    with pytest.raises(InputError, match=r"mine.npz: x_train: sample 7 is not finite"):
        execute(config, tmp_path / "run", track=False)
    assert not (tmp_path / "run").exists()


def test_a_refusal_after_training_began_keeps_what_there_is(tmp_path, monkeypatch):
    def later(task, method, settings, context):
        context.log("loss", 1.0, 1)
        raise InputError("the stream broke off")

    fake(monkeypatch, later)
    with pytest.raises(InputError, match="the stream broke off"):
        execute(small(), tmp_path / "run", track=False)
    assert set(content(tmp_path / "run")) == {"config.yaml", "metrics.jsonl"}


def test_the_log_goes_back_to_the_checkpoint(tmp_path, monkeypatch):
    sittings = []

    def counts(task, method, settings, context):
        state = context.checkpoint.load()
        drawn = state["drawn"] if state else []
        sittings.append(len(drawn))
        for step in range(len(drawn), 6):
            drawn.append([torch.rand(()).item(), random.random(), float(np.random.rand())])
            context.log("drawn", drawn[-1][0], step)
            if context.checkpoint.due(step + 1):
                context.checkpoint.save({"drawn": drawn}, step + 1)
            if len(sittings) in (1, 2) and step == 2 * len(sittings):
                raise RuntimeError("pulled the plug")
        return Result({"drawn": drawn})

    fake(monkeypatch, counts)
    config = small("checkpoint_every=2")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="pulled the plug"):
            execute(config, tmp_path / "run", resume=True, track=False)
        assert not (tmp_path / "run" / "result.json").exists()
    assert len(logged(tmp_path / "run")) == 5, "four steps secured, one to be cut"
    resumed = execute(config, tmp_path / "run", resume=True, track=False)
    undisturbed = execute(config, tmp_path / "whole", track=False)
    assert sittings == [0, 2, 4, 0]
    assert resumed["drawn"] == undisturbed["drawn"] and len({drawn[0] for drawn in resumed["drawn"]}) == 6
    assert logged(tmp_path / "run") == logged(tmp_path / "whole")
    assert [point["step"] for point in logged(tmp_path / "run")] == list(range(6))


@pytest.mark.parametrize("method", [*small().plugin.methods])
def test_every_method_goes_on_where_it_was_cut_off(method, tmp_path):
    if method in ("hoeffding_tree", "adaptive_forest"):
        pytest.importorskip("river")  # in the bench extra only
    # Methods that are handed whole experiences have two pieces; the others mini-batches of 64.
    whole = small(f"method={method}").settings.needs_boundaries
    every, enough, secured = (1, 1000, 1) if whole else (2, 7 * 64, 6)
    config = small(f"method={method}", f"checkpoint_every={every}", "task.stream.experiences=2")
    execute(config, tmp_path / "whole", track=False)

    def pull_the_plug(done, total, text):
        if done >= enough:
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="pulled the plug"):
        execute(config, tmp_path / "run", track=False, progress=pull_the_plug)
    assert load_state(tmp_path / "run" / "checkpoint" / "state.safetensors")["step"] == secured
    execute(config, tmp_path / "run", resume=True, track=False)
    assert settled(tmp_path / "run") == settled(tmp_path / "whole")
    assert logged(tmp_path / "run") == logged(tmp_path / "whole")


def test_without_a_checkpoint_a_run_starts_over(tmp_path, monkeypatch):
    def never_saves(task, method, settings, context):
        context.log("loss", 1.0, 0)
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise RuntimeError("pulled the plug")
        return Result({})

    fake(monkeypatch, never_saves)
    with pytest.raises(RuntimeError):
        execute(small(), tmp_path / "run", track=False)
    execute(small(), tmp_path / "run", resume=True, track=False)
    assert len(logged(tmp_path / "run")) == 1


def test_a_run_that_begins_again_has_its_log_once(tmp_path, monkeypatch):
    def begins_again(task, method, settings, context):
        context.log("loss", 1.0, 0)
        context.checkpoint.save({"found": 1}, 1)
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise RuntimeError("pulled the plug")
        return Result({})

    fake(monkeypatch, begins_again)
    with pytest.raises(RuntimeError):
        execute(small(), tmp_path / "run", track=False)
    execute(small(), tmp_path / "run", resume=True, track=False)
    assert len(logged(tmp_path / "run")) == 1


def test_the_whole_log_is_there_before_the_result(tmp_path, monkeypatch):
    def logs_late(task, method, settings, context):
        context.log("loss", 1.0, 0)
        return Result({})

    def pull_the_plug(folder):
        raise RuntimeError("pulled the plug")

    fake(monkeypatch, logs_late)
    monkeypatch.setattr(runner.report, "write_run_page", pull_the_plug)
    seen = []
    monkeypatch.setattr(runner, "write_result", lambda *_: seen.append(len(logged(tmp_path / "run"))))
    with pytest.raises(RuntimeError):
        execute(small(), tmp_path / "run", track=False)
    assert seen == [1]


def test_a_run_that_another_process_has_finished_meanwhile_is_left_alone(finished, tmp_path, monkeypatch):
    def finishes_first(config, out):
        shutil.copytree(finished, out, dirs_exist_ok=True)
        return claim(config, out)

    claim = runner.Claim
    monkeypatch.setattr(runner, "Claim", finishes_first)
    fake(monkeypatch, lambda *_: pytest.fail("must not run"))
    result = execute(small(), tmp_path / "run", track=False)
    assert result == json.loads((finished / "result.json").read_text())
    assert content(tmp_path / "run") == content(finished)


def test_what_a_killed_process_left_is_cleared_away(tmp_path, monkeypatch):
    fake(monkeypatch, lambda *_: Result({}))
    for name in (".config.yaml-abcdefgh.tmp", "checkpoint/.state.safetensors-abcdefgh.tmp"):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("half of")
    (tmp_path / "run" / "config.yaml").write_text(dump_yaml(small().resolved()))
    execute(small(), tmp_path / "run", resume=True, track=False)
    assert not list((tmp_path / "run").rglob(".*"))


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path, monkeypatch):
    def runs_twice(task, method, settings, context):
        with pytest.raises(InputError, match=r"^--out: another process runs in .*run right now"):
            execute(small(), tmp_path / "run", resume=True, track=False)
        return Result({"well": True})

    fake(monkeypatch, runs_twice)
    assert execute(small(), tmp_path / "run", track=False)["well"]


def test_damaged_files_of_a_run(finished, tmp_path):
    for name, damage in {
        "cut": lambda b: b[: len(b) // 2],
        "empty": lambda b: b"",
        "flipped": lambda b: b[:-20] + bytes([b[-20] ^ 1]) + b[-19:],
    }.items():
        folder = tmp_path / name
        for file, data in content(finished).items():
            if file.startswith(("config", "metrics", "checkpoint")):
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(damage(data) if file.startswith("checkpoint") else data)
        before = content(folder)
        with pytest.raises(InputError, match=r"state.safetensors: (damaged|not a complete)"):
            execute(small(), folder, resume=True, track=False)
        assert content(folder) == before
    (folder / "checkpoint" / "state.safetensors").write_bytes((finished / "checkpoint/state.safetensors").read_bytes())
    (folder / "metrics.jsonl").write_bytes(before["metrics.jsonl"][:-40])
    with pytest.raises(InputError, match=r"metrics.jsonl: shorter than at its checkpoint"):
        execute(small(), folder, resume=True, track=False)
    (folder / "config.yaml").write_text("method: [")
    with pytest.raises(InputError, match=r"config.yaml:1: not valid YAML"):
        execute(small(), folder, resume=True, track=False)


def test_files_of_another_run_are_refused(finished, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(finished, tmp_path / name)
    (tmp_path / "a" / "result.json").write_text('{"task": "continual/digits", "method": "naive", "seed": 0}')
    with pytest.raises(InputError, match=r"result.json: not the result of config.yaml beside it; delete it"):
        execute(small(), tmp_path / "a", resume=True, track=False)
    (tmp_path / "a" / "result.json").write_text('{"task": "continual/digi')
    with pytest.raises(InputError, match=r"result.json: damaged \(not JSON\); delete it"):
        execute(small(), tmp_path / "a", resume=True, track=False)
    save_state(tmp_path / "b" / "checkpoint" / "state.safetensors", {"plugin": {"session": 1}, "metrics": 0})
    (tmp_path / "b" / "result.json").unlink()
    before = content(tmp_path / "b")
    with pytest.raises(InputError, match=r"state.safetensors: not a checkpoint of the run that config.yaml beside it"):
        execute(small(), tmp_path / "b", resume=True, track=False)
    with pytest.raises(InputError, match=r"state.safetensors: not a checkpoint of the run"):
        inspect_run(tmp_path / "b")
    assert content(tmp_path / "b") == before


def test_a_disk_that_is_full_is_told_in_one_line(tmp_path, monkeypatch):
    def fills_the_disk(task, method, settings, context):
        context.log("loss", 1.0, 0)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state")

    fake(monkeypatch, fills_the_disk)
    with pytest.raises(InputError, match=r"run cannot be written any more \(no space left on device\); later, go on"):
        execute(small(), tmp_path / "run", track=False)
    fake(monkeypatch, lambda *_: open(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError):
        execute(small(), tmp_path / "other", track=False)


def test_numbers_that_are_not_finite_become_null(tmp_path, monkeypatch):
    def diverges(task, method, settings, context):
        context.log("loss", math.inf, 1)
        context.log("loss", torch.tensor(2.0), 2)
        figure = Figure()
        return Result({"loss": math.nan, "losses": [1.0, -math.inf], "n": 3}, {"empty": Picture(figure, "Nothing.")})

    fake(monkeypatch, diverges)
    result = execute(small(), tmp_path / "run", track=False)
    assert (result["loss"], result["losses"], result["n"]) == (None, [1.0, None], 3)
    text = (tmp_path / "run" / "result.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == result
    assert [point["value"] for point in logged(tmp_path / "run")] == [None, 2.0]
    assert json.loads((tmp_path / "run" / "figures" / "captions.json").read_text()) == {"empty": "Nothing."}


def test_new_runs_get_new_folders(tmp_path):
    first = default_folder(small("seed=7"), tmp_path)
    assert first.parent == tmp_path / "runs"
    assert first.name.startswith("continual-digits-") and first.name.endswith("-7")
    first.mkdir(parents=True)
    assert default_folder(small("seed=7"), tmp_path) != first


def test_the_peak_of_memory_is_of_this_run(tmp_path, monkeypatch):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux can measure anew")

    def hungry(task, method, settings, context):
        np.ones(60_000_000)
        return Result({})

    fake(monkeypatch, hungry)
    large = execute(small(), tmp_path / "large", track=False)["peak_memory_mb"]
    fake(monkeypatch, lambda *_: Result({}))
    assert execute(small(), tmp_path / "little", track=False)["peak_memory_mb"] < large - 300


def test_inspecting_a_run(finished, tmp_path):
    values = inspect_run(finished)
    assert json.loads((finished / "inspect.json").read_text()) == values
    captions = json.loads((finished / "figures" / "captions.json").read_text())
    assert {"timeline", "inspect_charts"} <= set(captions)
    assert (finished / "figures" / "inspect_charts.svg").exists()
    with pytest.raises(InputError, match=r"no config.yaml there; a run folder is needed"):
        inspect_run(tmp_path)
    execute(small("method=naive", "methods.naive.hidden=[4]"), tmp_path / "naive", track=False)
    with pytest.raises(InputError, match="'naive' has no charts to inspect"):
        inspect_run(tmp_path / "naive")
    (finished / "inspect.json").unlink()
    shutil.copytree(finished, tmp_path / "damaged")
    (tmp_path / "damaged" / "figures" / "captions.json").write_text("[")
    with pytest.raises(InputError, match=r"captions.json: damaged"):
        inspect_run(tmp_path / "damaged")


def start(arguments: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = "from ndm_apps.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.DEVNULL)


def kill_in_training(arguments: list[str], state: Path, delay: float) -> None:
    """Start a run, wait until it has saved a new checkpoint and a bit longer, and kill it without warning."""
    before = state.stat().st_mtime_ns if state.exists() else None
    process = start(arguments)
    try:
        deadline = time.monotonic() + 120
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert process.poll() is None and time.monotonic() < deadline, "ended before it was killed"
            time.sleep(0.002)
        time.sleep(delay)
        assert process.poll() is None, "ended before it was killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("method", "kills"), [("ndm", 5), ("replay", 2)])
def test_a_run_that_is_killed_again_and_again_gives_the_same_result(method, kills, tmp_path):
    # Every pass is one more time through the data: training lasts some seconds, so that it can be hit in the middle.
    overrides = [
        f"method={method}", "checkpoint_every=2", "task.stream.passes=5", "methods.ndm.immersion.width=20",
        "methods.replay={hidden: [16], learning_rate: 0.1, momentum: 0.9}",
    ]  # fmt: skip
    folder, moments = tmp_path / "killed", random.Random(17)
    arguments = ["run", "continual/digits", "--out", str(folder), "--resume", "--no-track"]
    arguments += [word for override in overrides for word in ("--set", override)]
    positions = []
    for _ in range(kills):
        kill_in_training(arguments, folder / "checkpoint" / "state.safetensors", moments.uniform(0.0, 0.3))
        assert not (folder / "result.json").exists()
        positions.append(load_state(folder / "checkpoint" / "state.safetensors")["step"])
    assert positions == sorted(set(positions)), "every sitting gets on"
    assert start(arguments).wait(120) == 0
    execute(load_config("continual/digits", overrides), tmp_path / "whole", track=False)
    assert settled(folder) == settled(tmp_path / "whole")
    assert logged(folder) == logged(tmp_path / "whole")
    ours, theirs = (load_state(f / "checkpoint" / "state.safetensors") for f in (folder, tmp_path / "whole"))
    assert str(ours["random"]) == str(theirs["random"])
