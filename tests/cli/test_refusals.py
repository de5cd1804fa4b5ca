"""What the command line refuses, each in one line, with nothing written."""

import pytest

from tests.cli.conftest import GOOD

TASK = "domain: continual\ndataset: {name: digits}\nstream: {experiences: 5}\n"

# What is in bad.yaml (a text, or an edit of a valid one), its wrong line, and what the message must hold.
BROKEN = {
    "empty": ("", 1, "empty"),
    "a list": ("- a\n", 1, "mapping"),
    "a scalar": ("\nhello\n", 2, "'hello'"),
    "two documents": (GOOD + "---\nseed: 1\n", 6, "second document"),
    "repeated key": (GOOD + "seed: 4\n", 6, "twice"),
    "tab": ("task: a\nmethods:\n\tndm: {}\n", 3, "tab"),
    "unclosed bracket": (("seed: 3", "seed: [3"), 4, "not valid YAML"),
    "python tag": (("seed: 3", "seed: !!python/object/apply:os.system ['touch BAD']"), 3, "tags"),
    "anchor": (("seed: 3", "seed: &x 3"), 3, "&x"),
    "alias": (("seed: 3", "seed: *x"), 3, "*x"),
    "not UTF-8": (GOOD.encode() + b"device: \xff\n", 6, "UTF-8"),
    "NUL byte": (GOOD.encode() + b"device: \0\n", 6, "NUL"),
    "huge number": (("seed: 3", f"seed: {'9' * 5000}"), 3, "too large"),
    "NaN": (("shrinkage: 0.1", "shrinkage: .nan"), 5, ".nan"),
    "infinity": (("shrinkage: 0.1", "shrinkage: .inf"), 5, ".inf"),
    "overflow": (("shrinkage: 0.1", "shrinkage: 1e999"), 5, "1e999"),
    "deep": (("shrinkage: 0.1", "shrinkage: " + "[" * 500 + "]" * 500), 5, "deeper"),
    "unknown key": (("seed: 3", "sede: 3"), 3, "unknown key 'sede'; did you mean 'seed'?"),
    "missing method": (("method: ndm\n", ""), 1, "method: missing"),
    "missing task": (("task: continual/digits\n", ""), 1, "task: missing"),
    "wrong type": (("seed: 3", "seed: three"), 3, "seed: got 'three'"),
    "boolean": (("seed: 3", "seed: true"), 3, "seed: got true"),
    "out of range": (("shrinkage: 0.1", "shrinkage: -1.0"), 5, "methods.ndm.shrinkage: got -1.0"),
    "negative seed": (("seed: 3", "seed: -3"), 3, "seed: got -3"),
    "unknown method": (("method: ndm", "method: nmd"), 2, "unknown method of continual 'nmd'; did you mean 'ndm'?"),
    "unknown setting": (("shrinkage: 0.1", "shrinkgae: 0.1"), 5, "did you mean 'shrinkage'?"),
    "unknown device": (("seed: 3", "device: gpu"), 3, "device: got 'gpu'"),
    "unknown task": (("continual/digits", "continual/digit"), 1, "did you mean 'continual/digits'?"),
    "task with a wrong data set": (
        ("task: continual/digits", "task:\n  domain: continual\n  dataset: {name: digist}"),
        3,
        "task.dataset.name: got 'digist'",
    ),
    "task of an unknown domain": (
        ("task: continual/digits", "task: {domain: chess}"),
        1,
        "no plugin for domain 'chess'",
    ),
    "extends itself": (GOOD + "extends: bad.yaml\n", 6, "circle"),
    "extends in a circle": (GOOD + "extends: other.yaml\n", None, "circle"),
    "extends nothing": (GOOD + "extends: nothing.yaml\n", 6, "no such config"),
    "broken task (domain)": ("domain: chess\n", 1, "no plugin for domain 'chess'"),
    "broken task (data set)": (TASK.replace("name: digits", "name: mnits"), 2, "did you mean 'mnist'?"),
    "broken task (two data sets)": (TASK.replace("name: digits", "name: digits, npz: a"), 2, "exactly one of"),
    "broken task (stream)": (TASK.replace("experiences: 5", "experiences: 0"), 3, "stream.experiences: got 0"),
    "broken task (key)": (TASK + "noise: 1\n", 4, "unknown key 'noise'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_by_every_command_that_reads_them(name, here, refused):
    content, line, says = BROKEN[name]
    if isinstance(content, tuple):
        assert GOOD.count(content[0]) == 1
        content = GOOD.replace(*content)
    (here / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (here / "other.yaml").write_text("extends: bad.yaml\n")
    commands = [("check",)] if name.startswith("broken task") else [("check",), ("run", "--no-track"), ("sweep",)]
    for command in commands:
        told = refused(*command, "bad.yaml")
        assert told.startswith(f"error: bad.yaml:{line}: " if line else "error: other.yaml:1: ") and says in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.yaml"], "no such config: 'nothing.yaml'"),
        (["continual/digit"], "did you mean 'continual/digits'?"),
        (["."], "is a folder"),
        ([""], "is a folder"),
        (["a\0b"], "no such config"),
        (["tasks/continual/nothing"], "no such task"),
        (["good.yaml", "--set", "sede=1"], "--set sede=1: unknown key 'sede'; did you mean 'seed'?"),
        (["good.yaml", "--set", "seed"], "--set seed: must be KEY=VALUE"),
        (["good.yaml", "--set", "seed=1", "--set", "seed=2"], "seed is set twice"),
        (["good.yaml", "--set", "methods.ndm.shrinkage=[1"], "not valid YAML"),
        (["good.yaml", "--set", "seed=1\n2"], "error: --set seed=1"),
        (["good.yaml", "--set", "task.dataset.name=chess"], "task.dataset.name: got 'chess'"),
        (["tasks/continual/digits", "--set", "seed=1"], "only keys of a config can be overridden"),
        ([], "Missing argument 'CONFIG...' (see: ndm check --help)"),
        (["good.yaml", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_arguments_of_check(arguments, says, refused):
    assert says in refused("check", *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "No such command 'nonsense' (see: ndm --help)"),
        (["--nonsense"], "--nonsense"),
        (["run"], "Missing argument 'CONFIG' (see: ndm run --help)"),
        (["run", "good.yaml", "--seed", "x"], "'--seed'"),
        (["run", "good.yaml", "--seed", "-1"], "'--seed'"),
        (["run", "good.yaml", "--seed", "4294967296"], "must be 4294967295 or less"),
        (["run", "good.yaml", "--resume"], "--resume: needs --out DIR"),
        (["run", "good.yaml", "--out", "good.yaml"], "--out: good.yaml"),
        (["run", "good.yaml", "--out", "."], "--out: . is not empty and holds no run"),
        (["run", "good.yaml", "--set", "device=cuda:99"], "torch sees no such device here"),
        (["run", "continual/mnist"], "data set 'mnist' is not here"),
        (["sweep", "good.yaml", "--seeds", "5:0"], "--seeds: got '5:0'"),
        (["sweep", "good.yaml", "--seeds", ""], "--seeds: got ''"),
        (["sweep", "good.yaml", "--jobs", "0"], "'--jobs'"),
        (["sweep", "good.yaml", "--set", "seed=1,1"], "given twice"),
        (["sweep", "good.yaml", "--out", "."], "--out: . is not empty and holds no sweep"),
        (["sweep", "good.yaml", "--baseline", "naive"], "--baseline: got 'naive', must be a method of the sweep (ndm)"),
        (["sweep", "good.yaml", "--device", "gpu"], "--set device=gpu: device: got 'gpu'"),
        (["sweep", "good.yaml", "--search"], "--search: good.yaml has no search section"),
        (["sweep", "good.yaml", "--search", "--set", "seed=1"], "--set seed=1: the search section decides"),
        (["sweep", "good.yaml", "--search", "--table", "t.csv"], "--search: writes its own table"),
        (["run", "good.yaml", "--device", "cuda:99"], "torch sees no such device here"),
        (["inspect", "nowhere"], "no config.yaml there"),
        (["report", "nowhere"], "PATH: nowhere is not a folder"),
        (["report", "."], "PATH: no run and no sweep in ."),
        (["list", "nonsense"], "KIND: got 'nonsense'"),
        (["data", "nonsense"], "data set: got 'nonsense'"),
        (["ui", "--port", "0"], "'--port'"),
    ],
)
def test_wrong_arguments(arguments, says, refused):
    assert says in refused(*arguments)
