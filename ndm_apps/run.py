"""One run: a folder that is written as the run goes on, each file complete or absent, and that can be resumed."""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ndm_apps import report, tracking
from ndm_apps.config import Config, dump_yaml, load_config
from ndm_apps.engine.checkpoint import load_state, random_states, restore_random_states, save_state
from ndm_apps.errors import InputError
from ndm_apps.files import write_text
from ndm_apps.plugins.base import Result, RunContext, resolve

Progress = Callable[[int, int, str], None]

PACKAGES = ("ndm-apps", "torch", "numpy", "avalanche-lib", "geoopt", "scipy", "scikit-learn", "mlflow")
_FLUSH_SECONDS = 1.0


def default_folder(config: Config, results: Path) -> Path:
    """Return the folder of a new run: ``<results>/runs/<domain>-<name>-<time>-<seed>``."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return results / "runs" / f"{config.name}-{stamp}-{config.run.seed}"


def execute(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    track: bool = True,
    parent: str | None = None,
    progress: Progress = lambda done, total, text: None,
    warn: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> dict[str, Any]:
    """Run a config in a folder and return its ``result.json``.

    Parameters
    ----------
    config
        What to run.
    out
        Folder of the run. It must be new or empty, unless ``resume`` is set.
    resume
        Go on from the last checkpoint in ``out``; a run that was complete is left as it is.
    track
        Send the run to MLflow in the background. A failure to do so is one warning, never an error.
    parent
        MLflow run of the sweep that this run belongs to.
    progress
        Called with samples done, samples in all, and a text.
    warn
        Called with a warning.

    Raises
    ------
    InputError
        If the folder holds another run, or cannot be written.
    """
    _claim(config, out, resume)
    if (out / "result.json").exists():
        return json.loads((out / "result.json").read_text())
    plugin_run = resolve(config.plugin.entry)  # before the clock starts: importing is not running
    torch.set_num_threads(config.run.threads)
    seed_everything(config.run.seed)
    metrics = MetricsLog(out / "metrics.jsonl")
    checkpoint = RunCheckpoint(out / "checkpoint" / "state.safetensors", config.run.checkpoint_every, metrics)
    context = RunContext(
        seed=config.run.seed,
        device=_device(config.run.device),
        dtype=config.run.dtype,
        evaluate=config.run.evaluate,
        log=metrics.log,
        progress=progress,
        checkpoint=checkpoint,
    )
    tracker = tracking.Tracker(out, parent=parent, on_warning=warn).start() if track else None
    try:
        with report.style():
            outcome: Result = plugin_run(config.task, config.run.method, config.settings, context)
        metrics.close()
        values = _write(config, out, outcome, checkpoint.seconds())
        if track:
            _export_model(outcome, out / "checkpoint")
        report.write_run_page(out)
    finally:
        metrics.close()
        if tracker is not None:
            tracker.finish()
    return values


def seed_everything(seed: int) -> None:
    """Seed all global random-number generators, and ask torch for algorithms that repeat to the bit."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


class MetricsLog:
    """Appends metrics to a file of one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._flushed = time.monotonic()

    def log(self, name: str, value: float, step: int) -> None:
        """Append one value of a metric."""
        line = {"name": name, "value": float(value), "step": int(step), "time": round(time.time(), 3)}
        self._file.write(json.dumps(line).encode() + b"\n")
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> int:
        """Bring everything to disk and return the length of the file in bytes."""
        self._file.flush()
        self._flushed = time.monotonic()
        return self._file.tell()

    def cut(self, length: int) -> None:
        """Drop what was logged after a checkpoint that the run now goes back to."""
        self._file.flush()
        self._file.truncate(length)
        self._file.seek(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunCheckpoint:
    """The checkpoint of a run: the plugin's state, all random-number states, and how much had been logged.

    Parameters
    ----------
    path
        File of the state.
    every
        Steps between checkpoints; 0 for none but the last.
    metrics
        The log that is cut back when the run resumes.
    """

    def __init__(self, path: Path, every: int, metrics: MetricsLog) -> None:
        self._path, self._every, self._metrics = path, every, metrics
        self._began, self._before = time.monotonic(), 0.0

    def seconds(self) -> float:
        """Return the time spent on the run, earlier sittings included."""
        return self._before + time.monotonic() - self._began

    def due(self, step: int) -> bool:
        """Whether the state should be saved after ``step`` steps."""
        return self._every > 0 and step % self._every == 0

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Save the state atomically."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        whole = {
            "plugin": dict(state),
            "random": random_states(),
            "metrics": self._metrics.flush(),
            "seconds": self.seconds(),
            "step": step,
        }
        save_state(self._path, whole)

    def load(self) -> dict[str, Any] | None:
        """Return the plugin's last saved state, with random-number states restored; None if there is none."""
        if not self._path.exists():
            self._metrics.cut(0)
            return None
        whole = load_state(self._path)
        restore_random_states(whole["random"])
        self._metrics.cut(whole["metrics"])
        self._before = whole["seconds"]
        return whole["plugin"]


def inspect_run(folder: Path) -> dict[str, Any]:
    """Look at the geometry that a run has learnt; add figures to its page and write ``inspect.json``.

    Raises
    ------
    InputError
        If the folder holds no run with a checkpoint, or its plugin has nothing to show for its method.
    """
    config = load_config(_run_file(folder, "config.yaml"))
    if not config.plugin.inspect:
        raise InputError(f"{folder}: the plugin {config.plugin.domain!r} has nothing to inspect")
    state = load_state(_run_file(folder, "checkpoint/state.safetensors"))["plugin"]
    seed_everything(config.run.seed)
    with report.style():
        inspect = resolve(config.plugin.inspect)
        outcome: Result = inspect(config.task, config.run.method, config.settings, state, config.run)
    _write_figures(folder, outcome)
    write_text(folder / "inspect.json", json.dumps(outcome.values, indent=1))
    report.write_run_page(folder)
    return outcome.values


def _run_file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise InputError(f"{folder}: no {name} there; a run folder is needed (results/runs/...)")
    return folder / name


def _claim(config: Config, out: Path, resume: bool) -> None:
    """Make the folder, or make sure that it holds this very run."""
    text = dump_yaml(config.resolved())
    try:
        out.mkdir(parents=True, exist_ok=True)
        written = out / "config.yaml"
        if written.exists():
            if not resume:
                raise InputError(f"--out: {out} holds a run already; add --resume to go on with it, or choose another")
            if load_config(written) != config:
                raise InputError(f"--resume: {out} holds a run of another config (compare {written}); choose another --out")
        else:
            if any(out.iterdir()):
                raise InputError(f"--out: {out} is not empty and holds no run; choose another folder")
            write_text(written, text)
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written ({error.strerror or error})") from error


def _device(name: str) -> str:
    kind = name.partition(":")[0]
    backend = {"cuda": torch.cuda, "mps": torch.backends.mps}.get(kind)
    if backend is not None and not backend.is_available():
        raise InputError(f"device: got {name!r}, but torch sees no such device here; cpu is always there")
    return name


def _write(config: Config, out: Path, outcome: Result, seconds: float) -> dict[str, Any]:
    """Write figures and data set, then ``result.json``, which makes the run complete."""
    _write_figures(out, outcome)
    if outcome.dataset is not None:
        write_text(out / "dataset.json", json.dumps(vars(outcome.dataset), indent=1))
    resolved = config.resolved()
    values = {
        "task": config.task_name,
        "method": config.run.method,
        "seed": config.run.seed,
        **outcome.values,
        "seconds": seconds,
        "peak_memory_mb": _peak_memory_mb(),
        "config": resolved,
        "versions": versions(),
        "git": git_commit(),
    }
    write_text(out / "result.json", json.dumps(values, indent=1))
    return values


def _write_figures(out: Path, outcome: Result) -> None:
    """Write figures, and their captions beside those that are there already."""
    captions_file = out / "figures" / "captions.json"
    captions = json.loads(captions_file.read_text()) if captions_file.exists() else {}
    for name, picture in outcome.pictures.items():
        report.save_svg(picture.figure, out / "figures" / f"{name}.svg")
        captions[name] = picture.caption
    write_text(captions_file, json.dumps(captions, indent=1))


def _export_model(outcome: Result, folder: Path) -> None:
    """Write the model as a ``torch.export`` archive with its signature, for MLflow, where it can be exported."""
    if outcome.model is None:
        return
    try:
        program = torch.export.export(
            outcome.model, (outcome.example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
        temporary = folder / ".model.pt2"
        torch.export.save(program, temporary)
    except Exception:  # whatever the exporter cannot trace; the run's own checkpoint holds the weights anyway
        return
    with torch.no_grad():
        output = outcome.model(outcome.example)
    signature = {name: [_tensor_schema(value)] for name, value in (("inputs", outcome.example), ("outputs", output))}
    write_text(folder / "model_signature.json", json.dumps(signature))
    os.replace(temporary, folder / "model.pt2")


def _tensor_schema(value: torch.Tensor) -> dict[str, Any]:
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": [-1, *value.shape[1:]]}


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def versions() -> dict[str, str]:
    """Return the versions of Python and the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the checkout that runs, with ``+changes`` if it was edited; None outside a checkout."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if "ndm_apps/run.py" not in git("ls-files", "--full-name", "run.py"):
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
