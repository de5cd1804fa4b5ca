"""What every plugin has to keep, as tests that a plugin's own test file inherits.

::

    from ndm_apps.testing import PluginContract

    class TestMine(PluginContract):
        domain = "mine"
        config = "configs/mine.yaml"

``pytest`` then runs the tests below on it. Nothing here imports pytest, torch or MLflow before a test runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from ndm_apps.config import Config, load_config
from ndm_apps.errors import InputError
from ndm_apps.plugins import base

__all__ = ["PluginContract"]

#: Packages that must not be imported before a run starts: ``ndm check`` would take seconds.
HEAVY = ("torch", "mlflow")
#: What differs from one time to the next and is told apart from results.
MACHINE = ("seconds", "peak_memory_mb", "git", "time")


class Unplugged(BaseException):
    """Raised to end a run in the middle; no plugin may catch it."""


class PluginContract:
    """Tests of one plugin, to be inherited by a class whose name starts with ``Test``.

    Attributes
    ----------
    domain
        The plugin's name in the entry-point group ``ndm_apps.plugins``.
    config
        A small run of a few seconds: path of a config, or a shipped name.
    overrides
        Values that make it small, as ``a.b=v``. ``checkpoint_every`` must be so that a state is saved before the end.
    clocks
        Names of values of ``result.json``, at any depth, that are times or are made of times.
    refused
        Overrides each of which is wrong. That an unknown key of task or settings is refused is tested anyhow.
    dtypes
        The floating-point types that a run honours; empty for a plugin that always computes in its own.
    """

    domain: ClassVar[str]
    config: ClassVar[str | Path]
    overrides: ClassVar[tuple[str, ...]] = ()
    clocks: ClassVar[tuple[str, ...]] = ()
    refused: ClassVar[tuple[str, ...]] = ()
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")

    _temporary: ClassVar[TemporaryDirectory[str] | None] = None
    _told: ClassVar[list[tuple[int, int, str]]] = []

    @classmethod
    def teardown_class(cls) -> None:
        """Remove the run that the tests share."""
        if cls._temporary is not None:
            cls._temporary.cleanup()
            cls._temporary = None

    def test_it_is_found_by_its_entry_point(self) -> None:
        """The suite finds the plugin, and the plugin's schemas are schemas."""
        plugin = self._plugin()
        _expect(bool(plugin.summary) and bool(plugin.methods), "summary and methods must not be empty")
        _expect(issubclass(plugin.task, base.Task), "task must be a subclass of ndm_apps.plugins.base.Task")
        for name, settings in plugin.methods.items():
            _expect(issubclass(settings, base.Settings), f"methods[{name!r}] must be a subclass of base.Settings")
        _expect(callable(base.resolve(plugin.entry)), f"entry: {plugin.entry} is not a function")
        _expect(not plugin.inspect or callable(base.resolve(plugin.inspect)), f"inspect: {plugin.inspect} is not one")

    def test_checking_a_config_imports_nothing_heavy(self) -> None:
        """Finding the plugin and validating a config import neither torch nor MLflow."""
        code = (
            "import sys; from ndm_apps.config import load_config\n"
            f"load_config({str(self.config)!r}, {list(self.overrides)!r})\n"
            f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        _expect(done.returncode == 0, f"the config cannot be loaded: {done.stderr[-500:]}")
        _expect(done.stdout.strip() == "[]", f"{self.domain} imports {done.stdout.strip()} to check a config")

    def test_wrong_settings_are_refused_in_one_line(self) -> None:
        """Each wrong override is an InputError of one line that names the key."""
        method = self._config().run.method
        for wrong in ("task.no_such_key=1", f"methods.{method}.no_such_key=1", *self.refused):
            try:
                self._config(wrong)
            except InputError as error:
                key = wrong.partition("=")[0].rpartition(".")[2]
                _expect("\n" not in str(error), f"{wrong}: the message must be one line, is {error!s}")
                _expect(key in str(error), f"{wrong}: the message must name {key}, is {error!s}")
            else:
                raise AssertionError(f"{wrong} must be refused")

    def test_a_run_writes_all_its_files(self) -> None:
        """Config, log, result, page, checkpoint and pictures are there, and tables have a column to show."""
        run = self._run()
        for name in ("config.yaml", "metrics.jsonl", "result.json", "report.html", "checkpoint/state.safetensors"):
            _expect((run / name).is_file(), f"the run wrote no {name}")
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        columns = [column.key for column in self._plugin().columns]
        # Not every kind of run fills every column.
        shown = [key for key in columns if key.partition(".")[0] in result]
        _expect(bool(shown), f"columns: none of {', '.join(columns)} is in result.json")
        captions = json.loads((run / "figures" / "captions.json").read_text(encoding="utf-8"))
        drawn = {path.stem for path in (run / "figures").iterdir() if path.suffix in (".svg", ".gif")}
        _expect(drawn == set(captions) and all(captions.values()), "every figure must have a caption")
        _expect(load_config(run / "config.yaml") == self._config(), "config.yaml must repeat the run")

    def test_progress_and_metrics_are_told(self) -> None:
        """A run moves the progress bar to its end or near it, and logs at least one metric."""
        run = self._run()
        _expect(bool(self._told), "context.progress was never called")
        _expect(all(0 <= done <= total for done, total, _ in self._told), "context.progress: done must be 0 ... total")
        _expect(bool(_logged(run)), "context.log was never called")

    def test_the_same_seed_gives_the_same_numbers(self, tmp_path: Path) -> None:
        """A second run of the same config gives the same result and the same log, to the last digit."""
        first, again = self._run(), tmp_path / "again"
        self._execute(self._config(), again)
        _same(self._settled(first), self._settled(again), "result.json of the same seed")
        _same(_logged(first), _logged(again), "metrics.jsonl of the same seed")

    def test_a_run_that_was_cut_off_resumes_to_the_same(self, tmp_path: Path) -> None:
        """A run that ends after a checkpoint, and is resumed, gives what an undisturbed one gives."""
        first, cut = self._run(), tmp_path / "cut"
        state = cut / "checkpoint" / "state.safetensors"

        def unplug(done: int, total: int, text: str) -> None:
            if state.exists():
                raise Unplugged

        try:
            self._execute(self._config(), cut, progress=unplug)
        except Unplugged:
            _expect(not (cut / "result.json").exists(), "a run that was cut off must have no result.json")
            self._execute(self._config(), cut, resume=True)
        else:
            # Nothing is saved before the end: such a run begins again, from the very start.
            (cut / "result.json").unlink()
            self._execute(self._config(), cut, resume=True)
        _same(self._settled(first), self._settled(cut), "result.json of a resumed run")
        _same(_logged(first), _logged(cut), "metrics.jsonl of a resumed run")

    def test_device_and_type_are_honoured(self, tmp_path: Path) -> None:
        """Runs in each type hold no number of a smaller one; on CUDA, where there is some, a run ends well."""
        import torch

        from ndm_apps.engine.checkpoint import load_state

        for name in self.dtypes:
            config, run = self._config(f"dtype={name}"), tmp_path / name
            if config == self._config():
                run = self._run()
            else:
                self._execute(config, run)
            saved = load_state(run / "checkpoint" / "state.safetensors")["plugin"]
            # Single numbers, such as the step counts of torch's optimisers, have types of their own.
            types = {part.dtype for part in _tensors(saved) if part.is_floating_point() and part.ndim}
            _expect(getattr(torch, name) in types or not types, f"dtype {name}: the state holds {types} only")
            if name == "float64":
                _expect(types <= {torch.float64}, f"dtype float64: the state holds {types}")
        if torch.cuda.is_available():
            self._execute(self._config("device=cuda"), tmp_path / "cuda")

    @classmethod
    def _plugin(cls) -> base.Plugin:
        found = base.plugins()
        _expect(cls.domain in found, f"no entry point {base.ENTRY_POINT_GROUP}:{cls.domain}; installed: {list(found)}")
        return found[cls.domain]

    @classmethod
    def _config(cls, *more: str) -> Config:
        keys = {override.partition("=")[0] for override in more}
        kept = [override for override in cls.overrides if override.partition("=")[0] not in keys]
        return load_config(cls.config, [*kept, *more])

    @classmethod
    def _run(cls) -> Path:
        """Return the folder of the run that tests look at, made once for a class."""
        if cls._temporary is None:
            cls._temporary, cls._told = TemporaryDirectory(), []
            cls._execute(cls._config(), cls._shared(), progress=lambda *told: cls._told.append(told))
        return cls._shared()

    @classmethod
    def _shared(cls) -> Path:
        assert cls._temporary is not None
        return Path(cls._temporary.name, "run")

    @staticmethod
    def _execute(
        config: Config,
        folder: Path,
        *,
        resume: bool = False,
        progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    ) -> None:
        from ndm_apps.run import execute

        execute(config, folder, resume=resume, track=False, progress=progress)

    @classmethod
    def _settled(cls, run: Path) -> Any:
        """Return the result without times and what is said of the machine."""
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        # Verdicts may tell times in words.
        return _without(result, {*MACHINE, *cls.clocks, *(("verdict",) if cls.clocks else ())})


def _expect(holds: bool, otherwise: str) -> None:
    # Not an assert statement: pytest shows its reason only in files that it rewrites.
    if not holds:
        raise AssertionError(otherwise)


def _same(one: Any, other: Any, what: str) -> None:
    """Compare JSON values, and name the first place where they differ."""
    for (place, a), (also, b) in zip(_leaves(one, ""), _leaves(other, ""), strict=False):
        _expect(place == also and (a == b or a != a), f"{what}: {place or also} is {a!r}, then {b!r}")
    _expect(one == other, f"{what}: {len(list(_leaves(one, '')))} values, then {len(list(_leaves(other, '')))}")


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, dict | list):
        yield place, value
    for key, part in parts:
        yield from _leaves(part, f"{place}.{key}".lstrip("."))


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(part, names) for key, part in value.items() if key not in names}
    return [_without(part, names) for part in value] if isinstance(value, list) else value


def _logged(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [_without(json.loads(line), {"time"}) for line in lines]


def _tensors(state: Any) -> Iterator[Any]:
    if hasattr(state, "is_floating_point"):
        yield state
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    for part in parts:
        yield from _tensors(part)
