"""A handful of the faults of `make chaos`, and whether its judges would notice if one was not survived."""

import json
import signal
import threading

import pytest

from ndm_apps.files import replacing
from ndm_apps.interruption import Interruption
from tests.chaos.campaign import campaign
from tests.chaos.runs import found, half_written, left_over
from tests.chaos.starved import can_mount

FAULTS = [
    ("kill -9 of a run in the middle of a line of its log", "continual"),
    ("kill -9 of a run while it writes a checkpoint", "continual"),
    ("kill -9 of a run while it writes its result", "continual"),
    ("kill -9 of a run while it writes its page", "continual"),
    ("a run finds its disk full at a checkpoint", "continual"),
    ("Ctrl-C", "continual"),
]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("chaos")


@pytest.mark.parametrize(("name", "plugin"), FAULTS, ids=lambda text: text.replace(" ", "-"))
def test_a_fault_is_survived(name, plugin, scratch):
    if "disk" in name and not can_mount():
        pytest.skip("only root can mount a small disk")
    here = scratch / name.replace(" ", "-")  # all beside one another: they share one undisturbed run
    here.mkdir()
    (inject,) = [inject for other, struck, inject in campaign(here) if (other, struck) == (name, plugin)]
    verdict = inject()
    assert verdict.survived, verdict


def test_the_campaign_is_as_large_as_promised(tmp_path):
    assert len(list(campaign(tmp_path))) >= 60


def test_what_is_half_written_is_found(tmp_path):
    (tmp_path / "figures").mkdir()
    whole = {
        "result.json": json.dumps({"verdict": "Well."}),
        "metrics.jsonl": '{"name": "loss", "value": 1.0, "step": 1}\n',
        "report.html": "<html></html>\n",
        "figures/a.svg": "<svg></svg>",
        "summary.md": "| a |\n",
    }
    for name, text in whole.items():
        (tmp_path / name).write_text(text)
    assert half_written(tmp_path) == left_over(tmp_path) == []
    before = found(tmp_path)
    for name, text in whole.items():
        (tmp_path / name).write_text(text[:-8] + "\n" if name.endswith("jsonl") else text[:-2])
        assert half_written(tmp_path) == [name]
        (tmp_path / name).write_text(text)
    (tmp_path / "metrics.jsonl").write_text(whole["metrics.jsonl"].replace("1.0", "1.1"))
    assert found(tmp_path) != before
    (tmp_path / ".result.json-abcdefgh.tmp").write_text("{")
    assert half_written(tmp_path) == [] and left_over(tmp_path) == [".result.json-abcdefgh.tmp"]


def test_a_file_that_could_not_be_written_stays_as_it_was(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), replacing(file) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_a_signal_waits_until_the_state_is_saved():
    told = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interruption(lambda: told.append("once")) as interruption:
        interruption.hold()
        signal.raise_signal(signal.SIGINT)
        assert interruption.pending and told == ["once"]
        interruption.release()
        pytest.fail("must not get here")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_and_one_without_a_state_to_save_do_not_wait():
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("must not get here")
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        interruption.hold()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("must not get here")


def test_a_signal_that_came_too_late_is_raised_at_the_end():
    reached = False
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        interruption.hold()
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached


def test_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with Interruption():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
