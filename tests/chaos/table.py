"""The tables of the campaign: each fault and what it has left, each kind of wrong input and what became of it."""

from collections.abc import Sequence

from tests.benchmark import table
from tests.chaos.verdict import Verdict
from tests.chaos.wrong_input import Tally

_FAULTS = """\
Faults injected into small runs of every plugin, and into sweeps of them (`make chaos`). *Lost*: faults after which a
run that had been finished was gone or changed. *Half written*: faults after which a file under its final name was not
whole. *Same numbers*: faults after which the run, resumed, came to the `result.json` and the log of an undisturbed run,
to the bit, without clocks and memory; of a sweep, all of its runs.

"""


_INPUTS = """\
Wrong input: files that were made up, and shipped or sound ones in which a value, a key, some text or some bytes were
spoilt, many with text that would do harm if anybody executed it (`make chaos`; drawn by Hypothesis, each time the
same). *Valid after all*: what was drawn happens to mean something, such as another number or a changed comment.

"""


def faults_table(found: Sequence[tuple[str, str, Verdict]]) -> str:
    """Return the table in Markdown."""
    names = dict.fromkeys(name for name, *_ in found)
    rows = [_row(name, [(struck, v) for other, struck, v in found if other == name]) for name in names]
    every = [(struck, v) for _, struck, v in found]
    rows.append(_row("all", every) | {"struck": ""})
    return _FAULTS + table(rows)


def _row(name: str, found: Sequence[tuple[str, Verdict]]) -> dict[str, object]:
    verdicts = [verdict for _, verdict in found]
    return {
        "fault": name,
        "struck": ", ".join(dict.fromkeys(struck for struck, _ in found)),
        "injected": sum(verdict.hit for verdict in verdicts),
        "lost": sum(verdict.lost for verdict in verdicts),
        "half written": sum(bool(verdict.half) for verdict in verdicts),
        "same numbers": f"{sum(verdict.same for verdict in verdicts)} of {len(verdicts)}",
    }


def input_table(found: Sequence[tuple[str, Tally]]) -> str:
    """Return the table of wrong input in Markdown."""
    rows = [{"input": name, **_counts([tally])} for name, tally in found]
    return _INPUTS + table([*rows, {"input": "all", **_counts([tally for _, tally in found])}])


def _counts(tallies: Sequence[Tally]) -> dict[str, int]:
    refused, taken = sum(tally.refused for tally in tallies), sum(tally.taken for tally in tallies)
    wrong = sum(len(tally.wrong) for tally in tallies)
    return {
        "drawn": refused + taken + wrong,
        "refused in one line, exit 2": refused,
        "valid after all": taken,
        "tracebacks": wrong,
        "executions": sum(len(tally.executed) for tally in tallies),
    }
