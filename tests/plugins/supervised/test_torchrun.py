"""``torchrun -m ndm_apps run``: one folder, written by the first process, with the numbers of a run by one process."""

import json
import os
import subprocess
import sys

import pytest

from ndm_apps.config import load_config
from ndm_apps.run import execute

SMALL = ["dtype=float64", "checkpoint_every=10", "task.train_samples=60", "task.robustness.samples=20",
         "task.robustness.pgd_steps=2", "methods.ndm.steps=20", "methods.ndm.batch_size=20", "methods.ndm.components=4",
         "methods.ndm.points=8", "methods.ndm.coupling_hidden=[8]", "methods.ndm.metric_hidden=[6]"]  # fmt: skip


def together(*arguments, timeout=300):
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ndm_apps"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*words, *map(str, arguments)], env=environment, capture_output=True, text=True,
                          timeout=timeout)  # fmt: skip


def curve(folder):
    points = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(point["name"], point["step"], point["value"]) for point in points]


def test_two_processes_write_one_run_with_the_numbers_of_one(tmp_path):
    settings = [word for setting in SMALL for word in ("--set", setting)]
    done = together("run", "claims/generalisation", *settings, "--out", tmp_path / "shared", "--no-track")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("report: ") == 1
    alone = execute(load_config("claims/generalisation", SMALL), tmp_path / "alone", track=False)
    found = json.loads((tmp_path / "shared" / "result.json").read_text())
    assert found["final_loss"] == pytest.approx(alone["final_loss"], rel=1e-6)
    assert found["final_accuracy"] == alone["final_accuracy"] and found["nll"] == pytest.approx(alone["nll"], rel=1e-6)
    for (name, step, value), (also, at, expected) in zip(
        curve(tmp_path / "shared"), curve(tmp_path / "alone"), strict=True
    ):
        assert (name, step) == (also, at) and value == pytest.approx(expected, rel=1e-6)
    files = {str(path.relative_to(tmp_path / "alone")) for path in (tmp_path / "alone").rglob("*")}
    assert {str(path.relative_to(tmp_path / "shared")) for path in (tmp_path / "shared").rglob("*")} == files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "claims/generalisation"], "torchrun: got sweep, but processes can share ndm run alone"),
        (["run", "physics/kepler"], "torchrun: got 2 processes, but physics runs in one"),
    ],
)
def test_what_processes_cannot_share_is_refused_in_one_line(arguments, message, monkeypatch, tmp_path, capsys):
    from ndm_apps import __main__

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ndm", *arguments])
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        __main__._main()
    told = capsys.readouterr()
    assert stopped.value.code == 2 and message in told.err and told.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
