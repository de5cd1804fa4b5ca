import math

import pytest

from ndm_apps.plugins.supervised.claims import Change, changes_sentence, paired_difference, ratio_sentence


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
    ("better", "word"), [("higher", "a loss in"), ("lower", "an improvement in"), ("", "a change in")]
)
def test_a_clear_change_is_called_by_its_direction(better, word):
    found = paired_difference(by_seed(0.50, 0.51, 0.52), by_seed(0.90, 0.91, 0.93))
    assert changes_sentence("it", [Change("the score", found, better)]) == f"it: {word} the score (-0.4033 ± 0.0058)."


def test_what_is_shown_comes_first_and_what_is_not_shown_is_said_to_be_unknown():
    same, clear = by_seed(0.5, 0.6, 0.7), by_seed(0.9, 1.01, 1.1)
    unclear = Change("accuracy", paired_difference(same, same), "higher")
    shown = Change("loss", paired_difference(clear, same), "higher", " nats", 10)
    sentence = changes_sentence("it", [unclear, shown])
    assert sentence.startswith("it: an improvement in loss (+4.033 ± 0.058 nats); no effect that 3 seeds could show on")
    assert sentence.endswith("on accuracy (+0.0000 ± 0.0000).")


def test_a_ratio_is_geometric():
    pair = by_seed(1.0, 2.0, 4.0), by_seed(2.0, 4.0, 8.0)
    assert ratio_sentence("it", "time", *pair, "lower") == "it: an improvement in time (times 0.50, 0.50 to 0.50)."
    assert ratio_sentence("it", "size", *pair) == "it: a change in size (times 0.50, 0.50 to 0.50)."
    assert "no effect that 2 seeds could show on time" in ratio_sentence(
        "it", "time", by_seed(1.0, 3.0), by_seed(2.0, 2.0)
    )
