import json
import sys

import numpy as np
import pytest

from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.expression import parse_expression
from ndm_apps.plugins.physics.atoms import NUMPY
from ndm_apps.plugins.physics.chart import fit
from ndm_apps.plugins.physics.symbolic import beyond, regress, settle
from ndm_apps.run import execute

SMALL = ["task.system.time.points=60", "task.system.trajectories=24", "seed=1000", "methods.spectral.symbolic=true"]


def result(folder, *overrides):
    config = load_config("physics/beyond", ["task=physics/beyond/exponential_walls", *SMALL, *overrides])
    execute(config, folder, track=False)
    return json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)


def test_without_operon_one_line_tells_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoperon.sklearn", None)
    with pytest.raises(InputError, match=r"^methods.spectral.symbolic: .*pip install 'ndm-apps\[symbolic\]'$"):
        result(tmp_path / "run")


@pytest.fixture
def evolved(monkeypatch):
    """A formula that Operon might return, with numbers that are off; a quick chart."""
    quick = ((fit, "STEPS", 100), (fit, "STARTS", 1), (fit, "REFINEMENT", 30), (settle, "SAMPLES", 300))
    for module, name, value in quick:
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(regress, "require", lambda: None)
    tree = parse_expression("0.2 + 0.9*v1**2 + 2.1*cosh(1.1*v0)", ["v0", "v1"])
    monkeypatch.setattr(beyond, "formulas", lambda *arguments: [tree])


def test_a_law_outside_the_dictionary_is_written_down(tmp_path, evolved):
    found = result(tmp_path / "run")
    opinion = found["evidence"]["second_opinion"]
    assert (opinion["dictionary"], opinion["chart"], found["n_conserved"]) == (0, 1, 1)
    assert opinion["symbolic"] == ["cosh(q)"] and found["score"]["textbook"] == 1.0
    assert found["verdict"].endswith("With cosh(q) from symbolic regression in the dictionary, it is written down.")


def test_operon_finds_a_short_formula():
    pytest.importorskip("pyoperon")
    x = np.random.default_rng(0).uniform(-2, 2, (200, 2))
    target = x[:, 0] ** 2 / 2 + np.exp(0.7 * x[:, 1])
    best = regress.formulas(x, target, ["v0", "v1"], "exp", 0)[0]
    values = best.evaluate({"v0": x[:, 0], "v1": x[:, 1]}, NUMPY)
    assert best.names == {"v0", "v1"} and abs(np.corrcoef(values, target)[0, 1]) > 0.9999
