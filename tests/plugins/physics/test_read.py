"""Tables become trajectories: what is sorted, split, dropped, converted, and what is told of it."""

import numpy as np
import pandas as pd
import pytest

from ndm_apps.datasets.motion import locate
from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.read import measured, read
from ndm_apps.plugins.physics.source import Columns, Recording
from ndm_apps.plugins.physics.table import Table


def understood(frame, in_table=(), **wanted):
    return measured(Table(frame, dict(in_table)), Columns(**wanted), "frame", "frame")


def turning(rates=(1.0, 2.0, 3.0), points=(40, 30, 20), seed=1000):
    """Trajectories of unequal length at irregular times: an unbounded angle and its rate."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, (rate, length) in enumerate(zip(rates, points, strict=True)):
        t = np.cumsum(rng.uniform(0.05, 0.3, length))
        parts.append(pd.DataFrame({"trajectory": f"run {number}", "t": t, "a": rate * t, "w": rate + 0.01 * t}))
    return pd.concat(parts, ignore_index=True)


def test_ragged_trajectories_at_irregular_times_come_through_as_they_are():
    frame = turning()
    found = understood(frame, angles=())
    assert found.data.lengths.tolist() == [40, 30, 20] and found.labels == ("run 0", "run 1", "run 2")
    np.testing.assert_array_equal(found.data.time, frame.t)
    np.testing.assert_array_equal(found.data.values, frame[["a", "w"]])
    assert found.notes == ()


def test_rows_in_any_order_give_the_same_trajectories():
    frame = turning()
    shuffled = understood(frame.sample(frac=1, random_state=1000), angles=())
    order = [shuffled.labels.index(label) for label in ("run 0", "run 1", "run 2")]
    np.testing.assert_array_equal(shuffled.data.take(np.array(order)).values, frame[["a", "w"]])
    assert any("sorted" in note for note in shuffled.notes)


def test_time_that_starts_again_begins_a_trajectory():
    frame = turning().drop(columns="trajectory")
    found = understood(frame, angles=())
    assert found.data.lengths.tolist() == [40, 30, 20]
    assert found.notes == ("Time starts again 2 times: taken for 3 trajectories.",)


def test_rows_with_missing_values_are_left_out_and_counted():
    frame = turning()
    frame.loc[3, "a"] = np.nan
    frame.loc[50, "t"] = np.nan
    frame.loc[60, "trajectory"] = None
    found = understood(frame, angles=())
    assert len(found.data.time) == 87
    assert "3 of 90 rows have a missing value and are left out." in found.notes


def test_repeated_rows_are_left_out_and_short_trajectories_too():
    frame = turning()
    more = pd.DataFrame({"trajectory": "short", "t": [0.0, 1.0], "a": [1.0, 2.0], "w": [0.0, 0.0]})
    found = understood(pd.concat([frame, frame.iloc[:5], more], ignore_index=True), angles=())
    assert found.data.lengths.tolist() == [40, 30, 20]
    assert "5 rows repeat another one and are left out." in found.notes
    assert "1 trajectories of fewer than 5 samples are left out." in found.notes


@pytest.mark.parametrize("turn", [2 * np.pi, 360.0])
@pytest.mark.parametrize("centred", [True, False])
def test_angles_are_told_by_their_jumps(turn, centred):
    frame = turning()
    angle = frame.a.to_numpy().copy()
    wrapped = np.mod(angle, 2 * np.pi) - (np.pi if centred else 0.0)
    frame["a"] = wrapped * turn / (2 * np.pi)
    found = understood(frame)
    assert found.data.angles == {"a"}
    np.testing.assert_allclose(np.exp(1j * found.data.values[:, 0]), np.exp(1j * wrapped), atol=1e-12)
    assert found.data.values[:, 0].max() <= np.pi and found.data.values[:, 0].min() > -np.pi
    assert found.units["a"].is_dimensionless
    assert understood(frame, angles=()).data.angles == frozenset()


def test_a_saw_tooth_or_noise_is_no_angle():
    frame = turning()
    frame["a"] = np.mod(frame.a, 3.0)
    assert understood(frame).data.angles == frozenset()
    frame["a"] = np.random.default_rng(1000).uniform(-np.pi, np.pi, len(frame))
    assert understood(frame).data.angles == frozenset()


def test_declared_angles_are_wrapped_and_degrees_become_radians():
    frame = turning().rename(columns={"a": "a [deg]"})
    found = understood(frame, error={"a": 1.0})
    np.testing.assert_allclose(
        np.exp(1j * found.data.values[:, 0]), np.exp(1j * np.deg2rad(frame["a [deg]"])), atol=1e-12
    )
    assert found.noise == {"a": pytest.approx(np.pi / 180)}
    assert [one.symbol for one in found.columns] == ["a", "w"] and "Formulas use a for 'a [deg]'." in found.notes


def test_units_of_the_argument_go_before_those_of_the_table():
    frame = turning()
    found = understood(frame, {"a": "m", "w": "m/s"}, angles=())
    assert {name: str(unit) for name, unit in found.units.items()} == {"a": "m", "w": "m/s"}
    assert str(understood(frame, {"a": "m"}, units={"a": "cm"}, angles=()).units["a"]) == "cm"
    assert not found.allows("radius", ["a", "w"]) and found.allows("log", ["a"])


def test_time_and_trajectory_of_other_names_are_found_and_told():
    frame = turning().rename(columns={"t": "Time (s)", "trajectory": "trial"})
    found = understood(frame, angles=())
    assert (found.time.header, found.time.unit, found.data.state) == ("Time (s)", "s", ("a", "w"))
    assert "The column 'trial' is taken for the trajectory." in found.notes


def test_dates_are_seconds():
    frame = turning()
    dates = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame.t, unit="s")
    for column in (dates, dates.dt.strftime("%Y-%m-%dT%H:%M:%S.%f")):
        found = understood(frame.assign(t=column), angles=())
        np.testing.assert_allclose(np.diff(found.data.time), np.diff(frame.t), atol=2e-6)


def test_decimals_are_read_to_the_last_digit(tmp_path):
    frame = turning()
    frame.to_csv(tmp_path / "data.csv", index=False)
    found = read(Recording(file=str(tmp_path / "data.csv"), angles=()))
    np.testing.assert_array_equal(found.data.values, frame[["a", "w"]])
    assert found.dataset().digest == understood(frame, angles=()).dataset().digest


@pytest.mark.parametrize(
    "text", ["# t,a,w\n", "\ufefft,a,w\n", "t\ta\tw\n", "t;a;w\ns;m;m/s\n", "# by hand\n\nt,a,w\n# more\n"]
)
def test_ways_of_writing_a_table(text, tmp_path):
    separator = next(one for one in ",;\t" if one in text)
    rows = [[0.5 * n, 1.25 * n, 3.5 - n] for n in range(12)]
    body = "\n".join(separator.join(map(str, row)) for row in rows)
    if separator == ";":
        body = body.replace(".", ",")
    (tmp_path / "data.csv").write_text(text + body + "\n", encoding="utf-8")
    found = read(Recording(file=str(tmp_path / "data.csv")))
    np.testing.assert_array_equal(found.data.values, np.array(rows)[:, 1:])


def test_units_in_parquet_metadata(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(turning(), preserve_index=False)
    field = table.schema.field("w").with_metadata({"unit": "1/s"})
    parquet.write_table(table.cast(table.schema.set(3, field)), tmp_path / "data.parquet")
    found = read(Recording(file=str(tmp_path / "data.parquet"), angles=()))
    assert str(found.units["w"]) == "1/s" and found.data.lengths.tolist() == [40, 30, 20]


def test_messages_name_where():
    with pytest.raises(InputError, match=r"^frame: time: unknown column 't'"):
        understood(turning().rename(columns={"t": "z"}))
    with pytest.raises(InputError, match="40 measured columns, must be at most 32"):
        understood(pd.DataFrame(np.ones((20, 41)), columns=["t", *(f"q{n}" for n in range(40))]))


def test_a_name_of_angles_is_asked_about_but_not_believed():
    t = np.linspace(0, 10, 50)
    frame = pd.DataFrame({"t": t, "theta": 0.5 * np.sin(t), "theta_dot": 0.5 * np.cos(t), "phi1": 5 * np.sin(t)})
    found = understood(frame)
    assert found.data.angles == frozenset()
    assert [note for note in found.notes if "if it is an angle" in note] == [
        "theta is taken for a number; if it is an angle in radians, name it as one."
    ]
    assert not any("if it is" in note for note in understood(frame, angles=()).notes)


def test_a_table_that_is_known_by_name_brings_its_angles_and_units():
    with pytest.raises(ValueError, match="unknown table 'pendulums'"):
        Recording(table="pendulums")
    for given in ({}, {"file": "a.csv", "table": "pendulum"}):
        with pytest.raises(ValueError, match="exactly one of: file, table"):
            Recording(**given)
    if locate("pendulum") is None:
        pytest.skip("pendulum is not in NDM_DATA")
    found = read(Recording(table="pendulum"))
    assert found.name == "pendulum" and found.data.angles == {"o"} and found.time.unit == "s"
    assert str(read(Recording(table="pendulum", units={"v": "rad/s"})).units["v"]) == "1/s"
