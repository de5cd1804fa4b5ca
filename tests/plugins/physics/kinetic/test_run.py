import json

import pytest

from ndm_apps import shipped
from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.run import execute

SMALL = ["methods.kinetic.points=200", "task.system.trajectories=20", "task.system.time.points=100", "seed=1000"]


def load(task, *overrides):
    return load_config("physics/killing_table", [f"task=physics/{task}", *SMALL, *overrides])


def result(config, folder):
    execute(config, folder, track=False)
    return json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)


def test_the_shipped_tasks_are_those_of_the_table():
    config = load_config("physics/killing_table")
    listed = {name for name in shipped.names("tasks") if name.startswith("physics/kinetic/")}
    assert set(config.run.sweep.tasks) == listed
    for name in listed:
        task = load_config("physics/killing_table", [f"task={name}"]).task
        assert task.truth.kinetic is not None and task.truth.invariants


def test_a_run_from_config_to_result(tmp_path):
    written = result(load("kinetic/henon_heiles"), tmp_path / "run")
    assert written["n_conserved"] == written["n_conserved_true"] == 1 and written["correct"] is True
    kinetic = written["kinetic"]
    assert kinetic["solves"] and kinetic["counts_right"] and kinetic["metric_error"] < 1e-3
    assert (kinetic["metric_symmetries"], kinetic["symmetries"]) == (3, 0)
    assert kinetic["momentum_drift"] is None
    # Flat, and yet nothing is conserved but the energy: neither is a symmetry possible.
    assert abs(kinetic["curvature"]["median"]) < 1e-3
    assert kinetic["bound"]["directions"] == 0
    assert written["worst_drift"] < 1e-4
    assert "leaves none" in written["verdict"]
    assert {path.stem for path in (tmp_path / "run" / "figures").glob("*.svg")} == {"curvature", "symmetries", "laws"}


def test_without_a_lagrangian_none_is_claimed(tmp_path):
    written = result(load("damped_oscillator", "task.system.time.end=20"), tmp_path / "run")
    assert written["n_conserved"] == 0 and written["correct"] is True and written["invariants"] == []
    assert written["verdict"].startswith("No kinetic metric and potential explain the motions")


def test_without_velocities_it_says_so(tmp_path):
    with pytest.raises(InputError, match="no column of x, y, z is the velocity of another one"):
        execute(load("lorenz"), tmp_path / "run", track=False)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.kinetic.positions=[x, z]", "z"),
        ("task.kinetic.velocities=[vx]", "must be one for each of 2"),
        ("task.kinetic.velocities=[vx, x]", "listed twice"),
        ("task.truth.kinetic.metric=[[1, 0]]", "must be 2 rows of 2 entries"),
        ("task.truth.kinetic.metric=[[1, 0], [0, foo]]", "foo"),
        ("methods.kinetic.solver=net", "metric_net"),
    ],
)
def test_wrong_input_is_told_in_one_line(override, message):
    with pytest.raises(InputError, match=message) as caught:
        load("kinetic/henon_heiles", override)
    assert "\n" not in str(caught.value)
