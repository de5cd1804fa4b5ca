import pytest

from tests.plugins.supervised import bench_claims


def run(method, seed, accuracy, **settings):
    """Fabricate what a finished run says, as far as the sentences read it."""
    keys = {**bench_claims.QUANTITIES, "train_seconds": 0, "squared_curvature": 0, "steps": 0, "final_loss": 0}
    measured = dict.fromkeys(keys, 0.5) | {"steps_to_loss": None, "seconds_to_loss": None}
    config = {
        "task": {"target_loss": 0.6},
        "methods": {method: {"weighting": "constant", "points": None, "curv_every": 1, **settings}},
    }
    return {"task": "t", "method": method, "seed": seed, "config": config, **measured, "final_accuracy": accuracy}


def test_each_weight_is_compared_with_none_seed_by_seed():
    runs = [run("ndm", seed, 0.9 + seed / 100 - w / 10, geometric=w) for seed in range(3) for w in (0.0, 1.0)]
    accuracy, curvature = bench_claims.of_lambda(runs)
    assert accuracy.startswith("L_geo (curvature and volume) at λ = 1.0: a loss in test accuracy (-10.0000 ± 0.0000")
    assert "no effect that 3 seeds could show on mean R²" in curvature


def test_few_points_and_structures_are_compared_with_the_exact_ones():
    choices = [("cholesky", None, 1), ("cholesky", 4, 1), ("cholesky", None, 4), ("diagonal", None, 1)]
    runs = [run("ndm", seed, 0.9, structure=s, points=p, curv_every=k) for seed in range(2) for s, p, k in choices]
    lines = bench_claims.of_approximations(runs)
    compared = list(dict.fromkeys(line.partition(":")[0] for line in lines))
    assert compared[:2] == ["cholesky, 4 points in place of all", "cholesky, curvature at every 4th step"]
    assert compared[-1] == "diagonal in place of cholesky"


def test_runs_that_never_meet_the_loss_are_counted_not_compared():
    runs = [run("ndm", seed, 0.9) | {"steps_to_loss": 10, "seconds_to_loss": 1.0} for seed in range(3)]
    runs += [run("ndm_natural", seed, 0.9, learned=0.0) for seed in range(3)]
    lines = bench_claims.of_natural_gradient(runs)
    assert lines[0].endswith("0 of 3 runs reach the loss.") and "fewer than two seeds to compare steps" in lines[1]


def test_runs_that_lose_the_loss_again_are_counted():
    runs = [run("ndm", seed, 0.9) for seed in range(3)]
    runs += [run("ndm_natural", seed, 0.9, learned=0.0) | {"final_loss": 0.5 + seed / 10} for seed in range(3)]
    lines = bench_claims.of_natural_gradient(runs)
    assert "with the natural gradient (learned metrics weighted 0.0), 2 of 3 runs end at or below the loss." in lines


@pytest.mark.parametrize("claim", bench_claims.CLAIMS, ids=lambda claim: claim.folder)
def test_every_claim_shows_columns_that_a_run_has(claim):
    from ndm_apps.plugins.supervised.plugin import PLUGIN

    assert set(claim.columns) <= {column.key for column in PLUGIN.columns} | set(bench_claims.EXTRA)
