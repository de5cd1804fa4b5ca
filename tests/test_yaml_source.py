import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndm_apps.errors import InputError
from ndm_apps.yaml_source import LARGEST_FILE, Place, parse_value, parse_yaml, read_yaml
from ndm_apps.yaml_values import dump_yaml
from tests.broken.cases import TEXTS

PIECES = [*"abn:- [],{}#&*!|>'\"%@?\n\r\x85\0\t\\0123.eE~<=u", "\n  ", "\n- ", ": ", "true", "\ud800"]
WORDS = [
    "1",
    "1e3",
    "no",
    "true",
    "null",
    "~",
    "",
    " a ",
    "a: b",
    "- a",
    "#x",
    "0x1",
    "1_0",
    "2020-01-01",
    "1:30",
    ".5",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(WORDS)
    | st.text("ab \n:'\x85", min_size=100, max_size=300)
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(WORDS)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=4)


@pytest.mark.parametrize("case", TEXTS.values(), ids=list(TEXTS))
def test_broken_text_is_told_in_one_line_with_file_and_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = case.content.encode() if isinstance(case.content, str) else case.content
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_yaml(tmp_path / "bad.yaml")
    message = str(caught.value)
    assert message.startswith(f"bad.yaml:{case.line}: ")
    assert message.isprintable() and len(message) < 400
    for part in case.says:
        assert part in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2.", -2.0),
        ("+7", 7),
        ("0", 0),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("True", "True"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("190:20:30", "190:20:30"),
        ("2020-01-01", "2020-01-01"),
        ("inf", "inf"),
        ("=", "="),
        ("~", None),
        ("", None),
        ("null", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("a#b", "a#b"),
        ("|\n  1\n  2", "1\n2\n"),
    ],
)
def test_scalars(text, value):
    got = parse_yaml(f"key: {text}\n", "x.yaml").data["key"]
    assert got == value and type(got) is type(value)


def test_lines_of_keys_and_items():
    source = parse_yaml("a:\n  b: 1\n  c:\n    - x\n    - {y: 2,\n       z: 3}\n", "x.yaml")
    lines = {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5, ("a", "c", 1, "z"): 6}
    assert {path: source.line(path) for path in lines} == lines
    assert source.line(("a", "c", 1, "missing")) == 5


def test_byte_order_mark_and_line_ends_of_windows(tmp_path):
    (tmp_path / "x.yaml").write_bytes("\ufeffa: 1\r\nb: ü\r\n".encode())
    source = read_yaml(tmp_path / "x.yaml")
    assert source.data == {"a": 1, "b": "ü"} and source.line(("b",)) == 2


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.yaml").write_text("a: 1\n")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_text("#" * (LARGEST_FILE + 1))
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.yaml")
    for name, says in {
        "digts.yaml": "no such file; did you mean 'digits.yaml'?",
        "folder.yaml": "is a folder",
        "pipe.yaml": "is not a regular file",
        "socket.yaml": "is not a regular file",
        "large.yaml": "is larger than 1000000 bytes",
        "digits.yaml/x.yaml": "cannot be read: not a directory",
        "x" * 300: "cannot be read: file name too long",
        "a\0b": "is not a file name",
        "a\nb": "no such file",
    }.items():
        with pytest.raises(InputError) as caught:
            read_yaml(tmp_path / name)
        assert says in str(caught.value) and str(caught.value).isprintable()


def test_a_file_without_permission_is_told(tmp_path, monkeypatch):
    (tmp_path / "x.yaml").write_text("a: 1\n")
    (tmp_path / "x.yaml").chmod(0)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    # The superuser, as whom tests may run, may read everything.
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"x\.yaml: cannot be read: permission denied"):
        read_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "text", ["[1, 2", "{a: 1", '"x', "[&a 1]", "[1] 2", "[\t1]", "[1\n]", "9" * 5000, ".inf", "\ud800"]
)
def test_broken_values_of_arguments(text):
    with pytest.raises(InputError) as caught:
        parse_value(text, "--set a.b=v")
    assert str(caught.value).startswith("--set a.b=v: ") and str(caught.value).isprintable()


def test_merging_keeps_places():
    base = parse_yaml("a: {b: 1, c: [1, 2]}\nd: 1\n", "base.yaml")
    over = parse_yaml("x: 1\na: {c: [3]}\nd: {e: 1}\n", "over.yaml")
    merged = base.merged(over)
    assert merged.data == {"a": {"b": 1, "c": [3]}, "d": {"e": 1}, "x": 1}
    assert base.data == {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert str(merged.place(("a", "b"))) == "base.yaml:1"
    assert str(merged.place(("a", "c", 0))) == "over.yaml:2"
    assert str(merged.place(("a", "c", 1))) == "over.yaml:2"
    assert str(merged.place(("d", "e"))) == "over.yaml:3"
    changed = merged.with_value(("d", "f", "g"), 7, Place("--set"))
    assert changed.data["d"] == {"e": 1, "f": {"g": 7}} and merged.data["d"] == {"e": 1}
    assert str(changed.place(("d", "f", "g"))) == "--set" and str(changed.place(("d", "e"))) == "over.yaml:3"


def same(one, other):
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(MAPPINGS)
def test_written_mappings_read_back_exactly(data):
    assert same(parse_yaml(dump_yaml(data), "x.yaml").data, data)


@pytest.mark.parametrize(
    "data",
    [{"a": float("nan")}, {"a": float("inf")}, {"a": 2**63}, {1: 2}, {"a": {1: 2}}, {"a": (1, 2)}, {"a": object()}],
)
def test_what_would_not_read_back_is_not_written(data):
    with pytest.raises(ValueError, match="must be"):
        dump_yaml(data)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text())
def test_any_text_gives_a_mapping_or_one_line(text):
    try:
        assert isinstance(parse_yaml(text, "x.yaml").data, dict)
    except InputError as error:
        assert str(error).startswith("x.yaml:") and str(error).isprintable()
    try:
        parse_value(text, "--set a")
    except InputError as error:
        assert str(error).startswith("--set a: ") and str(error).isprintable()
