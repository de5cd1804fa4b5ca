import copy

import pytest
import torch

from ndm_apps.plugins.continual import ShiftDetector


def gaussian(count, mean=0.0, *, seed, features=8):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed)) + mean


def feed(detector, x, labels=None, batch=32):
    for start in range(0, len(x), batch):
        here = slice(start, start + batch)
        detector.update(x[here], None if labels is None else labels[here])
    return detector


def detector(**settings):
    return ShiftDetector(**{"dimension": 4, "arm_samples": 30, "arm_scores": 30, "burn_in": 64, **settings})


def test_a_shift_is_found_within_a_batch_and_grows_one_chart():
    x = torch.cat([gaussian(1000, seed=0), gaussian(1000, 3.0, seed=1)])
    found = feed(detector(), x)
    assert len(found.alarms) == 1 and 1000 <= found.alarms[0] < 1032
    assert len(found.atlas.charts) == 2


def test_a_return_to_an_old_distribution_raises_no_alarm():
    pieces = [gaussian(800, 3.0 * (number % 2), seed=number) for number in range(6)]
    found = feed(detector(), torch.cat(pieces))
    assert [alarm // 800 for alarm in found.alarms] == [1]


def test_imbalance_of_known_components_raises_no_alarm():
    labels = torch.cat(
        [(torch.rand(1200, generator=torch.Generator().manual_seed(9)) < share).long() for share in (0.5, 0.95, 0.05)]
    )
    x = gaussian(len(labels), seed=3) + 4.0 * labels[:, None]
    assert feed(detector(), x, labels).alarms == []


def test_false_alarms_stay_below_the_bound():
    # 20 streams of 2000 samples at threshold 500: the bound on the average run length allows 80 alarms.
    learnt = [feed(detector(threshold=500.0), gaussian(2000, seed=100 + s)) for s in range(20)]
    assert sum(len(found.alarms) for found in learnt) <= 10
    assert min(found.samples_tested for found in learnt) > 0.8 * 2000


def test_many_classes_raise_no_alarm_while_they_are_armed():
    centres = torch.randn(10, 8, generator=torch.Generator().manual_seed(0)) * 5
    labels = torch.randint(10, (2000,), generator=torch.Generator().manual_seed(1))
    assert feed(detector(), gaussian(2000, seed=2) + centres[labels], labels).alarms == []


@pytest.mark.parametrize("labelled", [True, False])
def test_a_short_experience_does_not_deafen(labelled):
    lengths = [1000, 150, *[400] * 6]
    centres = torch.randn(len(lengths), 8, generator=torch.Generator().manual_seed(0)) * 6
    number = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    x = gaussian(len(number), seed=1) + centres[number]
    found = feed(detector(), x, 2 * number + torch.arange(len(number)) % 2 if labelled else None)
    starts = torch.tensor(lengths).cumsum(0)[:-1].tolist()
    # The embedding has 4 of 8 dimensions and a chart needs time to form: not all shifts are seen, but on they go.
    missed = [start for start in starts if not any(start <= alarm < start + 64 for alarm in found.alarms)]
    assert len(missed) <= 2 and found.alarms[-1] > starts[-1]


@pytest.mark.parametrize("outliers", [3, 5, 10, 20])
def test_outliers_do_not_deafen(outliers):
    pieces = [
        gaussian(1000, seed=0),
        gaussian(outliers, 6.0, seed=1),
        gaussian(400, seed=2),
        gaussian(400, -3.0, seed=3),
    ]
    found = feed(detector(), torch.cat(pieces))
    shift = 1400 + outliers
    assert any(shift <= alarm < shift + 32 for alarm in found.alarms)
    # A burst that fills a quarter of the burn-in keeps its chart.
    assert len(found.atlas.charts) == (3 if outliers == 20 else 2)


@pytest.mark.parametrize("batch", [1, 7, 128, 512, 2000])
def test_alarms_hardly_depend_on_how_the_stream_is_cut(batch):
    x = torch.cat([gaussian(1000, seed=0), gaussian(1000, 3.0, seed=1)])
    (alarm,) = feed(detector(), x, batch=batch).alarms
    assert 1000 <= alarm < 1020


def test_mixed_precision_and_few_features():
    found = feed(detector(dimension=24), gaussian(640, seed=0, features=6))
    found.update(gaussian(32, seed=1, features=6).double())
    assert found.samples_seen == 672


def test_the_test_is_blind_to_labels_given_one_chart():
    # Labels name components only: p-values of a settled chart do not change if later labels are permuted.
    x = torch.cat([gaussian(1000, seed=0), gaussian(300, 3.0, seed=1)])
    plain = feed(detector(), x, torch.zeros(len(x), dtype=torch.long))
    relabelled = torch.zeros(len(x), dtype=torch.long)
    relabelled[1000:] = 7
    assert feed(detector(), x, relabelled).alarms == plain.alarms != []


def test_state_round_trip_goes_on_to_the_same_alarms():
    x = torch.cat([gaussian(600, seed=0), gaussian(600, 3.0, seed=1), gaussian(600, -3.0, seed=2)])
    labels = torch.arange(len(x)) % 3
    whole = feed(detector(), x, labels)
    for cut in (32, 320, 608, 640, 1216, 1504):
        first = feed(detector(), x[:cut], labels[:cut])
        second = detector()
        second.load_state_dict(first.state_dict())
        feed(second, x[cut:], labels[cut:])
        assert second.alarms == whole.alarms and second.wealth == whole.wealth
        assert torch.equal(second.atlas.route(second.embed(x)[0]), whole.atlas.route(whole.embed(x)[0]))


def test_curvature_has_mean_zero_on_a_charts_own_data():
    x = gaussian(4000, seed=5)
    learnt = feed(detector(), x)
    own = learnt.chart_curvature(0, *learnt.embed(gaussian(4000, seed=6)))
    foreign = learnt.chart_curvature(0, *learnt.embed(gaussian(400, 3.0, seed=7)))
    # Standard deviation of |z|^2 - 4 is sqrt(8), that of the normal part about sqrt(2 n_eff), n_eff about 4.
    assert abs(own.mean()) < 5 * (8 + 8) ** 0.5 / 4000**0.5
    assert foreign.mean() > 20


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.full((3, 8), torch.nan), None, "sample 0 of the batch is not finite"),
        (torch.zeros(8), None, r"x: got shape \(8,\)"),
        (torch.zeros(3, 5), None, "got 5 features per sample, earlier samples had 8"),
        (torch.zeros(3, 8), torch.zeros(2).long(), r"labels: got torch.int64 of shape \(2,\)"),
        (torch.zeros(3, 8), torch.zeros(3), r"labels: got torch.float32"),
    ],
)
@pytest.mark.parametrize("seen", [32, 320])
def test_bad_samples_are_refused_and_leave_no_trace(x, labels, message, seen):
    learnt = feed(detector(), gaussian(seen, seed=0))
    before = copy.deepcopy(learnt.state_dict())
    with pytest.raises(ValueError, match=message):
        learnt.update(x, labels)
    torch.testing.assert_close(
        {k: v for k, v in learnt.state_dict().items() if torch.is_tensor(v)},
        {k: v for k, v in before.items() if torch.is_tensor(v)},
    )
    assert learnt.samples_seen == seen


@pytest.mark.parametrize("settings", [{"threshold": 1.0}, {"dimension": 0}, {"calibration": 5}, {"burn_in": 0}])
def test_bad_settings_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ShiftDetector(**settings)


def test_constant_and_tiny_samples_do_no_harm():
    found = detector()
    found.update(torch.zeros(0, 8))
    feed(found, torch.zeros(300, 8))
    found.update(torch.zeros(0, 8))
    found.update(torch.zeros(1, 8))
    assert found.samples_seen == 301
