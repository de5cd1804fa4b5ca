import torch
from torch import Tensor

from ndm_apps.plugins.continual import ShiftDetector
from ndm_apps.plugins.continual.shift.components import Components
from ndm_apps.plugins.continual.shift.presence import Presence
from ndm_apps.plugins.continual.shift.statistics import STATISTICS


def known(centres: dict[tuple[int, int], float], count: int = 400) -> Components:
    """Return components of (chart, label) about given centres."""
    bank = Components(torch.eye(4).double(), calibration=50, statistic=STATISTICS["curvature"])
    for number, ((chart, label), centre) in enumerate(centres.items()):
        z = draw(count, centre, seed=number)
        bank.learn(z, z.new_zeros(count), torch.full((count,), bank.add(chart, label)))
    return bank


def draw(count: int, centre: float, *, seed: int) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + centre


def follow(presence: Presence, bank: Components, z: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the charts that samples are at home in."""
    labels = torch.zeros(len(z), dtype=torch.long) if labels is None else labels
    rows = []
    for part, names in zip(z.split(16), labels.split(16), strict=True):
        energies = bank.energies(bank.whiten(part).square().sum(-1))
        rows.append(presence.home(bank, names, energies, settled=True))
    return bank.chart[torch.cat(rows)]


def test_samples_of_overlapping_charts_stay_in_the_present_one():
    bank, presence = known({(0, 0): 0.0, (1, 0): 0.6}), Presence()
    presence.enter(1)
    z = draw(4000, 0.6, seed=9)
    nearest = bank.energies(bank.whiten(z).square().sum(-1)).argmin(1)
    assert (nearest == 0).double().mean() > 0.2
    assert (follow(presence, bank, z) == 1).double().mean() > 0.99


def test_a_return_is_followed_from_where_it_began():
    bank, presence = known({(0, 0): 0.0, (1, 0): 0.6}), Presence()
    presence.enter(1)
    home = follow(presence, bank, torch.cat([draw(1000, 0.6, seed=9), draw(1000, 0.0, seed=10)]))
    assert presence.chart == 0
    assert (home[1100:] == 0).double().mean() > 0.99


def test_an_evident_sample_is_at_home_where_it_fits():
    bank, presence = known({(0, 0): 0.0, (1, 0): 6.0}), Presence()
    z = draw(400, 0.0, seed=9)
    z[300] = draw(1, 6.0, seed=10)[0]
    home = follow(presence, bank, z)
    assert home.nonzero()[:, 0].tolist() == [300] and presence.chart == 0


def test_a_label_of_one_chart_is_at_home_there_wherever_the_stream_is():
    bank, presence = known({(0, 0): 0.0, (0, 1): 3.0, (1, 0): 0.6}), Presence()
    presence.enter(1)
    labels = torch.arange(64) % 2
    assert torch.equal(follow(presence, bank, draw(64, 0.6, seed=9), labels), 1 - labels)


def test_charts_of_neighbouring_distributions_are_kept_apart():
    # The same two labels in three distributions in a row, each half a standard deviation on in every coordinate.
    pieces, labels = [], torch.arange(1500) % 2
    for number in range(3):
        noise = torch.randn(1500, 24, generator=torch.Generator().manual_seed(number))
        pieces.append(noise + 0.5 * number + 4.0 * labels[:, None])
    x, y = torch.cat(pieces), labels.repeat(3)
    detector, chart = ShiftDetector(12, warmup=128, arm_samples=40, arm_scores=40, burn_in=400), torch.zeros(len(x))
    for start in range(0, len(x), 32):
        detector.update(x[start : start + 32], y[start : start + 32])
        for sample, home in detector.settled:
            chart[sample] = home
    assert [alarm // 1500 for alarm in detector.alarms] == [1, 2]
    for number, identity in enumerate(detector.ids):
        assert (chart[1500 * number : 1500 * (number + 1)] == identity).double().mean() > 0.9
