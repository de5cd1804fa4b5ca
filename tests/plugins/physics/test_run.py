import json

import pytest

from ndm_apps.config import load_config
from ndm_apps.engine.checkpoint import load_state
from ndm_apps.run import execute

FAST = ["methods.spectral.degree=2"]


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_run_from_config_to_result(tmp_path, noise):
    config = load_config("physics/pendulum", [*FAST, f"task.noise={noise}"])
    values = execute(config, tmp_path / "run", track=False)
    written = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=pytest.fail)
    assert written["n_conserved"] == written["n_conserved_true"] == 1 and written["correct"] is True
    law = written["invariants"][0]
    assert set(law) == {
        "expression",
        "name",
        "latex",
        "drift",
        "drift_without_noise",
        "coefficients",
        "coefficients_sd",
    }
    assert law["expression"] == "omega**2/2 - cos(theta)" and r"\cos" in law["latex"]
    assert written["worst_drift"] == law["drift"] and law["drift"] < (1e-9 if noise == 0 else 0.06)
    assert law["drift_without_noise"] < 1e-9
    assert law["expression"] in written["verdict"] and written["approximate"] is None and written["constraints"] == []
    assert written["noise"]["omega"] == pytest.approx(noise, abs=2e-3)
    assert len(written["evidence"]["tests"]) == 1
    assert {path.stem for path in (tmp_path / "run" / "figures").glob("*.svg")} == {
        "spectrum",
        "portrait",
        "levels",
        "drift",
    }
    state = load_state(tmp_path / "run" / "checkpoint" / "state.safetensors")["plugin"]
    assert state["invariants"][0]["expression"] == law["expression"]
    assert values["n_conserved"] == 1


def test_none_is_said_with_evidence(tmp_path):
    config = load_config("physics/damped_oscillator", FAST)
    execute(config, tmp_path / "run", track=False)
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["n_conserved"] == 0 and written["correct"] is True and written["worst_drift"] is None
    assert written["verdict"].startswith("No conserved quantity among polynomials up to degree 2")
    last = written["evidence"]["spectra"][-1]
    assert last["eigenvalues"][0] > 1e6 > last["threshold"]
    assert written["evidence"]["least_changing"]["drift"] > 0.05


def test_the_same_seed_gives_the_same_result_and_validation_leaves_the_judging_trajectories_alone(tmp_path):
    def result(name, *overrides):
        config = load_config("physics/harmonic_oscillator", [*FAST, "task.noise=0.01", *overrides])
        values = execute(config, tmp_path / name, track=False)
        return {key: values[key] for key in ("invariants", "evidence", "noise")}, values

    first, again, other = result("a"), result("b"), result("c", "seed=1")
    assert first[0] == again[0] != other[0]
    held = result("d", "evaluate=validation")[0]
    assert sum(held["evidence"]["trajectories"].values()) == 48
    assert sum(first[0]["evidence"]["trajectories"].values()) == 60


def test_a_task_without_truth_is_not_scored(tmp_path):
    config = load_config("physics/harmonic_oscillator", [*FAST, "task.truth=null"])
    values = execute(config, tmp_path / "run", track=False)
    assert values["correct"] is None and values["n_conserved_true"] is None and values["n_conserved"] == 1
