"""What the campaign runs, how the files of a run are judged, and when two runs have found the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ndm_apps.config import load_config
from ndm_apps.engine.checkpoint import load_state
from ndm_apps.files import is_temporary

#: One small run of each plugin, as arguments of ``ndm run``.
RUNS = {
    "continual": ("continual/digits", "methods.ndm.immersion.width=20", "task.stream.batch_size=64",
                  "checkpoint_every=3"),
    "physics": ("physics/pendulum",),
    "planning": ("planning/double_integrator", "methods.ndm.episodes=3"),
    "supervised": ("claims/lambda", "methods.ndm.steps=40", "checkpoint_every=10"),
}  # fmt: skip

#: Parts of ``result.json`` that differ between two undisturbed runs: clocks, memory, the checkout edited meanwhile.
_OF_THE_MACHINE = ("seconds", "peak_memory_mb", "versions", "git", "folder")
_CLOCKS = ("_ms_", "_seconds", "seconds_to_")


def command(plugin: str, *more: str) -> list[str]:
    """Return the arguments that run a plugin's run in the folder ``run``, or go on with it."""
    config, *overrides = RUNS[plugin]
    return ["run", config, *(word for one in overrides for word in ("--set", one)), "--out", "run", "--resume", *more]


def found(folder: Path) -> dict[str, Any]:
    """Return what a run has found: its result without clocks and memory, and its log without times."""
    result = json.loads((folder / "result.json").read_text())
    result = {
        key: value
        for key, value in result.items()
        if key not in _OF_THE_MACHINE and not any(part in key for part in _CLOCKS)
    }
    # Planning tells its times in the verdict as well.
    result["verdict"] = str(result["verdict"]).partition("; 0.")[0]
    lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    points = [json.loads(line) for line in lines]
    return {"result": result, "log": [(point["name"], point["value"], point["step"]) for point in points]}


def half_written(folder: Path) -> list[str]:
    """Return the files at or below a folder that bear their final name and are not whole.

    The log is the one file that grows; a reader passes over its last line if that has no end.
    """
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if not _is_whole(path)]


def left_over(folder: Path) -> list[str]:
    """Return what is left of files that were being written."""
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob(".*")) if is_temporary(path)]


def _is_whole(path: Path) -> bool:
    if path.is_dir() or is_temporary(path):
        return True
    try:
        for _ in _checks(path):
            pass
    except Exception:  # whatever a reader says of it
        return False
    return True


def _checks(path: Path) -> Iterator[None]:
    match path.suffix:
        case ".json":
            yield json.loads(path.read_text())
        case ".yaml":
            yield load_config(path)
        case ".safetensors":
            yield load_state(path)
        case ".jsonl":
            yield [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        case ".html" | ".svg" as kind:
            yield path.read_text().rstrip().index(f"</{kind[1:]}>", -20)
        case ".md" | ".csv" | ".tex":
            yield path.read_text().index("\n", -1)
