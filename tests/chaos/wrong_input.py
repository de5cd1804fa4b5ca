"""Wrong input by the hundred: files that were made up, or shipped ones that were spoilt, and what the command says."""

import io
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ndm_apps import shipped
from ndm_apps.cli import main
from ndm_apps.yaml_source import read_yaml

CANARY = "EXECUTED"
SLOWEST = 60  # seconds for one input
#: Texts that would leave a file behind, or never end, if anybody executed them.
POISON = (
    f"__import__('os').system('touch {CANARY}')",
    f"(lambda: open('{CANARY}', 'w'))()",
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    "!!python/name:os.system",
    f"$(touch {CANARY})",
    f"`touch {CANARY}`; touch {CANARY}",
    "{{ ''.__class__.__mro__ }}",
    "os:system",
    "9**9**9**9",
    "q.__class__",
    "../../../etc/passwd",
    "/dev/zero",
    "\x1b[2J\x07",
    "x" * 5000,
    "[" * 300,
)
_calls: list[str] = []
_watching = False


@dataclass
class Tally:
    """What has become of some inputs: how many were refused, taken, ended with a traceback, executed something."""

    refused: int = 0
    taken: int = 0
    wrong: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)

    def add(self, arguments: Sequence[str], status: int, printed: str, executed: Sequence[str]) -> None:
        """Count one input; refused means: status 2, one line that begins with ``error:``, nothing else."""
        lines = [line for line in printed.splitlines() if line.startswith("error: ")]
        self.refused += status == 2 and len(lines) > 0
        self.taken += status == 0
        if status not in (0, 2) or "Traceback" in printed or (status == 2 and not lines):
            self.wrong.append(f"{list(arguments)}: {status} {printed[-1500:]}")
        self.executed += executed


@contextmanager
def _watched() -> Iterator[None]:
    """Note every process that is started and every pickle that names a function."""
    global _watching
    if not _calls:
        sys.addaudithook(_note)
        _calls.append("")
    del _calls[1:]
    _watching = True
    try:
        yield
    finally:
        _watching = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in ("os.system", "os.exec", "os.posix_spawn", "pickle.find_class"):
        _calls.append(f"{event} {arguments[:2]}")


def ndm(tally: Tally, *arguments: str) -> None:
    """Run a command line in this process and in the present folder, and count what has become of it."""
    shown = io.StringIO()

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"longer than {SLOWEST} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SLOWEST)
    try:
        with _watched(), redirect_stdout(shown), redirect_stderr(shown):
            main(arguments)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 0
    except BaseException as error:  # a traceback, for the user
        status, _ = 1, shown.write(f"Traceback: {type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    executed = _calls[1:] + ([CANARY] if Path(CANARY).exists() else [])
    tally.add(arguments, status, shown.getvalue(), executed)
    Path(CANARY).unlink(missing_ok=True)


poison = st.sampled_from(POISON)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | poison
    | st.sampled_from(["nan", "1e999", 2**70, -1, 0, ""])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoilt_files(draw: Any, kind: str) -> bytes:
    """Draw a shipped config or task in which a value, a key, some text or some bytes are wrong."""
    path = shipped.shipped(kind) / f"{draw(st.sampled_from(shipped.names(kind)))}.yaml"
    how = draw(st.sampled_from(["value", "value", "value", "key", "text", "bytes", "any"]))
    if how == "any":
        return draw(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
    if how in ("text", "bytes"):
        content = path.read_bytes()
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 20))
        put = draw(st.binary(min_size=1, max_size=8)) if how == "bytes" else draw(poison).encode()
        return content[:at] + put + content[at + length :]
    data = read_yaml(path).data
    parent, key = draw(st.sampled_from(list(_places(data))))
    if how == "value":
        parent[key] = draw(values)
    elif isinstance(parent, dict):
        value = parent.pop(key)
        if draw(st.booleans()):
            parent[draw(st.text(max_size=12) | poison)] = value
    return yaml.dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a nested value, as a mapping or list and the key or index in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


cells = st.floats(width=32).map(str) | st.text(max_size=5) | poison.map(lambda text: text[:60]) | st.just("")


@st.composite
def tables(draw: Any) -> bytes:
    """Draw a table of measurements with something wrong in its header or its cells, or anything at all."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=300))
    names = draw(st.lists(st.sampled_from(["t", "q", "p", "time"]) | st.text(max_size=8) | poison, max_size=5))
    rows = draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names) + 1), max_size=8))
    lines = [",".join(names), *(",".join(row) for row in rows)]
    return "\n".join(lines).encode("utf-8", draw(st.sampled_from(["replace", "surrogatepass"])))


class _Pickled:
    """What a malicious pickle holds."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {CANARY}",)


@st.composite
def spoilt_bytes(draw: Any, content: bytes) -> bytes:
    """Draw the content of a file with some bytes cut off, changed or put in, or a pickle, or anything."""
    how = draw(st.sampled_from(["cut", "flip", "flip", "insert", "pickle", "any"]))
    at = draw(st.integers(0, max(0, len(content) - 1)))
    match how:
        case "cut":
            return content[:at]
        case "flip":
            return content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
        case "insert":
            return content[:at] + draw(st.binary(min_size=1, max_size=20)) + content[at:]
        case "pickle":
            return pickle.dumps(_Pickled())
    return draw(st.binary(max_size=200))


def examine(strategy: st.SearchStrategy[Any], inspect: Callable[[Tally, Any], None], number: int) -> Tally:
    """Draw inputs of a kind, hand each to ``inspect``, and return what has become of them."""
    tally = Tally()
    quiet = settings(
        max_examples=number, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    quiet(given(strategy)(lambda drawn: inspect(tally, drawn)))()
    return tally


def check_config(tally: Tally, content: bytes) -> None:
    """Check a config, or a task, that lies in the present folder."""
    Path("spoilt.yaml").write_bytes(content)
    ndm(tally, "check", "spoilt.yaml")


def discover_in(tally: Tally, content: bytes) -> None:
    """Look for laws in a table."""
    Path("spoilt.csv").write_bytes(content)
    ndm(tally, "discover", "spoilt.csv", "--seconds", "1", "--no-track", "--out", "found")
    shutil.rmtree("found", ignore_errors=True)


def resume_with(file: str, *command: str) -> Callable[[Tally, bytes], None]:
    """Return the function that runs a command on a copy of the folder ``run`` in which one file is spoilt."""

    def inspect(tally: Tally, content: bytes) -> None:
        shutil.rmtree("spoilt", ignore_errors=True)
        shutil.copytree("run", "spoilt")
        if Path("run", file).read_bytes() == content:
            return
        Path("spoilt", file).write_bytes(content)
        if file != "result.json":
            Path("spoilt", "result.json").unlink()
        ndm(tally, *command)

    return inspect


def examinations(here: Path, number: int) -> Iterator[tuple[str, Tally]]:
    """Examine ``number`` inputs of each kind in the folder ``here``, and yield the kind and what became of them."""
    run = ["run", "claims/lambda", "--set", "methods.ndm.steps=3", "--no-track", "--out"]
    with chdir(here):
        if not Path("run").exists():
            ndm(Tally(), *run, "run")
        yield "configs", examine(spoilt_files("configs"), check_config, number)
        yield "tasks", examine(spoilt_files("tasks"), check_config, number)
        yield "tables of measurements (CSV)", examine(tables(), discover_in, number)
        keys = st.sampled_from(["seed", "methods.ndm.geometric", "task.dataset", ""]) | st.text(max_size=9)
        overrides = st.tuples(keys, st.text(max_size=9) | poison)
        yield (
            "values of --set",
            examine(
                overrides, lambda tally, drawn: ndm(tally, "check", "claims/lambda", "--set", "=".join(drawn)), number
            ),
        )
        state = "checkpoint/state.safetensors"
        for name, file, command in (
            ("checkpoints, on --resume", state, (*run, "spoilt", "--resume")),
            ("checkpoints, on ndm inspect", state, ("inspect", "spoilt")),
            ("results, on --resume", "result.json", (*run, "spoilt", "--resume")),
            ("configs of runs, on --resume", "config.yaml", (*run, "spoilt", "--resume")),
        ):
            spoilt = spoilt_bytes(Path("run", file).read_bytes())
            yield name, examine(spoilt, resume_with(file, *command), number)
