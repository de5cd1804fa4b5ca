"""What ``ndm new`` writes works as it was written."""

import os
import subprocess
import sys

import pytest
import yaml

from ndm_apps.cli import main
from ndm_apps.config import load_config
from ndm_apps.plugins import base
from ndm_apps.plugins.base import plugins
from ndm_apps.scaffold import new_plugin, new_task


def ndm(*arguments, capsys):
    """Exit status, output and errors of a command."""
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    told = capsys.readouterr()
    return stopped.value.code, told.out, told.err


def test_a_new_plugin_is_installed_and_passes_the_contract(tmp_path):
    new_plugin("mine", tmp_path)
    project, site = tmp_path / "mine", tmp_path / "site"
    install = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", site, project]
    subprocess.run([sys.executable, "-m", "pip", *map(str, install)], check=True, timeout=300)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=project, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "8 passed" in done.stdout
    listed = subprocess.run([sys.executable, "-m", "ndm_apps", "list", "plugins"], env=environment, capture_output=True,
                            text=True, check=True)  # fmt: skip
    assert "mine: fits a network to noisy samples of a curve" in listed.stdout


@pytest.mark.parametrize("domain", sorted(set(plugins())))
def test_a_new_task_is_accepted_and_means_itself(domain, tmp_path, capsys):
    task, config = new_task(f"{domain}/own", tmp_path)
    loaded = load_config(config)
    assert loaded.plugin.domain == domain and loaded.run.task == yaml.safe_load(task.read_text())
    assert ndm("check", task, config, capsys=capsys)[0] == 0


def test_the_commands_say_what_they_wrote(tmp_path, capsys):
    status, out, _ = ndm("new", "task", "physics/own", "--out", tmp_path, capsys=capsys)
    assert status == 0 and str(tmp_path / "configs" / "physics" / "own.yaml") in out
    status, out, _ = ndm("new", "plugin", "other", "--out", tmp_path, capsys=capsys)
    assert status == 0 and str(tmp_path / "other" / "pyproject.toml") in out
    assert "$" not in "".join(path.read_text() for path in (tmp_path / "other").rglob("*") if path.suffix == ".py")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plugin", "My-Plugin"], "NAME: got 'My-Plugin', must be"),
        (["plugin", "class"], "NAME: got 'class', must be"),
        (["plugin", "../out"], "NAME: got '../out', must be"),
        (["plugin", "x" * 41], "NAME: got"),
        (["plugin", "physics"], "must not be the name of a plugin or module"),
        (["plugin", "torch"], "must not be the name of a plugin or module"),
        (["plugin", "taken"], "taken is there already"),
        (["task", "own"], "DOMAIN/NAME: got 'own', must be such as physics/mine"),
        (["task", "physics/../own"], "DOMAIN/NAME: got"),
        (["task", "physiks/own"], "did you mean 'physics'"),
        (["task", "physics/taken"], "is there already"),
    ],
)
def test_bad_names_are_refused_and_nothing_is_written(arguments, message, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    (tmp_path / "configs" / "physics").mkdir(parents=True)
    (tmp_path / "configs" / "physics" / "taken.yaml").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    status, out, err = ndm("new", *arguments, "--out", tmp_path, capsys=capsys)
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_domain_without_a_template_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ndm_apps.scaffold.plugins", lambda: {**base.plugins(), "mine": None})
    status, _, err = ndm("new", "task", "mine/own", "--out", tmp_path, capsys=capsys)
    assert status == 2 and "no template for mine" in err
