"""The public door: ``discover(frame) -> Discovery``."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sympy

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.api import discover


def pendulums(many=15, points=60, seed=1000):
    """Small-angle free pendulums that turn over: q' = p, p' = 0 has law p; here a rotor in degrees with its rate."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 6, points)
    rate, start = rng.uniform(60, 200, (many, 1)), rng.uniform(-180, 180, (many, 1))
    angle = np.mod(start + rate * t + 180, 360) - 180
    label = np.repeat(np.arange(many), points)
    frame = pd.DataFrame({"run": label, "time": np.tile(t, many), "q": angle.ravel()})
    return frame.assign(x=np.cos(np.deg2rad(frame.q)) + np.repeat(rng.uniform(1, 3, many), points))


@pytest.fixture(scope="module")
def found():
    return discover(pendulums(), units={"q": "deg", "x": "m"}, degree=2)


def test_a_law_with_an_angle_in_degrees(found):
    x, q = sympy.symbols("x q")
    assert found.n_conserved == 1 and found.constraints == ()
    law = found.laws[0]
    assert sympy.simplify(law / law.coeff(x) - (x - sympy.cos(q))) == 0
    assert found.verdict.startswith("One conserved quantity") and found.result["n_conserved"] == 1
    assert set(found.deviations[0]) == {"x", "cos(q)"}
    assert found.result["invariants"][0]["units"]["impossible"] == []


def test_predict_gives_the_law_along_a_frame_of_its_own(found):
    frame = pendulums(many=3, seed=1001)
    frame.loc[4, "q"] = np.nan
    values = found.predict(frame)
    assert list(values.columns) == [str(found.laws[0])] and values.index.equals(frame.index)
    assert np.isnan(values.iloc[4, 0]) and values.iloc[:, 0].isna().sum() == 1
    spread = values.iloc[:, 0].groupby(frame.run)
    assert spread.std().max() < 1e-9 < values.iloc[:, 0].std()
    with pytest.raises(InputError, match="no column 'x'"):
        found.predict(frame.drop(columns="x"))


def test_report_and_tex(found, tmp_path):
    page = found.report(tmp_path / "page.html").read_text()
    assert found.verdict in page and page.count("<img") == 4 and "http://" not in page.replace("http://www.w3.org", "")
    assert r"\cos" in found.tex()
    with pytest.raises(InputError, match="cannot be written"):
        found.report("/proc/nothing/page.html")


def test_the_same_seed_gives_the_same_result(found):
    again = discover(pendulums(), units={"q": "deg", "x": "m"}, degree=2)
    assert again.result["invariants"] == found.result["invariants"]


@pytest.mark.parametrize(
    ("frame", "options", "says"),
    [
        (5, {}, "frame: got int, must be a data frame"),
        ({"t": [1, 2], "q": [1]}, {}, "frame: got dict"),
        (pendulums(), {"state": ["z"]}, "frame: state: unknown column 'z'"),
        (pendulums(), {"state": ["x", "x"]}, "state: got"),
        (pendulums(), {"units": {"x": "furlong"}}, "furlong"),
        (pendulums(), {"degree": 99}, "degree: got 99"),
        (pendulums(), {"degre": 2}, "degre"),
        (pendulums().assign(x=np.inf), {}, "column 'x': row 1: got an infinity"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(frame, options, says):
    with pytest.raises(InputError) as caught:
        discover(frame, **options)
    assert says in str(caught.value) and str(caught.value).isprintable()


def test_mappings_and_columns_with_numbers_as_names_are_frames_too():
    frame = pendulums(many=12).rename(columns={"q": 0, "x": 1})
    found = discover(dict(frame), degree=1, special=False, angles=())
    assert [one.header for one in found.measured.columns] == ["0", "1"]


def test_the_door_is_light_and_leads_to_the_function():
    code = (
        "import sys, ndm_apps.plugins.physics as physics\n"
        "assert not {'sympy', 'pandas', 'torch'} & set(sys.modules)\n"
        "import ndm_apps.plugins.physics.run\n"
        "from ndm_apps.plugins.physics import discover\n"
        "print(callable(discover))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "True\n"
