import csv
import json
import math
from dataclasses import replace

import pytest

from ndm_apps import run as runner
from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Result
from ndm_apps.sweep import Outcome, plan_search, search, searching

optuna = pytest.importorskip("optuna")

SPACE = """\
task: continual/digits
method: ndm
methods:
  ndm: {immersion: {kind: lift, width: 30}}
search:
  trials: 16
  batch: 4
  seeds: "1000:1002"
  space:
    methods.ndm.shrinkage: {low: 1.0e-4, high: 1.0, log: true}
    methods.ndm.immersion.width: {low: 10, high: 90}
    methods.ndm.solver: [lda, ridge]
    methods.naive.hidden: [[4], [8, 8]]
"""
"""Settings at which the metric below is best: shrinkage 0.01, width 50, ridge."""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def bowl(monkeypatch):
    """Runs whose accuracy is a smooth function of the settings, the more so the better."""
    seen = []

    def function(task, method, settings, context):
        seen.append((settings.shrinkage, settings.immersion.width, settings.solver, context.seed))
        assert context.evaluate == "validation"
        away = (math.log10(settings.shrinkage) + 2) ** 2 / 4 + (settings.immersion.width - 50) ** 2 / 1600
        return Result({"final_accuracy": 1 - away / 4 - 0.1 * (settings.solver == "lda") + context.seed * 1e-6})

    monkeypatch.setattr(runner, "resolve", lambda entry: function)
    return seen


def test_a_search_finds_the_bottom_of_a_bowl_and_writes_it_as_a_config(tmp_path, config, bowl):
    found = search(plan_search(config), tmp_path / "search", track=False)
    best = load_config(found.config)
    assert best.settings.solver == "ridge" and 1e-3 < best.settings.shrinkage < 1e-1
    assert abs(best.settings.immersion.width - 50) < 20
    assert (best.run.evaluate, best.run.seed) == ("test", 0)
    assert found.best.value == max(trial.value for trial in found.trials) > 0.95
    rows = list(csv.reader((tmp_path / "search" / "trials.csv").open()))
    assert len(rows) == 17 and rows[0][:3] == ["trial", "methods.ndm.shrinkage", "methods.ndm.immersion.width"]
    assert all(float(f"{float(row[1]):.4g}") == float(row[1]) for row in rows[1:]), "four digits"
    assert len({row[1] for row in rows}) > 12
    assert (tmp_path / "search" / "report.html").exists()


def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path, config, bowl):
    whole = search(plan_search(config), tmp_path / "whole", track=False)
    once = list(bowl)

    def pull_the_plug(now):
        if now.done == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(plan_search(config), tmp_path / "cut", track=False, progress=pull_the_plug)
    bowl.clear()
    resumed = search(plan_search(config), tmp_path / "cut", track=False)
    assert [trial.settings for trial in resumed.trials] == [trial.settings for trial in whole.trials]
    assert [trial.scores for trial in resumed.trials] == [trial.scores for trial in whole.trials]
    assert bowl == once[13:], "what is on disk is not run again"
    assert resumed.config.read_text() == whole.config.read_text()


def test_the_trials_do_not_depend_on_the_order_in_which_runs_end(tmp_path, config, bowl, monkeypatch):
    whole = search(plan_search(config), tmp_path / "whole", track=False)

    class Reversed:
        size, is_one_machine = 5, True

        def __init__(self):
            self.jobs = []

        def start(self, job):
            self.jobs.append(job)

        def wait(self):
            job = self.jobs.pop()
            values = runner.execute(job.member.config, job.out / job.member.label, track=False)
            return Outcome(job.member.label, values)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(searching, "open_pool", lambda *_: Reversed())
    other = search(plan_search(config), tmp_path / "other", track=False)
    assert [trial.settings for trial in other.trials] == [trial.settings for trial in whole.trials]


def test_failed_trials_are_passed_over(tmp_path, config, bowl, monkeypatch):
    good = runner.resolve("")

    def function(task, method, settings, context):
        if settings.solver == "ridge":
            raise RuntimeError("no ridge today")
        return good(task, method, settings, context)

    monkeypatch.setattr(runner, "resolve", lambda entry: function)
    found = search(plan_search(config), tmp_path / "search", track=False)
    assert load_config(found.config).settings.solver == "lda"
    assert any(not trial.scores for trial in found.trials)
    failed = json.loads((tmp_path / "search" / "sweep.json").read_text())["failed"]
    assert failed and all(why.startswith("RuntimeError: no ridge today") for why in failed.values())


def test_a_search_without_a_single_success_says_why(tmp_path, config, monkeypatch):
    def function(task, method, settings, context):
        context.log("loss", 1.0, 0)
        raise RuntimeError("not today")

    monkeypatch.setattr(runner, "resolve", lambda entry: function)
    with pytest.raises(InputError, match=r"^--search: no trial has come through \(RuntimeError: not today"):
        search(plan_search(config), tmp_path / "search", track=False)
    assert (tmp_path / "search" / "sweep.json").exists(), "the same command tries again"


def test_a_plugin_that_refuses_to_hold_data_out_leaves_nothing(tmp_path, config, monkeypatch):
    def refuses(task, method, settings, context):
        raise InputError("evaluate: cannot hold data out")

    monkeypatch.setattr(runner, "resolve", lambda entry: refuses)
    with pytest.raises(InputError, match=r"^evaluate: cannot hold data out$"):
        search(plan_search(config), tmp_path / "search", track=False)
    assert not (tmp_path / "search").exists()


def test_a_plugin_that_does_not_say_that_it_holds_data_out_is_refused(config, monkeypatch):
    plugin = load_config(config).plugin
    monkeypatch.setattr("ndm_apps.plugins.base.plugins", lambda: {"continual": replace(plugin, validation=False)})
    monkeypatch.setattr(
        "ndm_apps.tasks.plugins", lambda: {"continual": replace(plugin, validation=False)}, raising=False
    )
    with pytest.raises(InputError, match="'continual' does not say that it can evaluate on held-out data"):
        plan_search(config)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  ndm: {imm", "  ndm: {imn", "mine.yaml:4: methods.ndm: unknown key 'imnersion'"),
        ("high: 1.0", "high: 1.0e-5", r"mine.yaml:10: .*low: got 0.0001, must be less than high \(1e-05\)"),
        (
            "low: 1.0e-4, high: 1.0, log: true",
            "low: -1.0, high: 1.0",
            r"mine.yaml:10: search.space.*shrinkage: got -1.0",
        ),
        ("low: 1.0e-4", "low: 0.0", "mine.yaml:10: .*low: got 0.0, must be greater than 0 where log is true"),
        ("high: 90}", "high: 90, step: 0.5}", r"mine.yaml:11: .*step: got 0.5, must be whole"),
        ("[lda, ridge]", "[lda, lda]", r"must not hold a value twice"),
        ("[lda, ridge]", "[lda, rigde]", "mine.yaml:12: .*solver: got 'rigde'"),
        ("[lda, ridge]", "[lda]", "mine.yaml:12: .*items or more"),
        ("methods.ndm.solver", "methods.ndm.slover", "mine.yaml:12: .*unknown key 'slover'; did you mean 'solver'"),
        ("methods.ndm.solver", "task.noise", "must be methods.METHOD.KEY"),
        ("trials: 16", "trials: 0", "mine.yaml:6: search.trials: got 0"),
        ("trials: 16", "metric: charts", "mine.yaml:6: search.metric: unknown metric 'charts'"),
        ("1000:1002", "5:2", "mine.yaml:8: search.seeds: .*the range 5:2 is empty"),
        ("method: ndm", "method: slda", "mine.yaml:9: search.space: no setting of the chosen method 'slda'"),
        ("search:", "sweep: {seeds: 3}\nserach:", "unknown key 'serach'; did you mean 'search'"),
    ],
)
def test_wrong_spaces_are_told_with_the_line(old, new, says, config):
    assert SPACE.count(old) == 1
    config.write_text(SPACE.replace(old, new))
    with pytest.raises(InputError, match=says):
        plan_search(config)


@pytest.mark.parametrize("override", ["evaluate=test", "seed=3", "search=null"])
def test_what_the_search_decides_cannot_be_set(override, config):
    with pytest.raises(InputError, match=f"--set {override}: the search section decides evaluate, seed"):
        plan_search(config, [override])


def test_a_config_without_a_space_is_told(tmp_path):
    with pytest.raises(InputError, match="continual/mnist has no search section"):
        plan_search("continual/mnist")
