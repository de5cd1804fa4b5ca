"""What the stores of samples keep."""

import torch

from ndm_apps.plugins.continual.baselines.stores import Balanced, Everything, Reservoir


def test_a_reservoir_is_a_uniform_sample_of_all_that_was_offered():
    counts = torch.zeros(40)
    for seed in range(2000):
        store = Reservoir(10, seed=seed)
        for part in torch.arange(40).split(7):
            store.add(part)
        kept = store.columns[0]
        assert len(kept) == len(set(kept.tolist())) == 10
        counts[kept] += 1
    # Each is kept with probability 1/4: 500 times, with a standard deviation of 19.
    assert (counts - 500).abs().max() < 4 * 19.4


def test_rows_stay_together_in_every_store():
    for store in (Reservoir(16, seed=0), Balanced(16, seed=0), Everything(seed=0)):
        for part in torch.arange(200).split(32):
            store.add(part[:, None].double(), part % 4)
        x, y = store.columns
        assert torch.equal(x[:, 0].long() % 4, y)
        x, y = store.draw(50)
        assert torch.equal(x[:, 0].long() % 4, y)


def test_a_balanced_store_gives_every_class_its_share_though_they_come_one_after_the_other():
    store = Balanced(30, seed=0)
    for label in range(5):
        for _ in range(4):
            store.add(torch.randn(25, 3), torch.full((25,), label))
        assert len(store) == 30
        counts = store.columns[1].bincount()
        assert len(counts) == label + 1 and counts.max() - counts.min() <= 1


def test_what_is_stored_is_a_copy():
    for store in (Reservoir(4, seed=0), Balanced(4, seed=0)):
        x, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
        store.add(x, y)
        x += 1
        assert store.columns[0].abs().max() == 0


def test_a_store_goes_on_from_its_state():
    for make in (lambda: Reservoir(12, seed=3), lambda: Balanced(12, seed=3), lambda: Everything(seed=3)):
        parts = [(torch.randn(9, 2), torch.randint(5, (9,))) for _ in range(8)]
        whole, first, second = make(), make(), make()
        for part in parts:
            whole.add(*part)
        for part in parts[:4]:
            first.add(*part)
        second.load_state_dict(first.state_dict())
        for part in parts[4:]:
            second.add(*part)
        for expected, got in zip(whole.draw(20), second.draw(20), strict=True):
            assert torch.equal(expected, got)
