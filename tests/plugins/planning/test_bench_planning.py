"""The page of the benchmark, from made-up runs."""

import pytest

from ndm_apps.plugins.planning.planner_settings import PlannerSettings
from tests.plugins.planning import bench_planning

WHOLE = PlannerSettings().model_dump()


def run(name="pendulum", method="ndm", model="learned", seed=0, ratio=1.04, planner=None, structure="auto", steps=400):
    own = {**WHOLE, **(planner or {})} if method == "ndm" else {"samples": 3, **(planner or {})}
    chosen = {"model": model, "planner": own, "learner": {"structure": structure, "random": 0.5}}
    if method == "sac":
        chosen = {"policy": {"steps": steps}}
    return {
        "task": f"planning/{name}", "method": method, "seed": seed, "config": {"methods": {method: chosen}},
        "mean_return": -150.0, "successes": [True, False], "ratio_to_optimum": ratio, "environment_steps": steps,
        "plan_ms_median": 0.5, "plan_ms_mean": 1.5, "plan_cpu_ms_mean": 1.2, "seconds": 20.0,
    }  # fmt: skip


def test_what_is_asked_stands_beside_what_is_measured():
    rows = bench_planning.aims([run(seed=0, ratio=1.0), run(seed=1, ratio=1.1)])
    found = next(row for row in rows if (row["task"], row["model"]) == ("pendulum", "learned"))
    assert found["measured"] == "1.050 (1.000 to 1.100)" and found["success"] == "2/4" and found["steps"] == "400"
    assert sum(row["measured"] == "not run" for row in rows) == len(rows) - 1


def test_a_run_that_two_configs_share_counts_once():
    assert len(bench_planning.distinct([run(), run(), run(seed=1), run(planner={"reseed": 0})])) == 3


def test_planners_are_compared_where_there_are_several():
    rows = bench_planning.methods([run(), run(method="cem", ratio=1.2), run("maze_u")])
    assert [(row["task"], row["method"]) for row in rows] == [("pendulum", "ndm"), ("pendulum", "cem")]


def test_what_a_method_was_given_is_told_beside_its_name():
    rows = bench_planning.methods(
        [run(), run(method="cem"), run(method="cem", planner={"terminal": "value"})]
        + [run(method="sac", steps=steps) for steps in (500, 20_000)]
    )
    names = [row["method"] for row in rows]
    assert names == ["ndm", "cem", "cem, our value at the end", "sac, 20,000 steps", "sac, 500 steps"]
    assert {row["seeds"] for row in rows} == {"1"}


def test_models_without_a_prior_have_a_table_of_their_own():
    runs = [run(ratio=1.0), run(ratio=2.0, structure="net"), run(seed=1, ratio=2.0, structure="net")]
    (row,) = bench_planning.generics(runs)
    assert row["x optimum"] == "2.000 (2.000 to 2.000)" and row["random steps"] == "50%" and row["seeds"] == "2"
    assert "1.000" in {found["measured"] for found in bench_planning.aims(runs)}


@pytest.mark.parametrize(
    ("planner", "name"),
    [
        ({}, "nothing"), ({"epsilon": 1e-2}, "no metric"), ({"seed": "line"}, "straight lines, no value"),
        ({"seed": "drift"}, "seeds from the drift, no value"), ({"reseed": 0}, "no re-seeding"),
        ({"uncertainty": 0.0}, "no price on uncertainty"),
    ],
)  # fmt: skip
def test_ablations_are_told_by_what_they_leave_out(planner, name):
    rows = bench_planning.ablations([run(planner={"reseed": 0}), run(planner=planner), run("maze_u")])
    assert name in {row["left out"] for row in rows} and {row["task"] for row in rows} == {"pendulum"}


def test_the_page_holds_unknown_optima_and_all_tables():
    text = bench_planning.page([run(), run(method="cem", ratio=None), run(planner={"reseed": 0})])
    assert "Planners in the same episodes" in text and "One part left out" in text and "None" not in text
