import pytest
import torch

from ndm_apps.engine import GaussianChart
from ndm_apps.plugins.continual.shift.chart import WatchingChart
from ndm_apps.plugins.continual.shift.charts import Charts
from ndm_apps.plugins.continual.shift.components import Components
from ndm_apps.plugins.continual.shift.embedding import Embedding
from ndm_apps.plugins.continual.shift.statistics import STATISTICS


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bank(d=3, **settings):
    prior = torch.diag(torch.arange(1.0, d + 1, dtype=torch.float64))
    return Components(prior, **{"calibration": 5, "statistic": STATISTICS["curvature"], **settings})


def learnt(z, rows, components, batch=32):
    for start in range(0, len(z), batch):
        here = slice(start, start + batch)
        components.learn(z[here], z[here, 0].square(), rows[here])
    return components


def test_components_are_the_engines_gaussian_charts():
    z, rows = 3 * normal(200, 3) + 1, torch.arange(200) % 3
    components = bank()
    for label in range(3):
        components.add(0, label)
    learnt(z, rows, components)
    whitened = components.whiten(z)
    energies = components.energies(whitened.square().sum(-1))
    for row in range(3):
        chart = GaussianChart(3, prior_covariance=components.prior, strength=3.0, ridge=1e-3)
        chart.update(z[rows == row])
        torch.testing.assert_close(components.mean[row], chart.mean)
        torch.testing.assert_close(components.scatter[row], chart.scatter)
        torch.testing.assert_close(components.covariance(torch.tensor([row]))[0], chart.covariance())
        torch.testing.assert_close(energies[:, row], chart.energy(z))


def test_merging_adds_up_and_leaves_nothing_behind():
    z = normal(90, 3)
    apart, together = bank(), bank()
    apart.add(0, 0), apart.add(1, 0), together.add(0, 0)
    learnt(z, torch.arange(90) // 50, apart)
    learnt(z, torch.zeros(90, dtype=torch.long), together)
    apart.merge(0, 1)
    apart.drop_empty()
    assert len(apart) == 1
    for name in ("count", "mean", "scatter", "residual", "whitening", "offset", "log_det", "normal"):
        torch.testing.assert_close(getattr(apart, name), getattr(together, name))


def test_the_last_scores_are_kept_whatever_the_batches():
    rows = torch.tensor([0, 1, 0, 0, 0, 1, 0, 0, 0, 0])
    scores = torch.arange(10.0, dtype=torch.float64)[:, None] * torch.tensor([1.0, -1.0])
    for cut in (1, 4, 10):
        components = bank()
        components.add(0, 0), components.add(0, 1)
        for part, which in zip(scores.split(cut), rows.split(cut), strict=True):
            components.record(part, which)
        assert components.recorded.tolist() == [8, 2]
        assert components.past[0, 0].sort().values.tolist() == [4, 6, 7, 8, 9]
        assert components.past[1, 1, :2].tolist() == [-1, -5] and components.past[1, 1, 2:].isinf().all()


def test_the_part_along_any_heading_has_mean_zero_and_variance_one_at_home():
    z = normal(20_000, 3) @ torch.tensor([[2.0, 0.3, 0.0], [0.0, 0.5, 0.1], [0.0, 0.0, 1.0]], dtype=torch.float64)
    components = bank(statistic=lambda reading: 0 * reading.square)
    components.add(0, 0)
    learnt(z, torch.zeros(len(z), dtype=torch.long), components, batch=1000)
    whitened = components.whiten(z)
    reading = components.read(whitened, z[:, 0].square())
    for seed in range(3):
        components.heading = normal(1, 3, seed=seed)
        along = components.scores(whitened, reading)[:, 1, 0] / 6**0.5
        assert abs(along.mean()) < 0.01 and abs(along.var() - 1) < 0.02


def test_a_heading_follows_the_samples_and_no_outlier_turns_it():
    components = bank()
    components.add(0, 0)
    learnt(normal(500, 3), torch.zeros(500, dtype=torch.long), components)
    shifted = normal(200, 3, seed=1) + torch.tensor([0.0, 2.0, 0.0])
    shifted[-1] = torch.tensor([1e6, 0.0, 0.0])
    for piece in shifted.split(16):
        whitened = components.whiten(piece)
        components.head(whitened, components.energies(whitened.square().sum(-1)))
    direction = torch.nn.functional.normalize(components.heading[0], dim=0)
    assert direction[1] > 0.9


def charts_of(*groups, d=3):
    """Return charts, each learnt from ``{label: samples}``."""
    charts = Charts(bank(d), arm_scores=20, arm_samples=20, burn_in=32)
    for group in groups:
        chart = charts.grow()
        for label, z in group.items():
            row = charts.bank.add(chart, label)
            learnt(z, torch.full((len(z),), row), charts.bank)
    return charts


def heavy(count, seed):
    """Student's t with 6 degrees of freedom."""
    return normal(count, 3, seed=seed) * (6 / normal(count, 6, seed=seed + 100).square().sum(1, keepdim=True)).sqrt()


@pytest.mark.parametrize("sample", [lambda n, seed: normal(n, 3, seed=seed), heavy])
def test_charts_of_one_distribution_are_told_from_others(sample):
    both = {0: sample(400, 0), 1: sample(300, 1) + 3}
    again = {0: sample(300, 2), 1: sample(200, 3) + 3}
    part = {1: sample(300, 4) + 3}
    moved = {0: sample(300, 5) + torch.tensor([0.8, 0.0, 0.0]), 1: sample(300, 6) + 3}
    wider = {0: 4 * sample(300, 7), 1: sample(300, 8) + 3}
    other = {2: sample(300, 9)}
    few = {0: sample(4, 10)}
    charts = charts_of(both, moved, again, wider, part, other, few)
    charts._merge_duplicates()
    assert charts.merged == [(2, 0), (4, 0)] and charts.ids == [0, 1, 3, 5, 6]
    assert charts.atlas.charts[0].count == 400 + 300 + 300 + 200 + 300
    assert [len(chart.components) for chart in charts.atlas.charts] == [2, 2, 2, 1, 1]


def test_how_often_charts_of_one_distribution_are_told_apart():
    apart = 0
    for seed in range(100):
        charts = charts_of({0: normal(200, 3, seed=seed)}, {0: normal(150, 3, seed=seed + 500)})
        one, other = charts.atlas.charts
        comparison = one.compare(other, 0.05)
        apart += comparison.p_value < 0.05
        assert 0.2 < comparison.detectable < 0.8
    assert apart <= 12  # 5 expected


def test_a_chart_sees_its_own_components_only():
    charts = charts_of({0: normal(100, 3), 1: normal(100, 3, seed=1) + 5}, {0: normal(100, 3, seed=2) - 5})
    one, other = charts.atlas.charts
    assert isinstance(one, WatchingChart) and one.labels == [0, 1] and other.labels == [0]
    z = normal(50, 3, seed=3) - 5
    assert (other.energy(z) < one.energy(z)).all()
    assert torch.equal(charts.atlas.energies(z), torch.stack([one.energy(z), other.energy(z)], 1))


def test_the_embedding_is_the_principal_part_and_the_rest():
    x = normal(300, 6) * torch.tensor([5.0, 4.0, 3.0, 0.2, 0.1, 0.1]) + 7
    embedding = Embedding(3)
    assert not embedding.fitted
    embedding.fit(x)
    z, r = embedding(x)
    torch.testing.assert_close(z.square().sum(1) + r, (x - x.mean(0)).square().sum(1))
    assert r.mean() < 0.1 and torch.equal(embedding.prior, embedding.prior.diag().diag())
    torch.testing.assert_close(z.T.cov(), embedding.prior, rtol=1e-2, atol=1e-8)
    other = Embedding(3)
    other.load_state_dict(embedding.state_dict())
    assert torch.equal(other(x)[0], z)
