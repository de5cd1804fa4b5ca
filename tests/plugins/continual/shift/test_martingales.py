import pytest
import torch

from ndm_apps.plugins.continual.shift.conformal import p_values
from ndm_apps.plugins.continual.shift.martingales import POWERS, PowerMartingales


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bets_of_a_batch_follow_the_recursion():
    p = uniform(200, 2) ** 1.3
    martingales = PowerMartingales(2)
    wealth = torch.ones(2, len(POWERS), dtype=torch.float64)
    powers = torch.tensor(POWERS, dtype=torch.float64)
    expected = []
    for row in p:
        wealth = wealth.clamp(min=1) * powers * row[:, None] ** (powers - 1)
        expected.append(wealth)
    first = martingales.bet(p[:77])
    martingales.log_wealth = first[-1]
    path = torch.cat([first, martingales.bet(p[77:])])
    torch.testing.assert_close(path.exp(), torch.stack(expected))
    torch.testing.assert_close(martingales.wealth(path), torch.stack(expected).mean((1, 2)))


@pytest.mark.parametrize("threshold", [20.0, 100.0])
def test_the_mean_run_length_under_uniform_p_values_is_at_least_the_threshold(threshold):
    p, samples, alarms = uniform(60_000, 2), 60_000, 0
    martingales = PowerMartingales(2)
    while len(p):
        path = martingales.bet(p[:2000])
        over = (martingales.wealth(path) >= threshold).nonzero()[:, 0]
        taken = int(over[0]) + 1 if len(over) else len(path)
        martingales.log_wealth = path[taken - 1]
        if len(over):
            alarms += 1
            martingales.restart()
        p = p[taken:]
    # The bound allows samples / threshold; the count is not empty, or the test could not fail.
    assert 0 < alarms <= samples / threshold


def test_small_p_values_raise_the_wealth_exponentially():
    martingales = PowerMartingales(1)
    wealth = martingales.wealth(martingales.bet(uniform(40, 1) * 0.1))
    assert wealth[-1] > 1e6 and wealth[-1] > 100 * wealth[20]


@pytest.mark.parametrize("m", [20, 200])
def test_p_values_of_exchangeable_scores_are_no_smaller_than_uniform(m):
    scores = uniform(4000, m + 1, seed=m).log()  # any distribution will do
    ties = uniform(4000, 1, seed=1)
    p = torch.cat(
        [
            p_values(row[:1, None], row[None, 1:], torch.tensor([m]), tie[None])
            for row, tie in zip(scores, ties, strict=True)
        ]
    )
    for level in (0.01, 0.05, 0.2, 0.5):
        assert (p <= level).double().mean() <= level + 3 * (level * (1 - level) / len(p)) ** 0.5


def test_unused_places_and_many_components_do_not_matter():
    past = uniform(3, 50)
    padded = torch.cat([past, torch.full((3, 30), -torch.inf, dtype=torch.float64)], 1)
    scores, ties = uniform(7, 3, seed=1), uniform(7, 3, seed=2)
    together = p_values(scores, padded, torch.full((3,), 50), ties)
    alone = [p_values(scores[:, [c]], past[[c]], torch.tensor([50]), ties[:, [c]]) for c in range(3)]
    torch.testing.assert_close(together, torch.cat(alone, 1))
