"""The comparison of signals, on a stream so easy that what it must say is known."""

import numpy as np
import pytest
import torch

pytest.importorskip("river")

from ndm_apps.datasets.arrays import make_arrays
from ndm_apps.plugins.continual.schema import Segment, Stream
from ndm_apps.plugins.continual.stream.build import build_stream
from tests.plugins.continual.shift import bench_signals as bench

SEGMENTS = (
    Segment(show=(0,), samples=704),
    Segment(show=(1,), samples=704),
    Segment(show=(0,), samples=256, share=0.9),
    Segment(show=(2,), samples=960, blend=320),
)
DELAY = 320


@pytest.fixture(scope="module")
def stream():
    draw = np.random.default_rng(0)
    centres = 6 * draw.normal(size=(6, 10))
    y = np.repeat(np.arange(6), 1000)
    x = centres[y] + draw.normal(size=(6000, 10))
    data = make_arrays("blobs", "drawn", x, y, x[::100], y[::100])
    return build_stream(Stream(kind="scripted", experiences=3, segments=SEGMENTS), data, seed=0)


@pytest.fixture(scope="module")
def outcome(stream):
    return bench.measured(*stream.slice(0, len(stream)), stream, DELAY, ("curvature", "volume"), 0, dimension=4)


def test_a_density_finds_far_classes_and_tells_their_batches_apart(outcome):
    for found in (outcome.closed["curvature"], outcome.martingales):
        assert len(found.abrupt) == len(found.blends) == 1 and None not in found.abrupt + found.blends
        assert found.abrupt[0] < 32 and found.false == 0
    assert outcome.auroc["curvature"] == 1.0


def test_rules_are_chosen_within_the_budget_and_the_tables_are_whole(outcome):
    chosen = bench.chosen([outcome], "curvature", "page_hinkley")
    assert outcome.rules["curvature", "page_hinkley", chosen].false == 0
    text = bench.tables({"blobs": [outcome]}, {"blobs": [outcome]})
    assert text.count("\n| curvature | ") == 5 and text.count("\n| loss | ") == 3
    assert "curvature 2 of 2 (0.00)" in text and "volume" in text


def test_alarms_are_scored_as_the_runs_score_them(stream):
    first, second = stream.shifts
    alarms = [5, first + 3, first + 100, second + DELAY + 1]
    assert bench.score(alarms, stream, DELAY) == ([3], [None], 3, len(stream))
    assert bench.score(alarms, stream, DELAY, once=True).false == 2


def test_martingales_start_anew_after_an_alarm():
    p = torch.full((40,), 0.6, dtype=torch.float64)
    p[10:20] = p[30:40] = 1e-4
    alarms = bench.martingale_alarms(np.arange(100, 140), p.numpy())
    assert len(alarms) >= 2 and 110 <= alarms[0] < 116 and all(alarm >= 130 or alarm < 120 for alarm in alarms)
