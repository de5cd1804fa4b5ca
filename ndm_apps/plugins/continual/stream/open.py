"""The stream of a task, whether a data set or a benchmark of Avalanche makes it."""

from __future__ import annotations

import torch

from ndm_apps.datasets import load_source
from ndm_apps.plugins.base import Dataset
from ndm_apps.plugins.continual.schema import ContinualTask
from ndm_apps.plugins.continual.stream.base import Stream
from ndm_apps.plugins.continual.stream.build import build_stream


def open_stream(
    task: ContinualTask, *, seed: int, evaluate: str = "test", dtype: torch.dtype = torch.float32
) -> tuple[Stream, Dataset]:
    """Return the stream of a task, and what a run records of its data.

    Parameters
    ----------
    task
        The task.
    seed, evaluate, dtype
        As in :func:`~ndm_apps.plugins.continual.stream.build_stream`.

    Raises
    ------
    InputError
        If the data are not here or damaged, or do not suffice for the stream.
    """
    if task.benchmark is not None:
        # Imported here: Avalanche takes seconds.
        from ndm_apps.plugins.continual.stream.benchmark import benchmark_stream
        from ndm_apps.plugins.continual.stream.classics import benchmark_record, load_benchmark

        benchmark = load_benchmark(task.benchmark, seed=seed)
        stream = benchmark_stream(benchmark, task.stream, seed=seed, evaluate=evaluate, dtype=dtype)
        return stream, benchmark_record(task.benchmark, benchmark)
    assert task.dataset is not None
    data = load_source(task.dataset.name, task.dataset.npz, pixels=True)
    record = Dataset(data.name, data.source, data.digest, len(data.x_train))
    return build_stream(task.stream, data, seed=seed, evaluate=evaluate, dtype=dtype), record
