"""Imports run one way: geometry <- engine <- plugins/X <- run, sweep <- cli; some modules are for the top only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ndm_apps

ROOT = Path(ndm_apps.__file__).parent
# What each room may import of ndm_apps. A module's room is the longest prefix that matches.
LEAVES = {f"ndm_apps.{name}" for name in ("errors", "files", "interruption", "records", "wording")} | {"ndm_apps"}
CONFIGURING = {
    f"ndm_apps.{name}"
    for name in (
        "config",
        "tasks",
        "search_space",
        "shipped",
        "overrides",
        "validation",
        "wording",
        "yaml_source",
        "yaml_values",
    )
}
# What a plugin may use beside its own room: everything below it.
BELOW_PLUGINS = {
    "ndm_apps.geometry",
    "ndm_apps.engine",
    "ndm_apps.plugins.base",
    "ndm_apps.plugins.geometry_pictures",
    "ndm_apps.datasets",
    "ndm_apps.torchvision_shim",
    "ndm_apps.expression",
    "ndm_apps.expression_tree",
}
ALLOWED = {
    "ndm_apps.geometry": {"ndm_apps.geometry"},
    "ndm_apps.engine": {"ndm_apps.geometry", "ndm_apps.engine"},
    "ndm_apps.datasets": {"ndm_apps.datasets", "ndm_apps.torchvision_shim"},
    "ndm_apps.avalanche_logging": {"ndm_apps.tracking", "ndm_apps.torchvision_shim"},
    "ndm_apps.plugins.base": set(),
    "ndm_apps.plugins": BELOW_PLUGINS,
    "ndm_apps.tracking": {"ndm_apps.tracking"},
    "ndm_apps.report": {"ndm_apps.report", "ndm_apps.plugins.base"},
    "ndm_apps.provenance": set(),
    "ndm_apps.terminal": {"ndm_apps.report"},
    "ndm_apps.run_files": {"ndm_apps.engine", "ndm_apps.config", "ndm_apps.plugins.base", "ndm_apps.yaml_source"},
    "ndm_apps.run_together": {"ndm_apps.run_files", "ndm_apps.engine", "ndm_apps.plugins.base", "ndm_apps.config"},
    "ndm_apps.run_results": {
        "ndm_apps.provenance",
        "ndm_apps.report",
        "ndm_apps.config",
        "ndm_apps.plugins.base",
        "ndm_apps.run_files",
    },
    "ndm_apps.scaffold": {"ndm_apps.scaffold", "ndm_apps.plugins.base"},
    "ndm_apps.run": {
        "ndm_apps.run_results",
        "ndm_apps.provenance",
        "ndm_apps.run_files",
        "ndm_apps.run_together",
        "ndm_apps.report",
        "ndm_apps.tracking",
        "ndm_apps.engine",
        "ndm_apps.plugins.base",
        "ndm_apps.config",
    },
    "ndm_apps.sweep": {
        "ndm_apps.search_space",
        "ndm_apps.plugins.base",
        "ndm_apps.sweep",
        "ndm_apps.run",
        "ndm_apps.report",
        "ndm_apps.tracking",
        "ndm_apps.config",
        "ndm_apps.shipped",
    },
    **{room: CONFIGURING | {"ndm_apps.plugins.base", "ndm_apps.plugins"} for room in CONFIGURING},
}
HEAVY_ONLY_IN = {"mlflow": {"ndm_apps.tracking"}, "typer": {"ndm_apps.cli"}}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("ndm_apps", *path.relative_to(ROOT).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path):
    """Every module that a file imports, wherever in the file; ``from a import b`` is a.b where that is a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in submodules if (ROOT.parent / Path(*name.split("."))).with_suffix(".py").exists()
                     or (ROOT.parent / Path(*name.split(".")) / "__init__.py").exists()]  # fmt: skip
            yield from found or [node.module]


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def breaches(module: str, targets: list[str]) -> list[str]:
    rooms = [room for room in ALLOWED if inside(module, room)]
    wrong = []
    if rooms:
        room = max(rooms, key=len)
        allowed = ALLOWED[room] | LEAVES
        if room == "ndm_apps.plugins":  # a plugin's own room, and no other plugin's
            allowed = allowed | {".".join(module.split(".")[:3])}
        for target in targets:
            exact = target in allowed
            if inside(target, "ndm_apps") and not exact and not any(inside(target, a) for a in allowed - LEAVES):
                wrong.append(f"{module} imports {target}")
    for package, homes in HEAVY_ONLY_IN.items():
        if not any(inside(module, home) for home in homes):
            wrong += [f"{module} imports {target}" for target in targets if inside(target, package)]
    return wrong


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_run_one_way(module, path):
    assert breaches(module, list(imported(path))) == []


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("ndm_apps.geometry.curvature", "ndm_apps.engine.network"),
        ("ndm_apps.engine.layer", "ndm_apps.plugins.base"),
        ("ndm_apps.plugins.continual.run", "ndm_apps.plugins.physics.run"),
        ("ndm_apps.plugins.continual.run", "ndm_apps.tracking"),
        ("ndm_apps.plugins.continual.run", "mlflow"),
        ("ndm_apps.run", "ndm_apps.cli"),
        ("ndm_apps.report.page", "ndm_apps.run"),
    ],
)
def test_a_breach_is_found(module, target):
    assert breaches(module, [target]) == [f"{module} imports {target}"]


@pytest.mark.parametrize("command", [["--help"], ["list"], ["check", "continual/digits"]])
def test_light_commands_import_neither_torch_nor_mlflow(command):
    code = (
        "import sys; from ndm_apps.cli import app\n"
        f"app({command!r}, standalone_mode=False)\n"
        "print('heavy:', sorted({'torch', 'mlflow', 'avalanche', 'pandas', 'sympy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "heavy: []" in shown
