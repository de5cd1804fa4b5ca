"""The command ``ndm discover``: what it refuses, each in one line, and what it writes."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sympy
from pyarrow import parquet

from ndm_apps.cli import main
from ndm_apps.expression import parse_expression

ROWS = [(0.1 * n, np.cos(0.1 * n), -np.sin(0.1 * n)) for n in range(40)]


def table(header="t,q,p", rows=ROWS, separator=","):
    return "\n".join([header, *(separator.join(f"{value:.6g}" for value in row) for row in rows)]) + "\n"


def edited(row, column, text):
    """Return the table with one cell replaced."""
    rows = [line.split(",") for line in table().splitlines()]
    rows[row][column] = text
    return "\n".join(map(",".join, rows)) + "\n"


def with_rows(*more):
    return table() + "".join(",".join(map(str, row)) + "\n" for row in more)


# Name of the case: content of data.csv (bytes or text), options, and what the one line must say.
BROKEN = {
    "empty": ("", [], "data.csv: the file is empty"),
    "blank lines only": ("\n\n", [], "holds no rows"),
    "comments only": ("# nothing\n", [], "holds no rows"),
    "header only": ("t,q,p\n", [], "no row, must be 10 or more"),
    "one row": ("t,q,p\n0,1,2\n", [], "one row, must be 10 or more"),
    "few rows": (table(rows=ROWS[:9]), [], "9 complete rows, must be 10 or more"),
    "no header": (table().partition("\n")[2], [], "data.csv:1: got '0,1,-0', must be names of columns"),
    "one column": ("t\n" + "1\n" * 20, [], "data.csv:1: got one column, 't'"),
    "blanks between": (table(separator=" ").replace("t,q,p", "t q p"), [], "blanks do not separate"),
    "no time": (table("a,q,p"), [], "time: unknown column 't' (allowed: a, q, p)"),
    "no such time": (table(), ["--time", "tt"], "time: unknown column 'tt'; did you mean 't'? (allowed: t, q, p)"),
    "no such trajectory": (table(), ["--trajectory", "run"], "trajectory: unknown column 'run'"),
    "no such state": (table(), ["--state", "q,x"], "state: unknown column 'x' (allowed: q, p)"),
    "no such angle": (table(), ["--angle", "x"], "angle: unknown column 'x'"),
    "no such column of units": (table(), ["--units", "x=m"], "units: unknown column 'x'"),
    "no such column of errors": (table(), ["--error", "x=1"], "error: unknown column 'x'"),
    "time alone": (table(), ["--state", "t"], "--state: got 't', which is the column of time"),
    "state twice": (table(), ["--state", "q,q"], "--state: got 'q', which is listed twice"),
    "empty state": (table(), ["--state", "q,,p"], "--state: got 'q,,p', must be names separated by commas"),
    "headers twice": (table("t,q,q"), [], "two columns are called 'q'"),
    "constant column": (table(rows=[(t, q, 5.0) for t, q, _ in ROWS]), [], "column 'p' is 5 in every row"),
    "text in numbers": (edited(3, 1, "abc"), [], "column 'q': row 3: got 'abc', must be a number"),
    "text as time": (edited(3, 0, "noon"), [], "column 't': row 3: got 'noon', must be a number"),
    "formula as value": (edited(3, 1, "=1+1"), [], "column 'q': row 3: got '=1+1', must be a number"),
    "truth values": (table(rows=[]) + "0,True,1\n1,False,2\n2,True,4\n" * 5, [], "column 'q': row 1: got True"),
    "an infinity": (edited(5, 2, "inf"), [], "column 'p': row 5: got an infinity"),
    "a number too large": (edited(5, 2, "1e999"), [], "column 'p': row 5: got an infinity"),
    "numbers out of range": (edited(5, 2, "1e200"), [], "column 'p': got values up to 1e+200"),
    "thousands": (table(rows=[]) + '0,"1,000",2\n' * 20, [], "got '1,000', must be a number"),
    "duplicated times": (with_rows((3.9, 7, 7)), [], "rows 40 and 41 have the same time 3.9 and different values"),
    "time not increasing": (
        table(rows=[(n % 2, n, n * n) for n in range(40)]), [], "time goes back 19 times in 40 rows, must increase"
    ),
    "all times equal": (table(rows=[(1, q, p) for _, q, p in ROWS]), [], "have the same time 1 and different values"),
    "nothing complete": (table(rows=[]) + "0,,1\n" * 20, [], "0 complete rows"),
    "short trajectories": (
        table("trajectory,t,q", [(n // 2, n % 2, n * 0.7) for n in range(40)]), [], "fewer than 5 samples"
    ),
    "fields missing": (table().replace("0.1,", "", 1), [], "data.csv:3: got 2 fields, must be 3"),
    "fields too many": (with_rows((4, 5, 6, 7)), [], "data.csv:42: got 4 fields, must be 3"),
    "decimal commas": ("t,q\n" + "0,1,2,3\n" * 20, [], "with decimal commas, separate by semicolons"),
    "both decimal signs": ("t;q;p\n" + "0;1,5;2.5\n" * 20, [], "decimal commas and decimal points"),
    "text among decimal commas": (
        table("t;q;p", separator=";").replace(".", ",").replace("0,8;", "abc;"), [], "column 't': row 9: got 'abc'"
    ),
    "quote that never ends": (table() + '4,"5,6\n7,8,9\n', [], "data.csv"),
    "not UTF-8": (table().encode() + b"4,\xb5,1\n", [], "not text in UTF-8"),
    "UTF-16": (table().encode("utf-16"), [], "data.csv:1: not text in UTF-8"),
    "NUL": (table().replace("0.1,", "0.1\0,"), [], "a NUL byte"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), [], "data.csv:1: not text"),
    "one endless line": ("t,q," + "x" * 2**20, [], "a line of more than 1048576 bytes"),
    "too many columns": (table(",".join(["t"] + [f"q{n}" for n in range(33)]), np.ones((20, 34))), [], "33 measured"),
    "a wrong unit": (table(), ["--units", "q=furlong"], "--units: q: got 'furlong', must be a unit"),
    "a wrong row of units": (table("t,q,p\ns,m,who"), [], "data.csv:2: got 'who', must be a number (or a unit)"),
    "an angle in metres": (table("t,q [m],p"), ["--angle", "q"], "column 'q [m]': an angle in m, must be in rad"),
    "units without a sign": (table(), ["--units", "q"], "--units: got 'q', must be column=value"),
    "an error below zero": (table(), ["--error", "q=-1"], "--error: q: got -1.0, must be greater than 0.0"),
    "an error that is text": (table(), ["--error", "q=x"], "--error: got 'x', must be a number"),
    "no time to search": (table(), ["--seconds", "0"], "--seconds: got 0.0, must be greater than 0.0"),
    "an infinity of time": (table(), ["--seconds", "nan"], "--seconds: got 'nan', must be a number"),
    "an unknown setting": (table(), ["--set", "methods.spectral.degre=2"], "did you mean 'degree'?"),
    "a setting of another kind": (table(), ["--set", "task.noise=1"], "must set methods.spectral.KEY"),
    "a negative seed": (table(), ["--seed", "-1"], "'--seed'"),
    "a huge seed": (table(), ["--seed", "9" * 30], "--seed: got 9999"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tables_are_refused_in_one_line(case, here, refused):
    content, options, says = BROKEN[case]
    (here / "data.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in refused("discover", "data.csv", *options)


def test_files_that_are_none(here, refused):
    (here / "folder.csv").mkdir()
    (here / "book.xlsx").write_text(table())
    (here / "data.csv.gz").write_text(table())
    (here / "noend").write_text(table())
    os.mkfifo(here / "pipe.csv")
    assert "no such file" in refused("discover", "nothing.csv")
    assert "folder.csv is a folder" in refused("discover", "folder.csv")
    assert "got a file '.xlsx', must be .csv, .tsv, .parquet or .pq" in refused("discover", "book.xlsx")
    assert "got a file '.gz'" in refused("discover", "data.csv.gz")
    assert "got a file ''" in refused("discover", "noend")
    assert "no such file" in refused("discover", "pipe.csv")
    assert "no such file" in refused("discover", "new\nline.csv")
    assert "Missing argument" in refused("discover")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(here, refused):
    (here / "data.csv").write_text(table())
    (here / "data.csv").chmod(0)
    assert "cannot be read (permission denied)" in refused("discover", "data.csv")


def test_claims_of_ten_gigabytes_are_refused_before_reading(here, refused):
    with (here / "huge.csv").open("wb") as stream:
        stream.write(table().encode())
        stream.truncate(10 * 2**30)  # a hole: it takes no room
    assert "10737418240 bytes, must be at most" in refused("discover", "huge.csv")
    # A footer that claims a billion rows, in few bytes: runs of one value.
    column = pa.array(np.zeros(10**6))
    with parquet.ParquetWriter(here / "huge.parquet", pa.schema([("t", pa.float64()), ("q", pa.float64())])) as writer:
        for _ in range(60):
            writer.write_table(pa.table({"t": column, "q": column}))
    assert (here / "huge.parquet").stat().st_size < 2**20
    assert "it claims 60000000 rows of 2 columns" in refused("discover", "huge.parquet")


def test_broken_parquet_is_refused(here, refused):
    frame = pd.DataFrame(ROWS, columns=["t", "q", "p"])
    frame.to_parquet(here / "good.parquet")
    whole = (here / "good.parquet").read_bytes()
    (here / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (here / "text.parquet").write_text(table())
    broken = bytearray(whole)
    broken[40:-2000] = b"\xff" * len(broken[40:-2000])
    (here / "flipped.parquet").write_bytes(broken)
    for name in ("cut", "text", "flipped"):
        assert "not a readable Parquet file" in refused("discover", f"{name}.parquet")
    frame.assign(q=[[1.0]] * len(frame)).to_parquet(here / "lists.parquet")
    assert "column 'q' holds list<" in refused("discover", "lists.parquet")
    frame.assign(q="a").to_parquet(here / "texts.parquet")
    assert "column 'q': row 1: got 'a', must be a number" in refused("discover", "texts.parquet")
    frame.assign(q=frame.q > 0).to_parquet(here / "flags.parquet")
    assert "column 'q': row 1: got True, must be a real number" in refused("discover", "flags.parquet")


def test_headers_are_only_names(here, ndm):
    """Formulas, code and markup in headers are shown, never evaluated; formulas use safe symbols."""
    headers = [
        "t",
        "=cmd|' /C calc'!A0",
        "__import__('os').system('touch owned')",
        "<script>alert(1)\\input{x}",
    ]
    rng = np.random.default_rng(1000)
    sizes = rng.uniform(1, 2, (12, 1))
    t = np.linspace(0, 6, 30)
    values = {headers[1]: sizes * np.sin(t), headers[2]: sizes * np.cos(t), headers[3]: sizes + 0 * t}
    frame = pd.DataFrame({"t": np.tile(t, 12), **{name: value.ravel() for name, value in values.items()}})
    frame.to_csv(here / "data.csv", index=False)
    status, _, err = ndm("discover", "data.csv", "--out", "run", "--no-track", "--seconds", "5")
    assert (status, err) == (0, "")
    assert not list(here.rglob("owned"))
    result = json.loads((here / "run" / "result.json").read_text())
    symbols = [column["symbol"] for column in result["data"]["columns"]]
    assert symbols == ["cmd_C_calc_A0", "import_os_system_touch_owned", "script_alert_1_input_x"]
    assert [column["header"] for column in result["data"]["columns"]] == headers[1:]
    assert "<script>alert" not in (here / "run" / "report.html").read_text()
    assert "\\input" not in (here / "run" / "laws.tex").read_text()


@pytest.fixture(scope="module")
def oscillator():
    """Twelve trajectories of an oscillator, 30 samples each, without noise."""
    rng = np.random.default_rng(1001)
    size, phase = rng.uniform(1, 2, (12, 1)), rng.uniform(0, 6, (12, 1))
    t = np.linspace(0, 6, 30)
    x, v = size * np.sin(2 * t + phase), 2 * size * np.cos(2 * t + phase)
    label = np.repeat([f"run {n}" for n in range(12)], 30)
    return pd.DataFrame({"trajectory": label, "t": np.tile(t, 12), "x": x.ravel(), "v": v.ravel()})


@pytest.mark.parametrize("kind", ["csv", "parquet", "semicolons"])
def test_a_law_is_found_in_a_file_and_written_down(kind, oscillator, here, ndm):
    if kind == "parquet":
        oscillator.to_parquet(here / "data.parquet")
    else:
        semicolons = {"sep": ";", "decimal": ","} if kind == "semicolons" else {}
        text = oscillator.sample(frac=1, random_state=1000).to_csv(index=False, **semicolons)
        header, _, rest = text.partition("\n")
        units = ["", "s", "m", "m/s"]
        (here / "data.csv").write_text(f"# a comment\n{header}\n{semicolons.get('sep', ',').join(units)}\n{rest}")
    name = "data.parquet" if kind == "parquet" else "data.csv"
    options = ["--units", "x=m,v=m/s"] if kind == "parquet" else []
    status, out, err = ndm("discover", name, "--out", "run", "--no-track", *options)
    assert (status, err) == (0, "")
    result = json.loads((here / "run" / "result.json").read_text())
    assert result["n_conserved"] == 1 and result["data"]["trajectories"] == 12
    law = result["invariants"][0]
    x, v = sympy.symbols("x v")
    formula = parse_expression(law["expression"], ["x", "v"]).evaluate({"x": x, "v": v}, {}, sympy.nsimplify)
    assert sympy.simplify(formula / formula.coeff(x, 2) - (x**2 + v**2 / 4)) == 0  # whatever the scale
    units = law["units"]["coefficients"]
    assert (law["units"]["value"], units["v**2"], units["x**2"]) in (
        ("m**2", "s**2", "1"),
        ("m**2/s**2", "1", "1/s**2"),
    )
    assert f"law 1: {law['expression']}" in out and "One conserved quantity" in out
    assert {path.name for path in (here / "run").iterdir()} >= {
        "config.yaml", "result.json", "report.html", "figures", "laws.tex"
    }  # fmt: skip
    assert law["latex"] in (here / "run" / "laws.tex").read_text()
    assert "holds a run already" in ndm("discover", name, "--out", "run", "--no-track", *options)[2]


def test_a_run_of_a_file_can_be_repeated_from_its_config(oscillator, here, ndm, capsys):
    oscillator.to_csv(here / "data.csv", index=False)
    ndm("discover", "data.csv", "--out", "run", "--no-track", "--seed", "3")
    with pytest.raises(SystemExit) as caught:
        main(["run", "run/config.yaml", "--out", "again", "--no-track"])
    capsys.readouterr()
    assert caught.value.code == 0
    first, again = (json.loads((here / name / "result.json").read_text()) for name in ("run", "again"))
    assert first["invariants"] == again["invariants"] and first["config"] == again["config"]
    assert again["seed"] == 3


def test_help_names_every_option(ndm):
    status, out, _ = ndm("discover", "--help")
    assert status == 0
    for option in (
        "--time",
        "--trajectory",
        "--state",
        "--angle",
        "--units",
        "--error",
        "--seconds",
        "--seed",
        "--out",
    ):
        assert option in out
