import pytest
import torch

from ndm_apps import datasets
from ndm_apps.plugins.continual.stream import open_stream
from ndm_apps.plugins.continual.stream.benchmark import benchmark_stream, read_samples
from ndm_apps.plugins.continual.stream.classics import benchmark_record, classics, load_benchmark

# isort: split
from avalanche.benchmarks import benchmark_from_datasets, nc_benchmark
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_attribute import DataAttribute
from torch.utils.data import Dataset

from ndm_apps.errors import InputError
from ndm_apps.plugins.base import DatasetSource
from ndm_apps.plugins.continual.resident import tensor_dataset
from ndm_apps.plugins.continual.schema import Benchmark, ContinualTask
from ndm_apps.plugins.continual.schema import Stream as StreamSettings

SAMPLES = [20, 30, 25]


@pytest.fixture(autouse=True)
def _cache_of_its_own(monkeypatch, tmp_path):
    """Data are found as usual, but nothing is linked into the user's cache."""
    place = datasets.locate("mnist")
    if place is not None:
        monkeypatch.setenv("NDM_DATA", str(place.parent.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Slow(Dataset):
    """A data set that can only be read sample by sample, and counts how often."""

    def __init__(self, x, y):
        self.x, self.y, self.reads = x, y, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.reads += 1
        return self.x[index], self.y[index]


def arrays(number):
    y = torch.arange(SAMPLES[number]) % 2 + 2 * number
    return torch.arange(SAMPLES[number]).float()[:, None] + torch.tensor([[1000.0 * number, 0.5]]), y


def slow(number, x=None, y=None):
    plain_x, plain_y = arrays(number)
    source = Slow(plain_x if x is None else x, (plain_y if y is None else y).tolist())
    return source, AvalancheDataset([source], data_attributes=[DataAttribute(source.y, "targets")])


def synthetic():
    return benchmark_from_datasets(
        train=[tensor_dataset(*arrays(n)) for n in range(3)], test=[tensor_dataset(*arrays(n)) for n in range(3)]
    )


def test_a_benchmark_becomes_a_stream():
    stream = benchmark_stream(synthetic(), StreamSettings(batch_size=8), seed=0)
    assert len(stream) == 75 and stream.stops == (20, 50, 75) and stream.shifts == (20, 50) and stream.blends == (0, 0)
    assert stream.starts == (0, 1, 2) and stream.classes == 6 and stream.shape == (2,)
    x, y = stream.slice(0, 75)
    for number, (a, b) in enumerate(((0, 20), (20, 50), (50, 75))):
        expected, labels = arrays(number)
        order = x[a:b, 0].argsort()
        assert not torch.equal(order, torch.arange(b - a)), "samples are shuffled"
        torch.testing.assert_close(x[a:b][order], expected)
        assert torch.equal(y[a:b][order], labels)
        assert torch.equal(stream.tests[number][1], labels)
    pieces = [stream.slice(start, min(start + 8, 75)) for start in range(0, 75, 8)]
    torch.testing.assert_close(torch.cat([x for x, _ in pieces]), x)
    again = benchmark_stream(synthetic(), StreamSettings(), seed=0).slice(0, 75)
    torch.testing.assert_close(again[0], x)


def test_each_experience_is_read_once():
    sources, data = zip(*(slow(number) for number in range(3)), strict=True)
    benchmark = benchmark_from_datasets(train=data, test=[tensor_dataset(*arrays(0))])
    stream = benchmark_stream(benchmark, StreamSettings(passes=2), seed=0, dtype=torch.float64)
    assert stream.starts == (0,), "one test set for all"
    before = [source.reads for source in sources]
    x = torch.cat([stream.slice(start, min(start + 8, 150))[0] for start in range(0, 150, 8)])
    assert x.dtype == torch.float64 and len(x) == 150
    assert [source.reads - b for source, b in zip(sources, before, strict=True)] == SAMPLES
    # Resuming in the last experience reads no other.
    benchmark_stream(benchmark, StreamSettings(passes=2), seed=0).slice(140, 148)
    assert sources[1].reads - before[1] == SAMPLES[1]


def test_validation_holds_out_a_fifth_of_each_experience():
    stream = benchmark_stream(synthetic(), StreamSettings(), seed=0, evaluate="validation")
    assert stream.stops == (16, 40, 60) and [len(y) for _, y in stream.tests] == [4, 6, 5]
    shown = stream.slice(0, 60)[0][:, 0]
    held_out = torch.cat([x[:, 0] for x, _ in stream.tests])
    assert not torch.isin(held_out, shown).any() and len(torch.cat([held_out, shown]).unique()) == 75


def test_label_noise_of_a_benchmark():
    clean, noisy = (benchmark_stream(synthetic(), StreamSettings(label_noise=s), seed=0) for s in (0.0, 0.5))
    wrong = clean.slice(0, 75)[1] != noisy.slice(0, 75)[1]
    assert wrong.sum() == 10 + 15 + 12
    assert torch.equal(noisy.slice(10, 15)[1], noisy.slice(10, 15)[1])


def test_transforms_are_applied():
    x, y = arrays(0)
    data = AvalancheDataset(
        [tensor_dataset(x, y)], transform_groups=None, data_attributes=[DataAttribute(y.tolist(), "targets")]
    ).replace_current_transform_group((lambda x: x * 2, None))
    torch.testing.assert_close(read_samples(data, "here", 2, torch.float32)[0], 2 * x)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.full((20, 2), torch.nan), None, "train stream: sample 0 is not finite"),
        (None, torch.full((20,), -1), r"train stream: sample 0: label -1, must be in 0\.\.5"),
        ([torch.zeros(2)] * 19 + [torch.zeros(3)], None, r"sample 19: got shape \(3,\), the first has \(2,\)"),
        (["text"] * 20, None, "sample 0 is a str"),
    ],
)
def test_bad_samples_are_told(x, y, message):
    data = [slow(0, x, y)[1], tensor_dataset(*arrays(2))]
    with pytest.raises(InputError, match=message):
        benchmark_stream(benchmark_from_datasets(train=data, test=data), StreamSettings(), seed=0).slice(0, 5)


def test_bad_experiences_are_told():
    good, empty = tensor_dataset(*arrays(1)), tensor_dataset(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))
    with pytest.raises(InputError, match="experience 1 of the train stream has 0 samples"):
        benchmark_stream(benchmark_from_datasets(train=[good, empty], test=[good]), StreamSettings(), seed=0)
    stream = benchmark_stream(benchmark_from_datasets(train=[good], test=[empty]), StreamSettings(), seed=0)
    with pytest.raises(InputError, match="experience 0 of the test stream is empty"):
        stream.tests[0]
    unknown = tensor_dataset(*arrays(2))
    stream = benchmark_stream(benchmark_from_datasets(train=[good], test=[unknown]), StreamSettings(), seed=0)
    with pytest.raises(InputError, match=r"test stream: sample 0: label 4, must be in 0\.\.3"):
        stream.tests[0]


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("splitmnist", {}, "unknown benchmark 'splitmnist'; did you mean 'SplitMNIST'"),
        ("os", {}, "unknown benchmark 'os'"),
        ("check_experts_accuracy", {}, "unknown benchmark"),
        ("SplitMNIST", {"n_experience": 5}, "unknown argument 'n_experience'; did you mean 'n_experiences'"),
        ("SplitMNIST", {}, "n_experiences: missing, SplitMNIST needs it"),
    ],
)
def test_what_avalanche_does_not_have_is_told(name, kwargs, message):
    with pytest.raises(InputError, match=message):
        load_benchmark(Benchmark(avalanche=name, kwargs=kwargs), seed=0)


def test_arguments_and_missing_data_are_told(monkeypatch, tmp_path):
    def refuse(n_experiences, *, dataset_root, seed):
        assert (n_experiences, seed) == (3, 7) and dataset_root.startswith(str(tmp_path))
        raise OSError("no network")

    monkeypatch.delenv("NDM_DATA", raising=False)
    monkeypatch.setattr("ndm_apps.plugins.continual.stream.classics.classics", lambda: {"Mine": refuse})
    with pytest.raises(InputError, match=r"benchmark Mine with .*no network; Avalanche could not get the data"):
        load_benchmark(Benchmark(avalanche="Mine", kwargs={"n_experiences": 3}), seed=7)


def test_the_classics_are_functions_of_avalanche():
    assert {"SplitMNIST", "PermutedMNIST", "SplitCIFAR100", "CORe50"} <= set(classics())


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({}, "exactly one of: dataset, benchmark"),
        ({"dataset": {"name": "digits"}, "benchmark": {"avalanche": "SplitMNIST"}}, "exactly one of"),
        ({"benchmark": {"avalanche": "SplitMNIST"}, "stream": {"kind": "permuted"}}, "brings its own stream"),
        ({"benchmark": {"avalanche": "Split MNIST"}}, "should match pattern"),
    ],
)
def test_bad_tasks_are_told(task, message):
    with pytest.raises(ValueError, match=message):
        ContinualTask.model_validate({"domain": "continual", **task})


def test_the_record_tells_benchmarks_apart():
    data = tensor_dataset(torch.zeros(8, 2), torch.arange(8) % 4)
    settings = Benchmark(avalanche="SplitMNIST", kwargs={"n_experiences": 2})
    a, b, c = (
        benchmark_record(settings, nc_benchmark(data, data, n_experiences=2, task_labels=False, seed=s))
        for s in (0, 0, 3)
    )
    assert a == b and a.digest != c.digest and a.samples == 8 and a.source.startswith("avalanche-lib ")


def test_a_task_opens_its_data_set_or_its_benchmark(monkeypatch):
    def mine(*, seed):
        assert seed == 4
        return synthetic()

    monkeypatch.setattr("ndm_apps.plugins.continual.stream.classics.classics", lambda: {"Mine": mine})
    task = ContinualTask(domain="continual", benchmark=Benchmark(avalanche="Mine"), stream=StreamSettings(passes=2))
    stream, record = open_stream(task, seed=4)
    assert len(stream) == 150 and record.name == "Mine" and record.samples == 75
    stream, record = open_stream(ContinualTask(domain="continual", dataset=DatasetSource(name="digits")), seed=4)
    assert len(stream) == record.samples == 1437 and record.source.startswith("scikit-learn")


@pytest.mark.skipif(datasets.locate("mnist") is None, reason="MNIST is not here (NDM_DATA)")
def test_split_mnist_is_read_into_the_cache_alone():
    settings = Benchmark(avalanche="SplitMNIST", kwargs={"n_experiences": 5, "fixed_class_order": list(range(10))})
    stream = benchmark_stream(load_benchmark(settings, seed=0), StreamSettings(), seed=0)
    assert len(stream) == 60_000 and stream.shape == (1, 28, 28) and stream.classes == 10
    x, y = stream.slice(0, 64)
    assert x.isfinite().all() and set(y.tolist()) == {0, 1}
    assert len(stream.tests[0][1]) == 2115
    permuted = Benchmark(avalanche="PermutedMNIST", kwargs={"n_experiences": 2})
    stream = benchmark_stream(load_benchmark(permuted, seed=0), StreamSettings(), seed=0)
    assert len(stream) == 120_000 and stream.shifts == (60_000,)
