import pytest
import torch

from ndm_apps.plugins.continual.charts.domains import Domains


def show(domains: Domains, chart: int, labels: list[int], count: int = 100) -> int:
    """Show a chart's samples and return the domain of the last."""
    placed = domains.place(torch.full((count,), chart), torch.tensor(labels).repeat(count)[:count])
    return int(placed[-1])


def test_new_labels_continue_the_domain_and_known_ones_found_another():
    domains = Domains(8)
    assert [show(domains, k, [2 * k, 2 * k + 1]) for k in range(5)] == [0] * 5
    assert show(domains, 5, [0, 1]) == 1
    # New labels of the second domain join it: they are in conflict with the first alone.
    assert show(domains, 6, [2, 3]) == 1
    assert show(domains, 7, [0, 1, 2, 3]) == 2
    assert domains.numbers == [0, 1, 2]


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_label_noise_and_strays_do_not_make_a_domain(noise: float):
    generator = torch.Generator().manual_seed(0)
    domains = Domains(8)
    for chart in range(5):
        labels = torch.randint(2, (2000,), generator=generator) + 2 * chart
        wrong = torch.rand(2000, generator=generator) < noise
        labels[wrong] = torch.randint(10, (2000,), generator=generator)[wrong]
        charts = torch.full((2000,), chart)
        if chart:
            charts[torch.rand(2000, generator=generator) < 0.05] = chart - 1
        assert domains.place(charts, labels).max() == 0


def test_few_samples_are_not_decided_on():
    domains = Domains(8)
    show(domains, 0, [0, 1])
    assert show(domains, 1, [0, 1], count=31) == 0
    assert show(domains, 1, [0, 1], count=1) == 1


def test_what_exceeds_the_limit_goes_to_the_first():
    domains = Domains(2)
    assert [show(domains, chart, [0, 1]) for chart in range(4)] == [0, 1, 0, 0]


def test_merged_domains_are_one_and_their_number_is_free():
    domains = Domains(8)
    assert [show(domains, chart, [0, 1]) for chart in range(3)] == [0, 1, 2]
    assert domains.merge(2, into=1) == (2, 1)
    assert show(domains, 1, [0, 1]) == 1
    assert show(domains, 3, [0, 1]) == 2
    # The first domain stays, whichever chart is kept.
    assert domains.merge(0, into=3) == (2, 0)
    assert show(domains, 3, [0, 1]) == 0


def test_merging_within_a_domain_or_what_is_unknown_joins_no_domains():
    domains = Domains(8)
    show(domains, 0, [0, 1])
    show(domains, 1, [2, 3])
    assert domains.merge(1, into=0) is None
    assert domains.merge(9, into=0) is None
    assert domains.counts[0].tolist() == [50, 50, 50, 50]


def test_refuses_no_domain_at_all():
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        Domains(0)
