"""One run: a folder that is written as the run goes on, each file complete or absent, and that can be resumed."""

from __future__ import annotations

import dis
import json
import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ndm_apps import provenance, report, tracking
from ndm_apps.config import Config, load_config
from ndm_apps.engine.checkpoint import load_state
from ndm_apps.errors import InputError
from ndm_apps.files import write_bytes, write_text
from ndm_apps.plugins.base import Result, RunContext, resolve
from ndm_apps.run_files import CONFIG, PAGE, RESULT, STATE, Claim, RunCheckpoint, is_complete

Progress = Callable[[int, int, str], None]


def default_folder(config: Config, results: Path) -> Path:
    """Return the folder of a new run, one that does not exist: ``<results>/runs/<domain>-<name>-<time>-<seed>``."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{config.name}-{stamp}-{config.run.seed}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(folder for folder in (results / "runs" / name for name in names) if not folder.exists())


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
        If the folder holds another run or cannot be written, the device is not there, or the plugin refuses its data.
        A run that had not begun to log by then leaves nothing on disk and nothing in MLflow.
    """
    if is_complete(config, out, resume=resume):
        if not (out / PAGE).exists():  # cut off between the result and its page
            report.write_run_page(out)
        return json.loads((out / RESULT).read_text(encoding="utf-8"))
    plugin_run = resolve(config.plugin.entry)  # before the clock starts: importing is not running
    device = _device(config.run.device)
    provenance.reset_peak_memory()
    torch.set_num_threads(config.run.threads)
    seed_everything(config.run.seed)
    claim = Claim(config, out)
    delivery = _Delivery(tracking.Tracker(out, parent=parent, on_warning=warn) if track else None)
    claim.metrics.on_first = delivery.start
    checkpoint = RunCheckpoint(out / STATE, config.run.checkpoint_every, claim.metrics)
    context = RunContext(
        seed=config.run.seed,
        device=device,
        dtype=config.run.dtype,
        evaluate=config.run.evaluate,
        log=claim.metrics.log,
        progress=progress,
        checkpoint=checkpoint,
    )
    try:
        with report.style(), _refusals_as_input_errors(config, plugin_run):
            outcome: Result = plugin_run(config.task, config.run.method, config.settings, context)
        values = _write(config, out, outcome, checkpoint.seconds())
        if track:
            _export_model(outcome, out / "checkpoint")
        report.write_run_page(out)
        delivery.start()
    except InputError:
        claim.withdraw()
        raise
    finally:
        claim.metrics.close()
        delivery.finish()
    return values


def seed_everything(seed: int) -> None:
    """Seed all global random-number generators, and ask torch for algorithms that repeat to the bit."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def inspect_run(folder: Path) -> dict[str, Any]:
    """Look at the geometry that a run has learnt; add figures to its page and write ``inspect.json``.

    Raises
    ------
    InputError
        If the folder holds no run with a checkpoint, or its plugin has nothing to show for its method.
    """
    config = load_config(_run_file(folder, CONFIG))
    if not config.plugin.inspect:
        raise InputError(f"{folder}: the plugin {config.plugin.domain!r} has nothing to inspect")
    state = load_state(_run_file(folder, STATE))["plugin"]
    inspect = resolve(config.plugin.inspect)
    # A run may be looked at on a machine that lacks the device it was made on.
    run = config.run if _is_available(config.run.device) else config.run.model_copy(update={"device": "cpu"})
    torch.set_num_threads(run.threads)
    seed_everything(run.seed)
    with report.style(), _refusals_as_input_errors(config, inspect):
        outcome: Result = inspect(config.task, run.method, config.settings, state, run)
    _write_figures(folder, outcome)
    write_text(folder / "inspect.json", _json(outcome.values))
    report.write_run_page(folder)
    return outcome.values


class _Delivery:
    """A tracker that starts with the first metric, so that wrong input leaves no run in MLflow."""

    def __init__(self, tracker: tracking.Tracker | None) -> None:
        self._waiting, self._started = tracker, None

    def start(self) -> None:
        """Start, if that has not been done."""
        if self._waiting is not None:
            self._started, self._waiting = self._waiting.start(), None

    def finish(self) -> None:
        """Deliver the rest, if anything was ever to be delivered."""
        if self._started is not None:
            self._started.finish()


@contextmanager
def _refusals_as_input_errors(config: Config, entry: Callable[..., Any]) -> Iterator[None]:
    """Turn a ``ValueError`` with which our own code or the plugin's refuses a value into an ``InputError``.

    Every schema has been checked by then: what is refused comes from the user's data. A ``ValueError`` that a library
    raises, or that Python itself raises inside our code, is a fault of the program and keeps its traceback.
    """
    try:
        yield
    except ValueError as error:
        *_, last = _tracebacks(error)
        package = last.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        is_ours = package in ("ndm_apps", entry.__module__.partition(".")[0])
        if is_ours and dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS":
            raise InputError(f"{config.task_name}: {' '.join(str(error).split())}") from error
        raise


def _tracebacks(error: BaseException) -> Iterator[Any]:
    at = error.__traceback__
    while at is not None:
        yield at
        at = at.tb_next


def _run_file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise InputError(f"{folder}: no {name} there; a run folder is needed (results/runs/...)")
    return folder / name


def _is_available(device: str) -> bool:
    kind, _, number = device.partition(":")
    if kind == "cuda":
        return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
    return kind == "cpu" or torch.backends.mps.is_available()


def _device(name: str) -> str:
    if not _is_available(name):
        raise InputError(f"device: got {name!r}, but torch sees no such device here; cpu is always there")
    return name


def _write(config: Config, out: Path, outcome: Result, seconds: float) -> dict[str, Any]:
    """Write figures, data set and further files, then ``result.json``, which makes the run complete."""
    _write_figures(out, outcome)
    for name, text in outcome.files.items():
        write_text(out / name, text)
    if outcome.dataset is not None:
        write_text(out / "dataset.json", json.dumps(vars(outcome.dataset), indent=1))
    values = {
        "task": config.task_name,
        "method": config.run.method,
        "seed": config.run.seed,
        **outcome.values,
        "seconds": seconds,
        "peak_memory_mb": provenance.peak_memory_mb(),
        "config": config.resolved(),
        "versions": provenance.versions(),
        "git": provenance.git_commit(),
    }
    text = _json(values)
    write_text(out / RESULT, text)
    return json.loads(text)


def _json(values: Any) -> str:
    """Return JSON that every reader takes: null stands for a number that is not finite."""

    def finite(value: Any) -> Any:
        match value:
            case float() if not math.isfinite(value):
                return None
            case dict():
                return {key: finite(item) for key, item in value.items()}
            case list() | tuple():
                return [finite(item) for item in value]
        return value

    return json.dumps(finite(values), indent=1, allow_nan=False)


def _write_figures(out: Path, outcome: Result) -> None:
    """Write figures, and their captions beside those that are there already."""
    captions_file = out / "figures" / "captions.json"
    captions = json.loads(captions_file.read_text(encoding="utf-8")) if captions_file.exists() else {}
    for name, picture in outcome.pictures.items():
        report.save_svg(picture.figure, out / "figures" / f"{name}.svg")
        captions[name] = picture.caption
    for name, animation in outcome.animations.items():
        write_bytes(out / "figures" / f"{name}.gif", animation.gif)
        captions[name] = animation.caption
    write_text(captions_file, json.dumps(captions, indent=1))


def _export_model(outcome: Result, folder: Path) -> None:
    """Write the model as a ``torch.export`` archive with its signature, for MLflow, where it can be exported."""
    if outcome.model is None:
        return
    temporary = folder / ".model.pt2"
    folder.mkdir(exist_ok=True)
    try:
        program = torch.export.export(
            outcome.model, (outcome.example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
        torch.export.save(program, temporary)
    except Exception:  # whatever the exporter cannot trace; the run's own checkpoint holds the weights anyway
        temporary.unlink(missing_ok=True)
        return
    with torch.no_grad():
        output = outcome.model(outcome.example)
    signature = {name: [_tensor_schema(value)] for name, value in (("inputs", outcome.example), ("outputs", output))}
    write_text(folder / "model_signature.json", json.dumps(signature))
    os.replace(temporary, folder / "model.pt2")


def _tensor_schema(value: torch.Tensor) -> dict[str, Any]:
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": [-1, *value.shape[1:]]}
