import json
import os

import pytest

from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.sweep import members


def labels(*overrides, **chosen):
    return [member.label for member in members("continual/digits", overrides, **chosen)]


def test_members_are_methods_times_seeds():
    config = load_config("continual/digits")
    assert labels(methods=["ndm", "slda"], seeds=[0, 3]) == ["ndm-seed0", "ndm-seed3", "slda-seed0", "slda-seed3"]
    whole = members("continual/digits")
    assert len(whole) == len(config.sweep_methods) * len(config.sweep_seeds)
    assert {(m.config.run.method, m.config.run.seed) for m in whole} == {
        (method, seed) for method in config.sweep_methods for seed in config.sweep_seeds
    }
    assert labels("method=naive", "seed=7") == ["naive-seed7"]
    assert labels(" method = naive", seeds=[1, 2]) == ["naive-seed1", "naive-seed2"]
    assert labels("method=naive,slda", seeds=[1]) == ["naive-seed1", "slda-seed1"]
    assert labels("seed=4,5", methods=["ndm"]) == ["ndm-seed4", "ndm-seed5"]
    with pytest.raises(InputError, match="--seeds gives the seeds already"):
        labels("seed=4", seeds=[1])


def test_a_setting_of_one_method_does_not_multiply_the_others():
    found = members("continual/digits", ["methods.ndm.immersion.width=10,20"], methods=["ndm", "naive"], seeds=[0])
    assert [m.label for m in found] == ["ndm-immersion.width=10-seed0", "naive-seed0", "ndm-immersion.width=20-seed0"]
    assert [m.config.settings.immersion.width for m in found if m.config.run.method == "ndm"] == [10, 20]
    assert labels("task.stream.passes=1,2", "threads=1", methods=["ndm"], seeds=[0]) == [
        "ndm-task.stream.passes=1-seed0",
        "ndm-task.stream.passes=2-seed0",
    ]


def test_labels_are_folder_names_of_their_own():
    odd = ["methods.naive.hidden=[8, 8],[8],[]", "task_name=a/b,a_b"]
    found = members("continual/digits", odd, methods=["naive"], seeds=[0])
    assert len({m.label for m in found}) == len({json.dumps(m.config.resolved()) for m in found}) == 6
    assert found[0].label == "naive-hidden=_8_8-task_name=a_b-seed0"
    assert found[1].label.startswith(found[0].label + "-")
    assert members("continual/digits", odd, methods=["naive"], seeds=[0])[1].label == found[1].label
    long = members("continual/digits", [f"task_name={'a' * 400},{'a' * 401}"], methods=["naive"], seeds=[0])
    assert len({m.label for m in long}) == 2
    for member in (*found, *long):
        assert len(os.fsencode(member.label)) <= 120 and not set(member.label) & set("/\\: []")


TASKS = """\
task: continual/digits
method: naive
methods:
  naive: {hidden: [4]}
sweep:
  tasks: [continual/digits, mine/own.yaml]
  variants:
    - {methods.naive.hidden: [8]}
    - {task.stream.experiences: 2, methods.naive.hidden: [8, 8]}
    - {}
  seeds: 7
"""


@pytest.fixture
def several(tmp_path):
    """A config of two tasks and three variants, one of the tasks by a path beside the config."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.yaml").write_text(
        "domain: continual\ndataset: {name: digits}\nstream: {experiences: 5, passes: 3}\n"
    )
    (tmp_path / "several.yaml").write_text(TASKS)
    return tmp_path / "several.yaml"


def test_tasks_and_variants_of_a_config(several):
    found = members(several)
    assert [m.label for m in found] == [
        "naive-task=continual_digits-hidden=_8-seed7",
        "naive-task=continual_digits-task.stream.experiences=2-hidden=_8_8-seed7",
        "naive-task=continual_digits-seed7",
        "naive-task=mine_own.yaml-hidden=_8-seed7",
        "naive-task=mine_own.yaml-task.stream.experiences=2-hidden=_8_8-seed7",
        "naive-task=mine_own.yaml-seed7",
    ]
    assert [m.config.task_name for m in found] == ["continual/digits"] * 3 + ["own"] * 3
    assert [m.config.task.stream.passes for m in found] == [1] * 3 + [3] * 3
    assert [m.config.task.stream.experiences for m in found] == [5, 2, 5] * 2
    assert [m.config.settings.hidden for m in found] == [(8,), (8, 8), (4,)] * 2
    assert {m.config.run.seed for m in found} == {7}


def test_what_is_asked_for_replaces_the_tasks_and_variants(several):
    found = members(several, ["methods.naive.hidden=[2],[3]", "task=continual/digits"], seeds=[1])
    assert [m.config.settings.hidden for m in found] == [(2,), (3,)] * 2
    assert [m.config.task.stream.experiences for m in found] == [5, 5, 2, 2]
    assert {m.config.task_name for m in found} == {"continual/digits"}
    # A task that is asked for comes before the settings inside it, wherever they are given.
    found = members(several, ["task.stream.passes=2", "task=continual/digits"])
    assert [m.config.task.stream.passes for m in found] == [2] * 3


def test_wrong_tasks_and_variants_are_told_with_the_line(several):
    for old, new, says in (
        ("mine/own.yaml", "continual/digit", r"several.yaml:6: sweep.tasks\[1\]: no such task: 'continual/digit'"),
        ("[8]}", "[x]}", r"several.yaml:.*methods.naive.hidden\[0\]: got 'x'"),
        ("experiences: 2", "experiances: 2", r"several.yaml:.*unknown key 'experiances'"),
        ("mine/own.yaml", "continual/digits", r"several.yaml:6: sweep.tasks: .* must not hold an item twice"),
    ):
        assert TASKS.count(old) == 1
        several.write_text(TASKS.replace(old, new))
        with pytest.raises(InputError, match=says):
            members(several)


def test_wrong_members_are_refused():
    for overrides, says in (
        (["methods.ndm.shrinkage=1.0,-1.0"], "--set methods.ndm.shrinkage=-1.0: methods.ndm.shrinkage: got -1.0"),
        (["method=ndm,nmd"], "unknown method of continual 'nmd'"),
    ):
        with pytest.raises(InputError, match=says):
            labels(*overrides)
    with pytest.raises(InputError, match="unknown method"):
        labels(methods=["nmd"])
