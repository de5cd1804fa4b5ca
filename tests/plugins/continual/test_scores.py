import pytest

from ndm_apps.plugins.continual.scores import accuracy_scores, shift_scores


def test_forgetting_counts_from_the_best_since_first_trained():
    matrix = [[0.9, 0.1, 0.0], [0.95, 0.8, 0.0], [0.5, 0.7, 1.0]]
    scores = accuracy_scores(matrix, [0, 1, 2])
    assert scores["final_accuracy"] == pytest.approx(2.2 / 3)
    assert scores["forgetting"] == pytest.approx((0.45 + 0.1) / 2)
    assert scores["backward_transfer"] == pytest.approx((-0.4 - 0.1) / 2)


def test_one_experience_cannot_forget():
    assert accuracy_scores([[0.7]], [0]) == {"final_accuracy": 0.7, "forgetting": 0.0, "backward_transfer": 0.0}


def test_unit_case_of_capymoa():
    scores = shift_scores([1000, 2000], [500, 1200, 1250, 2100], max_delay=200, samples=10_000)
    assert scores["precision"] == 0.5 and scores["recall"] == 1.0
    assert scores["f1"] == pytest.approx(2 / 3)
    assert scores["mean_delay"] == 150 and scores["false_alarms_per_10k"] == pytest.approx(2)


def test_an_alarm_detects_one_shift_only():
    # The alarm at 1100 comes after the second shift: it cannot count for the first.
    scores = shift_scores([1000, 1050], [1100], max_delay=500, samples=2000)
    assert (scores["recall"], scores["precision"], scores["mean_delay"]) == (0.5, 1.0, 50)


def test_scores_without_denominator_are_none():
    quiet = shift_scores([], [], max_delay=10, samples=100)
    assert (quiet["precision"], quiet["recall"], quiet["f1"], quiet["mean_delay"]) == (None, None, None, None)
    assert quiet["false_alarms_per_10k"] == 0
    missed = shift_scores([50], [], max_delay=10, samples=100)
    assert (missed["recall"], missed["f1"]) == (0.0, 0.0)
