"""Broken files: what is in them (raw, or an edit of the valid text), and what the error must say."""

from typing import NamedTuple

from tests.broken.toys import CONFIG, TASK


class Case(NamedTuple):
    content: str | bytes
    line: int
    says: tuple[str, ...]


def config(old: str, new: str, line: int, *says: str) -> Case:
    assert CONFIG.count(old) == 1, old
    return Case(CONFIG.replace(old, new), line, says)


def task(old: str, new: str, line: int, *says: str) -> Case:
    assert TASK.count(old) == 1, old
    return Case(TASK.replace(old, new), line, says)


def raw(content: str | bytes, line: int, *says: str) -> Case:
    return Case(content, line, says)


# What is not YAML of the plain kind, whatever it is about.
TEXTS = {
    "empty": raw("", 1, "empty"),
    "comment only": raw("# nothing\n", 1, "empty"),
    "empty document": raw("---\n", 1, "empty"),
    "list": raw("- a\n- b\n", 1, "['a', 'b']", "mapping"),
    "scalar": raw("\n\nhello\n", 3, "'hello'", "mapping"),
    "two documents": raw("task: a\n---\ntask: b\n", 2, "second document"),
    "repeated key": raw("task: a\nseed: 1\nseed: 2\n", 3, "'seed'", "twice", "line 2"),
    "repeated nested key": raw("methods:\n  ndm: {ridge: 1, ridge: 2}\n", 2, "'ridge'", "twice"),
    "number as key": raw("task: a\n3: b\n", 2, "key 3", "text"),
    "boolean as key": raw("true: b\n", 1, "key true", "text"),
    "list as key": raw("? [a, b]\n: c\n", 1, "key", "text"),
    "python tag": raw("task: a\nseed: !!python/object/apply:os.system ['true']\n", 2, "tags", "python/object/apply"),
    "own tag": raw("task: !mine a\n", 1, "tags", "!mine"),
    "standard tag": raw("seed: !!int 3\n", 1, "tags"),
    "anchor": raw("a: &x {b: 1}\nc: *x\n", 1, "&x", "use extends"),
    "alias": raw("a: 1\nc: *x\n", 2, "*x", "use extends"),
    "tab": raw("methods:\n\tndm: {}\n", 2, "tab", "spaces"),
    "unclosed bracket": raw("a: 1\nb: [1, 2\nc: 3\n", 3, "not valid YAML"),
    "unclosed bracket at the end": raw("a: 1\nb: [1, 2\n", 2, "not valid YAML"),
    "unclosed quote": raw('a: 1\nb: "text\nc: 3\n', 2, "not valid YAML", "quoted scalar"),
    "two colons": raw("a: 1\nb: c: d\n", 2, "not valid YAML", "mapping values"),
    "indentation": raw("a:\n  b: 1\n c: 2\n", 3, "not valid YAML"),
    "stray character": raw("a: 1\nb: @x\n", 2, "not valid YAML", "'@'"),
    "code point out of range": raw('a: 1\nb: "\\U00110000"\n', 2, "not valid YAML"),
    "half a surrogate pair": raw('a: 1\nb: "\\ud800"\n', 2, "surrogate"),
    "huge directive": raw("%YAML " + "9" * 5000 + ".1\n---\na: 1\n", 1, "not valid YAML"),
    "not UTF-8": raw(b"a: 1\nb: \xff\n", 2, "UTF-8"),
    "UTF-16": raw("a: 1\n".encode("utf-16"), 1, "UTF-8"),
    "NUL byte": raw(b"a: 1\nb: \0\n", 2, "NUL"),
    "control character": raw("a: 1\nb: \x07\n", 2, "not allowed"),
    "huge integer": raw("a: 1\nseed: " + "9" * 5000 + "\n", 2, "too large"),
    "65 bits": raw("seed: 18446744073709551616\n", 1, "18446744073709551616", "2**63"),
    "infinity": raw("a: .inf\n", 1, ".inf", "finite"),
    "not a number": raw("a: 1\nb: [.nan]\n", 2, ".nan", "finite"),
    "overflow": raw("a: 1e999\n", 1, "1e999", "finite"),
    "deep list": raw("a: 1\nb: " + "[" * 2000 + "]" * 2000 + "\n", 2, "deeper than 50"),
    "deep mapping": raw("\n".join(" " * n + f"k{n}:" for n in range(60)) + " 1\n", 52, "deeper than 50"),
}

CONFIGS = {
    "no method": config("method: ndm\n", "", 1, "method: missing"),
    "no task": config("task: spring.yaml\n", "", 1, "task: missing"),
    "unknown key": config("seed: 3", "sede: 3", 3, "unknown key 'sede'", "did you mean 'seed'?", "checkpoint_every"),
    "key in capitals": config("seed: 3", "SEED: 3", 3, "unknown key 'SEED'", "did you mean 'seed'?"),
    "misspelt required key": config("method: ndm", "metod: ndm", 2, "unknown key 'metod'", "'method'", "(+1 more)"),
    "merge key": config("    ridge: 1e-2", "    <<: {ridge: 1}", 6, "methods.ndm: unknown key '<<'"),
    "text as seed": config("seed: 3", "seed: '3'", 3, "seed: got '3', must be a whole number"),
    "boolean as seed": config("seed: 3", "seed: true", 3, "seed: got true, must be a whole number"),
    "float as seed": config("seed: 3", "seed: 3.5", 3, "seed: got 3.5, must be a whole number"),
    "negative seed": config("seed: 3", "seed: -3", 3, "seed: got -3, must be 0 or greater"),
    "seed of 33 bits": config("seed: 3", "seed: 4294967296", 3, "seed: got 4294967296, must be 4294967295 or less"),
    "octal seed": config("seed: 3", "seed: 010", 3, "seed: got '010', must be a whole number"),
    "null seed": config("seed: 3", "seed:", 3, "seed: got null, must be a whole number"),
    "device": config("seed: 3", "device: gpu", 3, "device: got 'gpu'", "cuda:N"),
    "device with a line break": config("seed: 3", 'device: "cpu\\n"', 3, r"device: got 'cpu\n'"),
    "dtype": config("seed: 3", "dtype: float46", 3, "dtype: got 'float46'", "'float32' or 'float64'", "did you mean"),
    "evaluate": config("seed: 3", "evaluate: Test", 3, "evaluate: got 'Test'", "did you mean 'test'?"),
    "threads": config("seed: 3", "threads: 0", 3, "threads: got 0, must be 1 or greater"),
    "task of wrong type": config("spring.yaml", "[a]", 1, "task: got ['a'], must be text or a mapping"),
    "task name": config("seed: 3", "task_name: a b", 3, "task_name: got 'a b'", "letters"),
    "task not found": config("spring.yaml", "sprnig.yaml", 1, "task: no such task: 'sprnig.yaml'", "'spring.yaml'?"),
    "task is a folder": config("spring.yaml", "folder", 1, "task: 'folder' is a folder"),
    "unknown method": config("method: ndm", "method: nmd", 2, "unknown method of physics 'nmd'", "did you mean 'ndm'?"),
    "unknown method section": config("  search:", "  serach:", 8, "methods.serach: unknown method", "'search'?"),
    "method without settings": config("  search: {depth: 2}", "  search:", 8, "methods.search: got null", "a mapping"),
    "setting out of range": config("ridge: 1e-2", "ridge: -1", 6, "methods.ndm.ridge: got -1", "greater than 0"),
    "unknown setting": config(
        "ridge:", "rigde:", 6, "unknown key 'rigde'", "did you mean 'ridge'?", "(allowed: angles"
    ),
    "item of wrong type": config("[8]", "[8, x]", 7, "methods.ndm.hidden[1]: got 'x', must be a whole number"),
    "too many items": config("[8]", "[1, 2, 3, 4]", 7, "methods.ndm.hidden: got [1, 2, 3, 4]", "3 items at most"),
    "old boolean": config("hidden: [8]", "angles: no", 7, "methods.ndm.angles: got 'no', must be true or false"),
    "union": config("hidden: [8]", "degree: 1.5", 7, "methods.ndm.degree: got 1.5", "a whole number or 'auto'"),
    "setting not chosen": config("depth: 2", "depth: 0", 8, "methods.search.depth: got 0, must be 1 or greater"),
    "settings missing": raw("task: spring.yaml\nmethod: search\n", 2, "methods.search.depth: missing, must be given"),
    "sweep method": config(
        "seed: 3", "sweep: {methods: [ndm, srch]}", 3, "sweep.methods[1]: unknown method", "'search'"
    ),
    "sweep method twice": config("seed: 3", "sweep: {methods: [ndm, ndm]}", 3, "sweep.methods: got", "twice"),
    "sweep range": config("seed: 3", "sweep:\n  seeds: 5:0", 4, "sweep.seeds: got '5:0'", "empty"),
    "sweep text": config("seed: 3", "sweep:\n  seeds: a few", 4, "sweep.seeds: got 'a few'", "such as 0:5"),
    "sweep seeds type": config("seed: 3", "sweep:\n  seeds: 1.5", 4, "sweep.seeds: got 1.5", "text", "a list"),
    "extends type": config("seed: 3", "extends: {a: b}", 3, "extends: got {'a': 'b'}", "a path"),
    "extends unknown": config("seed: 3", "extends:\n  - sprng.yaml", 4, "extends: no such config", "'spring.yaml'"),
    "extends itself": config("seed: 3", "extends: bad.yaml", 3, "circle: bad.yaml -> bad.yaml"),
    "long value": config("seed: 3", "seed: " + "x" * 500, 3, "seed: got 'xxx", "..."),
    "inline task without domain": config("spring.yaml", "{size: 3}", 1, "task.domain: missing", "physics"),
    "inline task": config(
        "spring.yaml", "\n  domain: grid\n  size: x", 3, "task.size: got 'x', must be a whole number"
    ),
}

TASKS = {
    "no domain": task("domain: physics\n", "", 1, "domain: missing", "grid, physics"),
    "unknown domain": task(
        "physics", "planning", 1, "domain: no plugin for domain 'planning'; installed: grid, physics"
    ),
    "near domain": task("physics", "phisics", 1, "'phisics'; did you mean 'physics'? installed: grid"),
    "domain of wrong type": task("physics", "[physics]", 1, "domain: got ['physics'], must be text"),
    "unknown key": task("noise:", "niose:", 11, "unknown key 'niose'", "did you mean 'noise'?"),
    "missing key": task("  state: [q, p]\n", "", 2, "system.state: missing"),
    "no state": task("state: [q, p]", "state: []", 3, "system.state: got []", "1 items or more"),
    "wrong type": task("noise: 1e-3", "noise: small", 11, "noise: got 'small', must be a number"),
    "range too short": task("[-1, 1]", "[-1]", 8, "system.initial.p: got [-1], must hold more items"),
    "range too long": task("[-1, 1]", "[-1, 1, 2]", 8, "system.initial.p: got [-1, 1, 2]", "2 items at most"),
    "equation missing": task("    q: p\n", "", 5, "system.equations: must have exactly the keys of state: q, p"),
    "unknown name": task("-k*q", "-kk*q", 7, "system.equations.p: got '-kk*q'", "column 2", "did you mean 'k'?"),
    "syntax": task("-k*q", "-k*q +", 7, "system.equations.p: got '-k*q +'", "invalid syntax"),
    "code": task("-k*q", "__import__('os').system('touch BAD')", 7, "system.equations.p", "only functions may be"),
    "attribute": task("-k*q", "q.__class__", 7, "system.equations.p", "'q.__class__': not allowed"),
    "division by zero": task("-k*q", "q + 1/0", 7, "system.equations.p", "'1/0' is not a finite"),
    "condition": task("q**2 + p**2 > 0.1", "q**2 + p**2", 9, "system.where: got", "is not a condition"),
    "time": task("end: 10", "end: 0", 10, "system.time.end: got 0, must be greater than 0"),
    "tag": task("noise: 1e-3", "forcing:\n  kind: scedule", 12, "forcing.kind: got 'scedule'", "mean 'schedule'?"),
    "no tag": task("noise: 1e-3", "forcing: {level: 3}", 11, "forcing.kind: missing"),
    "key of another tag": task(
        "noise: 1e-3", "forcing: {kind: constant, level: 1, levels: []}", 11, "'levels'", "(allowed: kind, level)"
    ),
    "alternative": task("noise: 1e-3", "reference: {nme: kepler}", 11, "reference: unknown key 'nme'", "'name'?"),
    "value of an alternative": task(
        "noise: 1e-3", "reference:\n  name: keplr", 12, "reference.name: got 'keplr'", "did you mean 'kepler'?"
    ),
}
