"""Runs from config to result: known and learnt models, baselines, resumption, refusals that leave nothing behind."""

import json

import pytest

from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.run import execute

FEW = ["seed=1000", "evaluate=validation"]


def few(method, episodes=2):
    return [*FEW, f"method={method}", f"methods.{method}.episodes={episodes}"]


def ran(folder, name, *overrides):
    values = execute(load_config(name, list(overrides)), folder, track=False)
    written = json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)
    assert {"returns", "mean_return", "success_rate", "ratio_to_optimum", "environment_steps"} <= written.keys()
    assert written["plan_ms_median"] >= 0 and written["plan_ms_mean"] > 0
    return values


@pytest.mark.parametrize("method", ["ndm", "ilqr"])
def test_planners_reach_the_optimum_of_a_linear_system_on_known_equations(tmp_path, method):
    values = ran(tmp_path / "run", "planning/double_integrator", *few(method), f"methods.{method}.model=known")
    assert values["ratio_to_optimum"] == pytest.approx(1.0, abs=2e-3) and values["success_rate"] == 1.0
    assert values["environment_steps"] == 0 and len(values["returns"]) == 2
    assert values["evaluation_seeds"] == [1000, 1001]


@pytest.mark.parametrize("method", ["cem", "mppi", "random_shooting"])
def test_samplers_run_on_known_equations(tmp_path, method):
    small = [f"methods.{method}.planner.{key}" for key in ("samples=40", "horizon=15")]
    small += ["methods.cem.planner.elites=8"] if method == "cem" else []
    values = ran(
        tmp_path / "run", "planning/double_integrator", *few(method), f"methods.{method}.model=known", *small,
        "task.environment.steps=30",
    )  # fmt: skip
    assert values["ratio_to_optimum"] > 1.0


def test_a_model_is_learnt_and_saved_and_a_run_that_is_resumed_gives_the_same(tmp_path):
    wanted = [*few("ndm"), "methods.ndm.steps=100", "methods.ndm.learner.iterations=60"]
    first = ran(tmp_path / "run", "planning/double_integrator", *wanted)
    assert first["environment_steps"] == 100 and first["ratio_to_optimum"] == pytest.approx(1.0, abs=0.01)
    assert (tmp_path / "run" / "checkpoint" / "state.safetensors").exists()
    (tmp_path / "run" / "result.json").unlink()
    config = load_config("planning/double_integrator", wanted)
    again = execute(config, tmp_path / "run", resume=True, track=False)
    assert again["environment_steps"] == 100
    assert again["returns"] == pytest.approx(first["returns"], rel=1e-4)


def test_a_point_finds_its_way_among_walls_it_has_met(tmp_path):
    pytest.importorskip("skfmm")
    values = ran(tmp_path / "run", "planning/maze_u", *few("ndm", 3), "methods.ndm.steps=3000")
    assert values["success_rate"] == 1.0 and 0.99 < values["ratio_to_optimum"] < 1.2
    assert values["environment_steps"] == 3000


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("pendulum", ["task.environment.id=Pendulm-v1"], r"environment.id: Gymnasium knows no 'Pendulm-v1'"),
        ("pendulum", ["task.state.theta=o9"], "state: uses o9, but the observation has 3 entries"),
        ("pendulum", ["task.score.optimum=zermelo"], "score.optimum: got 'zermelo'"),
        ("pendulum", ["methods.ndm.model=known", "task.environment.kwargs={g: 5.0}"], "model: got 'known'"),
        ("maze_u", ["methods.ndm.model=known"], "model: got 'known'"),
        ("maze_u", ["task.environment.kwargs.maze=huge"], "kwargs.maze: got 'huge'"),
        ("pendulum", ["methods.ndm.steps=3"], "steps: got 3"),
        ("acrobot", ["method=ilqr"], "method: got 'ilqr', which needs continuous controls"),
    ],
)
def test_what_is_refused_names_task_and_field_and_leaves_nothing(tmp_path, name, overrides, says):
    with pytest.raises(InputError, match=says) as error:
        execute(load_config(f"planning/{name}", [*FEW, *overrides]), tmp_path / "run", track=False)
    assert not (tmp_path / "run").exists()
    assert "\n" not in str(error.value)
