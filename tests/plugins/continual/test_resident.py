import torch
from torch.utils.data import DataLoader, TensorDataset

from ndm_apps.plugins.continual.baselines.naive import ResidentNaive
from ndm_apps.plugins.continual.baselines.networks import network
from ndm_apps.plugins.continual.resident import (
    ResidentLoader,
    experiences,
    online_experience,
    read_into_memory,
    resident_tensors,
    tensor_dataset,
)

from avalanche.benchmarks.utils import AvalancheDataset  # isort: skip
from avalanche.benchmarks.utils.data_attribute import DataAttribute  # isort: skip
from avalanche.training.supervised import Naive  # isort: skip

X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(50) % 4


def same_as_one_by_one(dataset):
    tensors = resident_tensors(dataset)
    for column, tensor in enumerate(tensors):
        torch.testing.assert_close(
            tensor, torch.stack([torch.as_tensor(dataset[i][column]) for i in range(len(dataset))])
        )
    assert len(tensors) == len(dataset[0])


def test_tensors_of_subsets_and_concatenations_are_those_avalanche_reads():
    whole = tensor_dataset(X, Y)
    same_as_one_by_one(TensorDataset(X, Y))
    same_as_one_by_one(whole)
    same_as_one_by_one(whole.train())
    same_as_one_by_one(whole.subset([7, 3, 3, 41]))
    same_as_one_by_one(whole.subset(list(range(9))).concat(whole.subset([40, 2])))
    same_as_one_by_one(whole.subset([7, 3, 41]).subset([2, 0]))


def test_task_labels_come_along():
    labels = DataAttribute([3] * 50, "targets_task_labels", use_in_getitem=True)
    same_as_one_by_one(AvalancheDataset([TensorDataset(X, Y)], data_attributes=[labels]))


def test_transforms_and_foreign_datasets_are_left_to_avalanche():
    doubled = AvalancheDataset([TensorDataset(X, Y)], transform_groups={"train": lambda x: 2 * x, "eval": None})
    assert resident_tensors(doubled) is None
    assert resident_tensors(AvalancheDataset([list(zip(X, Y, strict=True))])) is None
    torch.testing.assert_close(resident_tensors(read_into_memory(doubled.train()))[0], 2 * X)


def test_loader_gives_the_batches_of_a_data_loader():
    for drop_last in (False, True):
        ours = list(ResidentLoader((X, Y), 8, drop_last=drop_last))
        theirs = list(DataLoader(TensorDataset(X, Y), 8, drop_last=drop_last))
        assert len(ours) == len(theirs) == len(ResidentLoader((X, Y), 8, drop_last=drop_last))
        for (x, y), (x2, y2) in zip(ours, theirs, strict=True):
            torch.testing.assert_close(x, x2)
            torch.testing.assert_close(y, y2)
    shuffled = torch.cat([y for _, y in ResidentLoader((X, torch.arange(50)), 8, shuffle=True)])
    assert not torch.equal(shuffled, torch.arange(50)) and torch.equal(shuffled.sort()[0], torch.arange(50))


def strategy(kind):
    torch.manual_seed(0)
    model = network((3,), (16,), 4)
    return kind(model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), train_mb_size=8, evaluator=None)


def test_training_from_memory_gives_avalanches_weights():
    ours, theirs = strategy(ResidentNaive), strategy(Naive)
    for learner in (ours, theirs):
        learner.train(experiences("train", [(X, Y), (X + 1, Y)]), eval_streams=[], shuffle=False)
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_online_experiences_hide_the_truth():
    experience = online_experience(X[:8], Y[:8], 3)
    assert experience.access_task_boundaries is False
    assert not hasattr(experience, "classes_in_this_experience") and not hasattr(experience, "task_labels")
    ours, whole = strategy(ResidentNaive), strategy(ResidentNaive)
    for number, start in enumerate(range(0, 50, 8)):
        ours.train(online_experience(X[start : start + 8], Y[start : start + 8], number), eval_streams=[])
    whole.train(experiences("train", [(X, Y)]), eval_streams=[], shuffle=False)
    for a, b in zip(ours.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
