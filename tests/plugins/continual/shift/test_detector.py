import copy

import numpy as np
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
    small = {"dimension": 4, "warmup": 64, "threshold": 1e4, "arm_samples": 30, "arm_scores": 30, "burn_in": 64}
    return ShiftDetector(**{**small, **settings})


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
    # 10 streams of 2000 samples at threshold 500: the bound on the average run length allows 40 alarms.
    learnt = [feed(detector(threshold=500.0), gaussian(2000, seed=100 + s), batch=128) for s in range(10)]
    assert sum(len(found.alarms) for found in learnt) <= 5
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
    assert len(found.atlas.charts) == 2


@pytest.mark.parametrize("batch", [1, 7, 128, 900])
def test_alarms_hardly_depend_on_how_the_stream_is_cut(batch):
    x = torch.cat([gaussian(600, seed=0), gaussian(300, 3.0, seed=1)])
    (alarm,) = feed(detector(), x, batch=batch).alarms
    assert 600 <= alarm < 620


def test_mixed_precision_and_few_features():
    found = feed(detector(dimension=24), gaussian(640, seed=0, features=6))
    found.update(gaussian(32, seed=1, features=6).double())
    found.update(gaussian(32, seed=2, features=6).double().numpy(), np.zeros(32, dtype=int))
    found.update(gaussian(32, seed=3, features=6).reshape(32, 3, 2))
    assert found.samples_seen == 736


def test_the_test_is_blind_to_labels_given_one_chart():
    # Labels name components only: p-values of a settled chart do not change if later labels are permuted.
    x = torch.cat([gaussian(1000, seed=0), gaussian(300, 3.0, seed=1)])
    plain = feed(detector(), x, torch.zeros(len(x), dtype=torch.long))
    relabelled = torch.zeros(len(x), dtype=torch.long)
    relabelled[1000:] = 7
    assert feed(detector(), x, relabelled).alarms == plain.alarms != []


def test_a_state_in_any_phase_goes_on_bit_for_bit():
    x = torch.cat([gaussian(600, seed=0), gaussian(600, 1.5, seed=1), gaussian(600, -3.0, seed=2)])
    labels = torch.arange(len(x)) % 3
    whole, phases = detector(), set()
    states = []
    for start in range(0, len(x), 16):
        charts = whole.charts
        phase = (
            "warm-up" if charts is None else "burn-in" if charts.burning else "quarantine" if whole._quarantine else ""
        ) or ("forming" if charts._patience > 0 else "testing")
        if phase not in phases:
            phases.add(phase)
            states.append((start, copy.deepcopy(whole.state_dict())))
        whole.update(x[start : start + 16], labels[start : start + 16])
    assert phases == {"warm-up", "forming", "testing", "quarantine", "burn-in"} and len(whole.alarms) == 2
    for start, state in states:
        second = detector()
        second.load_state_dict(state)
        feed(second, x[start:], labels[start:], batch=16)
        assert second.alarms == whole.alarms and second.ids == whole.ids
        tensors = whole.state_dict()
        assert second.state_dict().keys() == tensors.keys()
        for name, value in second.state_dict().items():
            assert not torch.is_tensor(value) or torch.equal(value, tensors[name])


def test_a_copy_goes_its_own_way():
    whole = feed(detector(), gaussian(500, seed=0))
    other = feed(copy.deepcopy(whole), gaussian(100, 3.0, seed=1))
    assert other.alarms and not whole.alarms and whole.atlas.charts[0].count + len(other.settled) < 700
    assert whole.atlas.charts[0].count == 500


def test_every_sample_settles_once_in_a_chart_that_still_is_or_was_merged():
    pieces = [gaussian(300, 2.0 * (number % 3), seed=number) for number in range(5)]
    x, labels = torch.cat(pieces), -(torch.arange(1500) % 2)
    found, settled, heirs = detector(), [], {}
    for start in range(0, len(x), 32):
        found.update(x[start : start + 32], labels[start : start + 32])
        settled += found.settled
        heirs |= dict(found.merged)
    held = 0 if found._quarantine is None else len(found._quarantine)
    assert sorted(position for position, _ in settled) == sorted({position for position, _ in settled})
    assert len(settled) + held == 1500
    homes = [identity for _, identity in settled]
    while set(homes) & set(heirs):
        homes = [heirs.get(identity, identity) for identity in homes]
    # What is given up label by label goes to old charts without a word; whole charts are told of.
    assert set(homes) <= set(found.ids)
    assert sum(chart.count for chart in found.atlas.charts) == len(settled)


def test_a_chart_given_up_is_told_of_and_loses_no_sample():
    x = torch.cat([gaussian(1000, seed=0), gaussian(5, 6.0, seed=1), gaussian(400, seed=2)])
    found, merged = detector(), []
    for start in range(0, len(x), 32):
        found.update(x[start : start + 32])
        merged += found.merged
    assert found.alarms and merged == [(1, 0)] and found.ids == [0]
    assert found.atlas.charts[0].count == len(x)


def test_routing_and_densities_tell_the_charts_apart():
    x = torch.cat([gaussian(600, seed=0), gaussian(600, 3.0, seed=1)])
    found = feed(detector(), x)
    z, _ = found.embed(torch.cat([gaussian(100, seed=2), gaussian(100, 3.0, seed=3)]))
    homes = torch.tensor([0] * 100 + [1] * 100)
    assert (found.route(z) == homes).double().mean() > 0.95
    densities = found.log_densities(z)
    assert (found.charts.bank.chart[densities.argmax(1)] == homes).double().mean() > 0.95
    component = found.atlas.charts[1].components[0]
    normal = torch.distributions.MultivariateNormal(component.mean, component.covariance)
    # The whitening lags behind by at most 2 % of the samples.
    torch.testing.assert_close(densities[:, 1], normal.log_prob(z), rtol=0.05, atol=0.2)


@pytest.mark.parametrize("statistic", ["mahalanobis", "nll", "residual", lambda reading: 4 * reading.square.sqrt()])
def test_any_statistic_will_do(statistic):
    # The change is visible outside the four directions of the embedding, too.
    x = torch.cat([gaussian(1000, seed=0), gaussian(300, 3.0, seed=1)])
    found = feed(detector(statistic=statistic), x)
    assert len(found.alarms) == 1 and 1000 <= found.alarms[0] < 1064


def test_the_heading_finds_neighbours_that_curvature_alone_misses():
    shift = torch.zeros(16)
    shift[0] = 1.5
    found = {True: [], False: []}
    for seed in range(4):
        x = torch.cat([gaussian(1500, seed=seed, features=16), gaussian(600, shift, seed=seed + 9, features=16)])
        for heading, alarms in found.items():
            alarms += feed(detector(dimension=16, heading=heading, burn_in=160), x, batch=128).alarms
    assert len(found[True]) == 4 and min(found[True]) >= 1500 and len(found[False]) <= 2


def test_false_alarms_of_the_defaults_on_labelled_heavy_tails():
    # Student's t with 5 degrees of freedom, five classes, imbalance and recurrence: 30,000 samples, none may alarm.
    noise = torch.Generator().manual_seed(0)
    labels = torch.cat(
        [torch.multinomial(torch.rand(5, generator=noise) ** 3, 1000, True, generator=noise) for _ in range(30)]
    )
    labels[:1000] = torch.arange(1000) % 5
    scale = (5 / torch.randn(len(labels), 5, generator=noise).square().sum(1, keepdim=True)).sqrt()
    centres = 3 * torch.randn(5, 12, generator=noise)
    x = torch.randn(len(labels), 12, generator=noise) * scale + centres[labels]
    found = feed(ShiftDetector(12), x, labels, batch=256)
    assert found.alarms == [] and found.samples_tested > 0.9 * len(x)


def test_curvature_has_mean_zero_on_a_charts_own_data():
    x = gaussian(4000, seed=5)
    learnt = feed(detector(), x)
    own = learnt.chart_curvature(0, *learnt.embed(gaussian(4000, seed=6)))
    foreign = learnt.chart_curvature(0, *learnt.embed(gaussian(400, 3.0, seed=7)))
    learnt.update(gaussian(500, seed=8))
    assert len(learnt.levels) == 500 and abs(learnt.curvature) < 1
    # Standard deviation of |z|^2 - 4 is sqrt(8), that of the normal part about sqrt(2 n_eff), n_eff about 4.
    assert abs(own.mean()) < 5 * (8 + 8) ** 0.5 / 4000**0.5
    assert foreign.mean() > 20


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.full((3, 8), torch.nan), None, "sample 0 of the batch is not finite"),
        (torch.full((3, 8), 1e30), None, "sample 0 of the batch is too large for torch.float32"),
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


@pytest.mark.parametrize(
    "settings", [{"threshold": 1.0}, {"dimension": 0}, {"calibration": 5}, {"burn_in": 0}, {"statistic": "loss"}]
)
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
