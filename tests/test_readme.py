"""README claims nothing that is not on disk, and shows no command that does not exist."""

import re
from pathlib import Path

import pytest

from ndm_apps import shipped
from ndm_apps.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "results/README.md").read_text()


@pytest.mark.parametrize("table", ["continual/digits", "continual/streams", "continual/compare", "continual/shifts"])
def test_tables_are_those_on_disk(table):
    assert (ROOT / f"results/{table}.md").read_text().strip() in RESULTS


@pytest.mark.parametrize("page, part", [("geometry/curvature", 1), ("physics/benchmark", 2), ("planning/benchmark", 2)])
def test_tables_of_pages_are_those_on_disk(page, part):
    assert (ROOT / f"results/{page}.md").read_text().split("\n\n")[part].strip() in RESULTS


@pytest.mark.parametrize("page", ["README.md", "results/README.md", "tasks/README.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    assert links
    assert all(((ROOT / page).parent / link).exists() for link in links if not link.startswith("https://"))


def test_commands_and_configs_exist():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {name.strip("_") for name in re.findall(r"^ndm (\w+)", README, re.M)} <= commands
    assert set(re.findall(r"^ndm (?:run|sweep) (\w+/\w+)", README, re.M)) <= set(shipped.names("configs"))


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([\w-]+)", README + RESULTS)) <= targets


def test_python_doors_open():
    import torch

    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    noise = torch.Generator().manual_seed(0)
    stream = [torch.randn(32, 6, generator=noise) for _ in range(12)]
    exec(compile(code, "README.md", "exec"), {"stream": stream})
