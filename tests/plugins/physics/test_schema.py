import os
import subprocess
import sys

import pytest

from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.schema import PhysicsTask, SpectralSettings
from ndm_apps.tasks import load_task

TASK = """\
domain: physics
system:
  state: [q, a]
  angles: [a]
  parameters: {k: 1}
  equations:
    q: sin(a)
    a: -k*q
  initial: {q: [-1.5, 1.5], a: [-1, 1]}
  where: q**2 + a**2 > 0.1
  time: {end: 10, points: 200}
  trajectories: 20
noise: 1e-3
truth: {n_conserved: 1, invariants: [k*q**2/2 - cos(a)]}
"""

# What is replaced, by what, the line told, and what the message says.
BROKEN = {
    "code in an equation": ("sin(a)", "__import__('os').system('touch owned')", 7, "system.equations.q: got"),
    "attribute": ("sin(a)", "q.__class__", 7, "column 1: 'q.__class__': not allowed"),
    "lambda": ("sin(a)", "(lambda q:1)()", 7, "only functions may be called"),
    "unknown name": ("-k*q", "-c*q", 8, "system.equations.a: got '-c*q': column 2: unknown name 'c'"),
    "unknown function": ("sin(a)", "sine(a)", 7, "unknown function 'sine'; did you mean 'sin'?"),
    "caret": ("-k*q", "-k*q^2", 8, "powers are written **"),
    "time in an equation": ("-k*q", "-k*q + t", 8, "unknown name 't'"),
    "comparison in an equation": ("sin(a)", "a < 1", 7, "a comparison is not allowed here"),
    "no equation": ("    a: -k*q\n", "", 6, "system.equations: no entry for the column 'a' of state"),
    "equation of nothing": ("    a: -k*q", "    a: -k*q\n    b: q", 9, "system.equations.b: got 'q': unknown column"),
    "no range": (", a: [-1, 1]", "", 9, "system.initial: no entry for the column 'a'"),
    "range upside down": ("a: [-1, 1]", "a: [1, -1]", 9, "system.initial.a: got [1.0, -1.0], must be [low, high]"),
    "range of three": ("a: [-1, 1]", "a: [-1, 0, 1]", 9, "system.initial.a"),
    "range of text": ("a: [-1, 1]", "a: [-1, x]", 9, "system.initial.a[1]: got 'x', must be a number"),
    "angle of nothing": ("angles: [a]", "angles: [phi]", 4, "system.angles[0]: unknown column 'phi'"),
    "angle twice": ("angles: [a]", "angles: [a, a]", 4, "system.angles[1]: got 'a', which is listed twice"),
    "no name": ("state: [q, a]", "state: [q 1, a]", 3, "system.state[0]: got 'q 1', must be a name"),
    "reserved word": ("{k: 1}", "{lambda: 1}", 5, "system.parameters.lambda: got 'lambda', must be a name"),
    "function as name": ("{k: 1}", "{exp: 1}", 5, "system.parameters.exp: got 'exp', must be a name"),
    "column twice": ("state: [q, a]", "state: [q, q]", 3, "system.state[1]: got 'q', but 'q' is already"),
    "column and parameter": ("{k: 1}", "{q: 1}", 5, "system.parameters.q: got 'q', but 'q' is already"),
    "names that look alike": ("{k: 1}", "{µ: 1, μ: 2}", 5, "system.parameters.μ: got 'μ', but 'µ' is already"),
    "no column": ("state: [q, a]", "state: []", 3, "system.state: got [], must be of 1 items or more"),
    "condition without comparison": ("q**2 + a**2 > 0.1", "q**2", 10, "'q**2' is not a condition"),
    "condition with code": ("q**2 + a**2 > 0.1", "exec('1') > 0", 10, "column 1: unknown function 'exec'"),
    "time backwards": ("end: 10", "end: -10", 11, "system.time.end: got -10, must be greater than 0"),
    "few points": ("points: 200", "points: 5", 11, "system.time.points: got 5, must be 20 or greater"),
    "one trajectory": ("trajectories: 20", "trajectories: 1", 12, "system.trajectories: got 1, must be 2 or"),
    "too many samples": ("trajectories: 20", "trajectories: 9999", 12, "must be at most 2000000"),
    "negative noise": ("noise: 1e-3", "noise: -1", 13, "noise: got -1, must be 0.0 or greater"),
    "too many laws": ("n_conserved: 1", "n_conserved: 3", 14, "truth.n_conserved: got 3, must be at most"),
    "law in unknown names": ("k*q**2/2", "m*q**2/2", 14, "truth.invariants[0]: column 1: unknown name 'm'"),
    "misspelt key": ("angles:", "angels:", 4, "unknown key 'angels'; did you mean 'angles'?"),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
def test_broken_tasks_are_told_in_one_line_with_the_key(broken, tmp_path, monkeypatch):
    old, new, line, says = broken
    assert TASK.count(old) == 1
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(TASK.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_task("bad.yaml")
    assert str(caught.value).startswith(f"bad.yaml:{line}: ") and str(caught.value).isprintable()
    assert says in str(caught.value)
    assert os.listdir(tmp_path) == ["bad.yaml"], "nothing in the file was executed"


def test_the_valid_task(tmp_path):
    (tmp_path / "good.yaml").write_text(TASK)
    name, task = load_task(tmp_path / "good.yaml")
    assert name == "good" and isinstance(task, PhysicsTask)
    assert task.system.initial == {"q": (-1.5, 1.5), "a": (-1.0, 1.0)} and task.noise == 1e-3


def test_settings_are_checked(tmp_path):
    (tmp_path / "good.yaml").write_text(TASK)
    (tmp_path / "config.yaml").write_text("task: good.yaml\nmethod: spectral\n")
    assert load_config(tmp_path / "config.yaml").settings == SpectralSettings()
    for override, says in (("degree=0", "1 or greater"), ("held_out=0.6", "0.4 or less"), ("degre=2", "'degree'")):
        with pytest.raises(InputError, match=says):
            load_config(tmp_path / "config.yaml", [f"methods.spectral.{override}"])


def test_every_config_has_its_task():
    names = [
        "harmonic_oscillator",
        "isotropic_oscillator_2d",
        "pendulum",
        "henon_heiles",
        "damped_oscillator",
        "lorenz",
    ]
    assert [load_config(f"physics/{name}").task_name for name in names] == [f"physics/{name}" for name in names]


def test_checking_imports_nothing_heavy():
    code = (
        "import sys; from ndm_apps.config import load_config\nload_config('physics/pendulum')\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'sympy', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"
