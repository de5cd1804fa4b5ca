import math

import pytest

from ndm_apps.plugins.supervised.claims import change_sentence, paired_difference, ratio_sentence


def by_seed(*values):
    return dict(enumerate(values))


def test_the_interval_is_students():
    # Differences 1, 2, 3: mean 2, sd 1; t(0.975, 2) = 4.302653.
    found = paired_difference(by_seed(2.0, 4.0, 6.0), by_seed(1.0, 2.0, 3.0))
    assert (found.mean, found.sd, found.seeds) == (2.0, 1.0, 3)
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.low + found.high == pytest.approx(4.0) and found.direction == 0


def test_pairing_takes_out_what_both_share():
    shared = [0.1, 0.5, 0.9, 0.3, 0.7]
    found = paired_difference(by_seed(*(value + 0.01 for value in shared)), by_seed(*shared))
    assert found.direction == 1 and found.sd < 1e-12


def test_only_seeds_that_both_have_are_compared():
    found = paired_difference({0: 1.0, 1: 2.0, 5: 9.0}, {0: 0.0, 1: 1.0, 7: 0.0})
    assert found.seeds == 2 and found.mean == 1.0


def test_one_seed_is_no_comparison():
    with pytest.raises(ValueError, match="at least two seeds"):
        paired_difference({0: 1.0}, {0: 2.0})


@pytest.mark.parametrize(
    ("better", "word"), [("higher", "a loss"), ("lower", "an improvement"), ("", "a change")], ids=str
)
def test_a_clear_change_is_called_by_its_direction(better, word):
    found = paired_difference(by_seed(0.50, 0.51, 0.52), by_seed(0.90, 0.91, 0.93))
    sentence = change_sentence("it", "the score", found, better=better)
    assert f"{word} beyond what chance would explain" in sentence and "by -0.4" in sentence


def test_identical_runs_show_no_effect():
    same = by_seed(0.5, 0.6, 0.7)
    assert "no effect that 3 seeds could show" in change_sentence("it", "the score", paired_difference(same, same))
    assert ratio_sentence("it", "time", same, same).startswith("it multiplies time by 1.00 (1.00 to 1.00): no effect")
