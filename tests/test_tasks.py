import os
from dataclasses import replace

import pytest
from pydantic import model_validator

from ndm_apps import shipped
from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.plugins import base
from ndm_apps.tasks import load_task
from ndm_apps.yaml_source import parse_yaml
from tests.broken.cases import TASKS
from tests.broken.toys import PLUGINS, TASK, PhysicsTask


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(base, "plugins", lambda: PLUGINS)
    (tmp_path / "spring.yaml").write_text(TASK)
    return tmp_path


@pytest.mark.parametrize("case", TASKS.values(), ids=list(TASKS))
def test_broken_tasks_are_told_with_file_line_and_key(case, folder):
    (folder / "bad.yaml").write_text(case.content)
    (folder / "config.yaml").write_text("task: bad.yaml\nmethod: ndm\n")
    before = sorted(os.listdir(folder))
    messages = []
    for read in (load_task, lambda _: load_config("config.yaml")):
        with pytest.raises(InputError) as caught:
            read("bad.yaml")
        messages.append(str(caught.value))
    assert messages[0] == messages[1], "alone and named by a config"
    assert messages[0].isprintable() and messages[0].startswith(f"bad.yaml:{case.line}: ")
    for part in case.says:
        assert part in messages[0]
    assert sorted(os.listdir(folder)) == before, "nothing in the file was executed"


def test_a_task_by_path_and_inline(folder):
    name, task = load_task("spring.yaml")
    assert name == "spring" and isinstance(task, PhysicsTask) and task.system.state == ("q", "p")
    assert load_task(parse_yaml(TASK, "x").data) == ("inline", task)
    assert load_task(folder / "spring.yaml") == (name, task)


def test_relative_paths_start_at_the_referring_file_then_at_the_working_folder(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "spring.yaml").write_text(TASK.replace("1e-3", "0.5"))
    (folder / "sub" / "config.yaml").write_text("task: spring.yaml\nmethod: ndm\n")
    assert load_task("spring.yaml", folder / "sub" / "config.yaml")[1].noise == 0.5
    assert load_task("spring.yaml", folder / "sub")[1].noise == 0.5
    assert load_task("spring.yaml")[1].noise == 1e-3
    assert load_config("sub/config.yaml").task.noise == 0.5
    (folder / "sub" / "spring.yaml").unlink()
    assert load_task("spring.yaml", folder / "sub" / "config.yaml")[1].noise == 1e-3


@pytest.mark.parametrize("inline", [{}, {"domain": 3}, {"domain": "chess"}, {"domain": "physics"}])
def test_broken_inline_tasks(folder, inline):
    with pytest.raises(InputError, match=r"^task: "):
        load_task(inline)


def test_every_shipped_task_is_valid():
    for name in shipped.names("tasks"):
        found, task = load_task(name)
        assert found == name and task.domain in base.plugins()


def test_a_before_validator_that_breaks_tuples_is_reported_to_the_author_of_the_schema(folder, monkeypatch):
    class Careless(PhysicsTask):
        @model_validator(mode="before")
        @classmethod
        def _same(cls, data):
            return data

    monkeypatch.setattr(base, "plugins", lambda: {"physics": replace(PLUGINS["physics"], task=Careless)})
    with pytest.raises(TypeError, match=r"Careless.*'before'.*system"):
        load_task("spring.yaml")
