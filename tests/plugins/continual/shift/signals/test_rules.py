import builtins
import math

import numpy as np
import pytest

from ndm_apps.plugins.continual.shift.signals.rules import RULES, SeriesDetector, ThreeSigma, adwin


def noise(count, mean=0.0, seed=0):
    return np.random.default_rng(seed).normal(mean, 1.0, count)


@pytest.fixture(params=sorted(RULES))
def make(request):
    """Function that makes a detector of one of the rules."""
    if request.param != "three_sigma":
        pytest.importorskip("river")
        return lambda: SeriesDetector(RULES[request.param]())
    return lambda: SeriesDetector(ThreeSigma(sigmas=5.0))


def test_a_rise_is_found_and_only_it(make):
    found = make()
    assert not found.update(noise(1000)) and not found.drift_detected
    assert found.update(noise(1000, 8.0, seed=1)) and found.drift_detected
    assert len(found.alarms) == 1 and 1000 <= found.alarms[0] < 1100


def test_a_fall_is_no_alarm(make):
    found = make()
    found.update(noise(1000))
    assert not found.update(noise(1000, -8.0, seed=1))


def test_pieces_make_no_difference(make):
    series = np.concatenate([noise(500), noise(500, 8.0, seed=1)])
    whole, pieces = make(), make()
    whole.update(series)
    for start in range(0, len(series), 7):
        pieces.update(series[start : start + 7])
    assert whole.alarms == pieces.alarms != []


def test_three_sigma_is_its_formula():
    past = noise(50)
    for excess, expected in ((0.01, True), (-0.01, False)):
        found = SeriesDetector(ThreeSigma(window=20))
        found.update(past[:20])
        assert found.update([past[:20].mean() + 3 * past[:20].std() + excess]) is expected


def test_after_an_alarm_three_sigma_fills_its_window_anew():
    found = SeriesDetector(ThreeSigma(window=10))
    found.update(noise(10))
    found.update([50.0, *noise(9, 100.0)])
    assert found.alarms == [10]
    assert found.update([1000.0]) and found.alarms == [10, 20]


def test_numbers_that_are_none_are_refused_and_nothing_is_taken():
    found = SeriesDetector(ThreeSigma(window=4))
    with pytest.raises(ValueError, match="values: number 1 of 3 is not finite"):
        found.update([0.0, math.nan, 1.0])
    assert found.seen == 0 and not found.rule.past


def test_a_window_needs_two_numbers():
    with pytest.raises(ValueError, match="window must be at least 2, got 1"):
        ThreeSigma(window=1)


def test_without_river_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_river(name, *args, **kwargs):
        if name == "river":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_river)
    with pytest.raises(ImportError, match=r"pip install 'ndm-apps\[bench\]'"):
        adwin()
