"""Avalanche's classic benchmarks by name, with their data from ``NDM_DATA``."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import gzip
import hashlib
import inspect
import os
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from avalanche.benchmarks import CLScenario, classic

from ndm_apps.datasets import cache_dir, search_path
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Dataset
from ndm_apps.plugins.continual.schema import Benchmark
from ndm_apps.plugins.continual.stream.benchmark import labels_of
from ndm_apps.wording import short, unknown

# What torchvision keeps its data sets in, below the root that it is given.
_TORCHVISION = (
    "MNIST/raw",
    "FashionMNIST/raw",
    "cifar-10-batches-py",
    "cifar-10-python.tar.gz",
    "cifar-100-python",
    "cifar-100-python.tar.gz",
    "omniglot-py",
)


def classics() -> dict[str, Callable[..., CLScenario]]:
    """Return the functions of ``avalanche.benchmarks.classic`` that make a benchmark, by name."""
    return {
        name: made
        for name, made in sorted(vars(classic).items())
        if name[0].isupper() and inspect.isfunction(made) and made.__module__.startswith(classic.__name__)
    }


def load_benchmark(settings: Benchmark, *, seed: int) -> CLScenario:
    """Make a classic benchmark of Avalanche.

    Parameters
    ----------
    settings
        The task's ``benchmark`` section.
    seed
        Handed to the benchmark if it takes a seed and the task gives none.

    Raises
    ------
    InputError
        If the name or an argument is unknown, or Avalanche refuses the arguments or cannot get the data.
    """
    known = classics()
    if settings.avalanche not in known:
        raise InputError(f"benchmark.avalanche: {unknown('benchmark', settings.avalanche, known)}")
    made, arguments = known[settings.avalanche], dict(settings.kwargs)
    allowed = inspect.signature(made).parameters
    for name in arguments:
        if name not in allowed:
            raise InputError(f"benchmark.kwargs: {unknown('argument', name, allowed)}")
    ours = {"seed", "dataset_root"}.intersection(allowed).difference(arguments)
    needed = [name for name, given in allowed.items() if given.default is inspect.Parameter.empty]
    for name in needed:
        if name not in arguments and name not in ours:
            raise InputError(f"benchmark.kwargs: {name}: missing, {settings.avalanche} needs it")
    if "seed" in ours:
        arguments["seed"] = seed
    if "dataset_root" in ours:
        arguments["dataset_root"] = str(_data_root())
    try:
        return made(**arguments)
    except Exception as error:  # whatever Avalanche and torchvision think of the arguments and the files
        told = " ".join(str(error).split()) or type(error).__name__
        looked = ", ".join(str(folder) for folder in search_path())
        where = f"; Avalanche could not get the data, nor are they in {looked}" if isinstance(error, OSError) else ""
        raise InputError(f"benchmark {settings.avalanche} with {short(settings.kwargs)}: {told}{where}") from error


def _data_root() -> Path:
    """Return the user's cache with links to what ``NDM_DATA`` holds, as torchvision wants it.

    torchvision unpacks IDX files beside the packed ones. That is done here instead: ``NDM_DATA`` may be read-only, and
    each file appears at once as a whole, whichever of several processes comes first.
    """
    root = cache_dir()
    for folder in search_path():
        for name in _TORCHVISION:
            found = folder / name
            for path in [found, *found.rglob("*")]:
                packed = path.name.endswith("-ubyte.gz")
                target = root / (path.with_suffix("") if packed else path).relative_to(folder)
                if not path.is_file() or target.exists():
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                fresh = target.with_name(f".{target.name}.{os.getpid()}")
                if packed:
                    fresh.write_bytes(_unpacked(path))
                else:
                    fresh.symlink_to(path.resolve())
                os.replace(fresh, target)
    return root


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a readable gzip file") from error


def benchmark_record(settings: Benchmark, benchmark: CLScenario) -> Dataset:
    """Return what a run records of its benchmark; the digest is that of the arguments and of all labels in order."""
    datasets = [experience.dataset for experience in (*benchmark.train_stream, *benchmark.test_stream)]
    digest = hashlib.sha256(repr((settings.avalanche, sorted(settings.kwargs.items()))).encode())
    for dataset in datasets:
        digest.update(labels_of(dataset, settings.avalanche).numpy().tobytes())
    source = f"avalanche-lib {version('avalanche-lib')}, {settings.avalanche}({short(settings.kwargs)})"
    samples = sum(len(experience.dataset) for experience in benchmark.train_stream)
    return Dataset(settings.avalanche, source, digest.hexdigest()[:16], samples)
