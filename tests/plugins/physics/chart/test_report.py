import json

import pytest

from ndm_apps.config import load_config
from ndm_apps.plugins.physics.chart import fit
from ndm_apps.run import execute

SMALL = ["task.system.time.points=100", "seed=1000", "methods.spectral.second_opinion=true"]


def result(task, folder, *overrides, trajectories=24):
    many = f"task.system.trajectories={trajectories}"
    config = load_config("physics/benchmark", [f"task=physics/{task}", many, *SMALL, *overrides])
    execute(config, folder, track=False)
    return json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)


def test_a_law_outside_the_dictionary_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "STEPS", 150)
    # The energy of Duffing's oscillator is of degree 4.
    low = result("duffing", tmp_path / "run", "methods.spectral.degree=2", "methods.spectral.special=false")
    assert low["n_conserved"] == 0
    opinion = low["evidence"]["second_opinion"]
    assert (opinion["dictionary"], opinion["chart"], opinion["agrees"]) == (0, 1, False)
    assert low["verdict"].endswith(opinion["sentence"])
    assert "the chart sees 1 law; the dictionary wrote down 0: something outside the dictionary" in low["verdict"]


def test_with_all_laws_written_there_is_no_room(tmp_path):
    written = result("duffing", tmp_path / "run")
    assert written["n_conserved"] == 1 and written["evidence"]["second_opinion"]["tried"] == []


def test_too_few_trajectories_are_told(tmp_path):
    written = result("duffing", tmp_path / "run", trajectories=8)
    assert "second_opinion" not in written["evidence"]
    assert "second opinion below 12 trajectories" in written["verdict"]
