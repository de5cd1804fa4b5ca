from tests.plugins.generative import bench_generative

SCORES = {key: 1.0 for _, key, _ in bench_generative.PATH_COLUMNS}


def run(seed: int, geodesic: float, line: float, task: str = "generative/mnist", method: str = "ndm") -> dict:
    """Fabricate what a finished run says, as far as the pages read it."""

    def path(low: float, against: dict) -> dict:
        kind = {**SCORES, "low": low, "against": against}
        return {"different": kind, "same": kind, "milliseconds": 5.0, "converged": 1.0}

    difference = {"line": {key: [geodesic - line, 0.01] for key in bench_generative.DIFFERENCES}}
    difference["slerp"] = difference["line"]
    auroc = {"auroc": {"density": {"low": 0.6 + seed / 10, "far": None}}}
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "judge": {"accuracy": 0.98},
        "interpolation": {"line": path(line, {}), "slerp": path(line, {}), "geodesic": path(geodesic, difference)},
        "samples": {"density": {"confidence": 0.9, "low": 0.1, "nearest": 4.0, "frechet": 10.0 + seed, "classes": 9.0}},
        "trust": {"images": {"density": auroc}, "paths": {"line": auroc}},
    }


def test_what_is_asked_stands_beside_what_is_measured():
    rows = bench_generative.aims("mnist", [run(0, 0.10, 0.20), run(1, 0.14, 0.20)])
    low = rows[0]
    assert low["measured"] == "-40.0 ± 10.0 %" and low["met"] == "1 of 2 runs"
    assert "against straight line: down >= 35%" in low["asked"]


def test_differences_carry_the_error_over_runs_and_over_pairs():
    rows = bench_generative.differences([run(0, 0.10, 0.20), run(1, 0.14, 0.20)], "different")
    assert [row["less"] for row in rows] == ["straight line", "great arc"]
    assert rows[0]["low"] == "-0.080 ± 0.020 (0.007)"


def test_pages_of_both_methods_and_tasks():
    runs = [run(seed, 0.1, 0.2, task) for seed in (0, 1) for task in ("generative/mnist", "generative/fashion")]
    pages = bench_generative.pages([*runs, run(0, 0.1, 0.2, method="vae")])
    assert pages["interpolation"].count("## mnist") == 1 and "vae: straight line" in pages["interpolation"]
    assert "at most 12" in pages["samples"] and "at most 6" in pages["samples"]
    assert "10.5 ± 0.5" in pages["samples"]
    assert "0.65 ± 0.05" in pages["trust"]


def test_one_run_has_no_error():
    assert bench_generative.shown([1.0], ".1f") == "1.0" and bench_generative.shown([None], ".1f") == ""
    assert bench_generative.shown([1.0, 3.0], ".1f") == "2.0 ± 1.0"


def test_a_score_that_no_run_has_stays_empty():
    rows = {row.pop("score"): row for row in bench_generative.warnings([run(0, 0.1, 0.2)])}
    assert set(rows["entropy of the task head (labels)"].values()) == {""}
    assert rows["-log p(z)"]["images, density: low"] == "0.60"
