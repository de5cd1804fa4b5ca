"""Tutorials run as they are, and name public doors only."""

import ast
import os
import subprocess
import sys
from importlib import import_module

import pytest

from ndm_apps.shipped import shipped

TUTORIALS = sorted((shipped("configs") / "tutorials").glob("*.py"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, path], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) >= 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_names_public_doors_only(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("ndm_apps"):
            door = import_module(node.module)
            names = [alias.name for alias in node.names]
            assert all(hasattr(door, name) and not name.startswith("_") for name in names)
            assert node.module.count(".") == 1 or "plugins" in node.module or names == ["load_task"]


def test_each_plugin_has_one():
    assert {"continual", "physics", "planning", "supervised"} <= {path.stem for path in TUTORIALS}
