import copy

import pytest
import torch

from ndm_apps.plugins.continual.shift.signals.table import NET_SIGNALS, SIGNALS, detector

SETTINGS = {"dimension": 4, "warmup": 64, "arm_samples": 30, "arm_scores": 30, "burn_in": 64, "threshold": 1e4}


def gaussian(count, mean=0.0, *, seed, features=8):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed)) + mean


def labels_of(x):
    return torch.arange(len(x)) % 2


def feed(found, x, batch=32):
    for part in x.split(batch):
        found.update(part, labels_of(part))
    return found


@pytest.mark.parametrize("signal", ["curvature", "mahalanobis", "nll", "stein"])
def test_densities_find_a_shift(signal):
    found = feed(detector(signal, **SETTINGS), torch.cat([gaussian(700, seed=0), gaussian(400, 3.0, seed=1)]))
    assert len(found.alarms) == 1 and 700 <= found.alarms[0] < 732


@pytest.mark.parametrize("signal", SIGNALS)
def test_no_statistic_makes_the_test_raise_false_alarms(signal):
    # at this threshold the bound allows one in a hundred of such streams
    assert feed(detector(signal, **SETTINGS | {"threshold": 1e5}), gaussian(1000, seed=4)).alarms == []


@pytest.mark.parametrize("signal", NET_SIGNALS)
def test_every_component_trains_a_net_of_its_own(signal):
    found = feed(detector(signal, **SETTINGS), gaussian(320, seed=0))
    nets = found.charts.bank.nets.nets
    assert len(nets) == len(found.charts.bank) == 2
    fresh = NET_SIGNALS[signal].make(4, 0)
    z = gaussian(5, seed=9, features=4)
    numbers = [NET_SIGNALS[signal].score(net, z) for net in (*nets.values(), fresh)]
    assert not torch.allclose(numbers[0], numbers[1]) and not torch.allclose(numbers[0], numbers[2])


@pytest.mark.parametrize("signal", ["stein", "distortion"])
def test_a_resumed_detector_goes_on_bit_for_bit(signal):
    x = torch.cat([gaussian(480, seed=0), gaussian(480, 2.0, seed=1)])
    found = feed(detector(signal, **SETTINGS), x[:600])
    resumed = detector(signal, **SETTINGS)
    resumed.load_state_dict(copy.deepcopy(found.state_dict()))
    for one in (found, resumed):
        feed(one, x[600:])
    assert found.alarms == resumed.alarms and found.wealth == resumed.wealth
    pairs = zip(found.state_dict().items(), resumed.state_dict().items(), strict=True)
    assert all(a == b and (not torch.is_tensor(u) or torch.equal(u, v)) for (a, u), (b, v) in pairs)


def test_an_unknown_signal_is_refused():
    with pytest.raises(ValueError, match="signal: got 'nlll', must be one of curvature, mahalanobis"):
        detector("nlll")
