"""Measured motion as frames: fabricated files of the same layout everywhere, the real ones where they are."""

import io
import os
import zipfile

import numpy as np
import pytest

from ndm_apps.datasets.motion import EXPERIMENTS, NAMES, PELTS, PLANETS, load_motion, locate
from ndm_apps.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "physics").mkdir()
    return tmp_path


def test_a_file_that_is_not_here_is_told(folder):
    with pytest.raises(InputError, match=r"planets: physics/solar_system_1950_2050.npz is not here \(looked in "):
        load_motion("planets")
    with pytest.raises(InputError, match="got 'moon', must be one of air_track_oscillator"):
        load_motion("moon")


def test_experiments(folder):
    lines = ["%o v", *(f"{n // 5} {0.1 * n:.2f} {n} {2 * n} 7" for n in range(10))]
    with zipfile.ZipFile(folder / EXPERIMENTS, "w") as archive:
        archive.writestr("real_pend_h_1.txt", "\r\n".join(lines))
        archive.writestr("real_linear_h_1.txt", "% x v\r\n0 1\r\n")
    motion = load_motion("pendulum")
    assert list(motion.frame.columns) == ["trajectory", "t", "o", "v"] and motion.angles == ("o",)
    assert motion.frame.trajectory.nunique() == 2 and motion.frame.v.tolist() == [2.0 * n for n in range(10)]
    for name in ("air_track_oscillator", "double_pendulum"):  # a column is missing; the experiment is
        with pytest.raises(InputError, match=f"not the table '{name}'"):
            load_motion(name)


def test_planets(folder):
    state = np.arange(2 * 3 * 6.0).reshape(3, 2, 6)
    np.savez(folder / PLANETS, jd_tdb=np.array([10.0, 15.0, 20.0]), state=state, names=np.array(["a", "b"]))
    motion = load_motion("planets")
    assert motion.frame.t.tolist() == [0, 5, 10] * 2 and motion.frame.trajectory.tolist() == ["a"] * 3 + ["b"] * 3
    assert motion.frame.iloc[4, 2:].tolist() == state[1, 1].tolist() and motion.units["vx"] == "au/d"
    with io.BytesIO() as buffer:
        np.savez(buffer, jd_tdb=np.array([1.0]), state=state, names=np.array(["a"]))
        (folder / PLANETS).write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="must be"):
        load_motion("planets")


def test_pelts(folder):
    (folder / PELTS).write_text("# a comment\nYear, Lynx, Hare\n1900, 4.0, 30.0\n1901, 6.1, 47.2\n")
    motion = load_motion("hare_lynx")
    found = motion.frame.to_dict("list")
    assert found == {"trajectory": [0, 0], "t": [1900, 1901], "Hare": [30.0, 47.2], "Lynx": [4.0, 6.1]}


ROWS = {"air_track_oscillator": 870, "air_track_double_oscillator": 495, "pendulum": 556, "double_pendulum": 1520,
        "pendulum_circle": 600, "planets": 8 * 7306, "hare_lynx": 21}  # fmt: skip


@pytest.mark.skipif(not os.environ.get("NDM_DATA"), reason="NDM_DATA is not set")
@pytest.mark.parametrize("name", NAMES)
def test_real_tables_have_the_documented_shape(name):
    if locate(name) is None:
        pytest.skip("not in NDM_DATA")
    motion = load_motion(name)
    assert len(motion.frame) == ROWS.get(name, len(motion.frame)) > 0
    assert np.isfinite(motion.frame.drop(columns="trajectory").to_numpy()).all()
    assert set(motion.angles) | set(motion.units) <= {*motion.frame.columns}
    assert (motion.frame.groupby("trajectory").t.diff().dropna() > 0).all()
