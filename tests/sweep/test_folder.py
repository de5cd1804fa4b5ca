import json
import shutil
from threading import Thread

import pytest

from ndm_apps.errors import InputError
from ndm_apps.sweep.folder import SweepFolder


def record(folder):
    return json.loads((folder / "sweep.json").read_text())


def test_drivers_in_one_folder_add_to_one_list(tmp_path):
    out = tmp_path / "sweep"
    drivers = [SweepFolder(out, {"command": [str(number)]}) for number in range(4)]

    def work(number):
        for step in range(25):
            drivers[number].plan([f"run-{number}-{step}", "run-of-all"])
            drivers[number].note_failure(f"run-{number}-{step}", "no")

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = record(out)
    assert sorted(known["runs"]) == sorted(
        ["run-of-all", *(f"run-{number}-{step}" for number in range(4) for step in range(25))]
    )
    assert len(known["failed"]) == 100 and known["command"] == ["3"]
    drivers[0].plan(["run-1-1"])
    assert "run-1-1" not in record(out)["failed"], "it is tried again"
    assert [path.name for path in out.iterdir()] == ["sweep.json"]


def test_a_damaged_record_is_told(tmp_path):
    (tmp_path / "sweep.json").write_text('{"runs": [')
    with pytest.raises(InputError, match=r"sweep.json is damaged .* delete it to sweep into this folder again"):
        SweepFolder(tmp_path, {})


def test_withdrawing_removes_what_was_made_and_nothing_else(tmp_path):
    (tmp_path / "with" / "run").mkdir(parents=True)
    (tmp_path / "with" / "sweep.json").write_text("{}")
    SweepFolder(tmp_path / "with", {}).withdraw()
    assert (tmp_path / "with" / "sweep.json").exists(), "it was not made here"
    shutil.rmtree(tmp_path / "with")
    folder = SweepFolder(tmp_path / "a" / "b", {})
    folder.plan(["run"])
    (folder.path / "run").mkdir()
    folder.withdraw()
    assert (folder.path / "sweep.json").exists(), "a run has left something"
    (folder.path / "run").rmdir()
    folder.withdraw()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    SweepFolder(tmp_path / "a" / "b", {}).withdraw()
    assert list((tmp_path / "a").iterdir()) == [] and (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^--out: .*file/sweep cannot be written \(not a directory\)$"):
        SweepFolder(tmp_path / "file" / "sweep", {})
