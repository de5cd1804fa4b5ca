"""A run that several processes share, started by ``torchrun``: the first one writes, the others compute with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ndm_apps.config import Config
from ndm_apps.engine.checkpoint import restore_random_states
from ndm_apps.engine.parallel import ALONE, Workers, workers
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Result, RunContext
from ndm_apps.run_files import RESULT, STATE, read_state


def join(config: Config) -> Workers:
    """Join the processes that ``torchrun`` started; a process that it did not start is alone.

    Raises
    ------
    InputError
        If the plugin of the config does not share runs, or its device cannot be shared.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if not config.plugin.parallel:
        raise InputError(f"torchrun: got {size} processes, but {config.plugin.domain} runs in one; start ndm itself")
    if config.run.device not in ("cpu", "cuda"):
        raise InputError(f"device: got {config.run.device!r} with {size} processes, must be cpu or cuda")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo" if config.run.device == "cpu" else "nccl")
    return workers()


def device_of(config: Config, group: Workers) -> str:
    """Return the device of this process: of several on CUDA, each has its own."""
    if group.size == 1 or config.run.device == "cpu":
        return config.run.device
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number < torch.cuda.device_count():
        torch.cuda.set_device(number)
    return f"cuda:{number}"


def follow(
    config: Config, out: Path, plugin_run: Callable[..., Result], device: str, *, resume: bool = False
) -> dict[str, Any]:
    """Do the part of a process other than the first, and write nothing.

    Parameters
    ----------
    config, out, resume
        As of :func:`ndm_apps.run.execute` in the first process.
    plugin_run, device
        The plugin's function, and where this process computes. Generators are seeded as in the first process.

    Returns
    -------
    dict
        What the plugin found, without what ``result.json`` says of the machine.
    """
    if resume and (out / RESULT).exists():  # the first process has nothing to do, and no process to do it with
        return json.loads((out / RESULT).read_text(encoding="utf-8"))
    context = RunContext(
        seed=config.run.seed,
        device=device,
        dtype=config.run.dtype,
        evaluate=config.run.evaluate,
        log=lambda name, value, step: None,
        progress=lambda done, total, text: None,
        checkpoint=_ReadOnly(out if resume else None, config.run.checkpoint_every),
    )
    outcome = plugin_run(config.task, config.run.method, config.settings, context)
    named = {"task": config.task_name, "method": config.run.method, "seed": config.run.seed}
    return {**named, **outcome.values, "config": config.resolved()}


class _ReadOnly:
    """The checkpoint that the first process writes, as the others see it."""

    def __init__(self, out: Path | None, every: int) -> None:
        self._out, self._every = out, every

    def due(self, step: int) -> bool:
        """As in the first process: a plugin may form the state together."""
        return self._every > 0 and step % self._every == 0

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Leave it to the first process."""

    def load(self) -> dict[str, Any] | None:
        """Return the state that the first process resumes from."""
        if self._out is None or not (self._out / STATE).exists():
            return None
        whole = read_state(self._out)
        restore_random_states(whole["random"])
        return whole["plugin"]
