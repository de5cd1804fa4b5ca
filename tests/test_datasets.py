import gzip
import struct

import numpy as np
import pytest
import torch

from ndm_apps import datasets
from ndm_apps.errors import InputError
from ndm_apps.torchvision_shim import ensure_importable

HAVE_MNIST = datasets.locate("mnist") is not None


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes((gzip.compress if path.suffix == ".gz" else bytes)(header + array.tobytes()))


@pytest.fixture
def idx_folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    arrays = [rng.integers(0, 256, (6, 4, 4)), np.arange(6) % 3, rng.integers(0, 256, (3, 4, 4)), np.arange(3)]
    for stem, array, suffix in zip(datasets._stems(), arrays, (".gz", ".gz", "", ""), strict=True):
        write_idx(raw / (stem + suffix), array.astype(np.uint8))
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    return tmp_path, arrays


def test_idx_files_are_read_as_they_lie(idx_folder):
    folder, arrays = idx_folder
    before = sorted(folder.rglob("*"))
    data = datasets.load("mnist")
    torch.testing.assert_close(data.x_train, torch.tensor(arrays[0] / 255, dtype=torch.float32))
    assert data.y_test.tolist() == [0, 1, 2] and data.classes == 3
    assert sorted(folder.rglob("*")) == before


def test_truncated_idx_file_is_told(idx_folder):
    path = next(idx_folder[0].rglob("t10k-images*"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"t10k-images.*not a readable IDX file"):
        datasets.load("mnist")


def test_missing_data_set_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"ndm data mnist.*NDM_DATA.*MNIST/raw"):
        datasets.load("mnist")


def test_digits_split_is_fixed_and_stratified():
    data = datasets.load("digits")
    assert data.digest == datasets.load("digits").digest
    assert data.x_train.shape == (1437, 8, 8) and data.x_test.shape == (360, 8, 8)
    assert data.y_test.bincount().min() >= 33
    assert 0 <= data.x_train.min() and data.x_train.max() <= 1


@pytest.mark.skipif(not HAVE_MNIST, reason="MNIST is not here (NDM_DATA)")
def test_mnist_is_the_real_one():
    data = datasets.load("mnist")
    assert data.x_train.shape == (60000, 28, 28)
    assert data.y_train.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def arrays():
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    return {"x_train": x, "y_train": np.arange(8) % 2 * 5, "x_test": x[:4], "y_test": np.arange(4) % 2 * 5}


def test_npz_labels_become_consecutive(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays())
    data = datasets.load_npz(tmp_path / "mine.npz")
    assert data.classes == 2 and data.y_train.tolist() == [0, 1] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_test": None}, "'x_test' is missing"),
        ({"y_train": np.arange(7)}, "y_train.*must be integers of shape"),
        ({"y_train": np.arange(8) / 2}, "y_train.*must be integers"),
        ({"x_train": np.array([["a"] * 3] * 8)}, "x_train.*must be numbers"),
        ({"x_train": np.full((8, 3), np.nan)}, "x_train: sample 0 is not finite"),
        ({"x_test": np.zeros((4, 2))}, "x_test.*x_train has"),
        ({"y_test": np.arange(4)}, "y_test: label 1 does not occur"),
        ({"x_train": np.array([{}] * 8, dtype=object)}, "not a readable .npz|must be numbers"),
    ],
)
def test_bad_npz_is_told_in_one_line(tmp_path, change, message):
    content = {key: value for key, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(InputError, match=message) as told:
        datasets.load_npz(tmp_path / "bad.npz")
    assert "\n" not in str(told.value) and "bad.npz" in str(told.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken", bytes(range(64))])
def test_what_is_no_npz_is_told(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(InputError, match="not a readable"):
        datasets.load_npz(tmp_path / "bad.npz")


def test_fetching_without_network_says_where_to_put_files(tmp_path, monkeypatch):
    ensure_importable()
    import torchvision

    def refuse(*args, **kwargs):
        raise RuntimeError("no network")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)
    with pytest.raises(InputError, match=r"no network.*MNIST/raw"):
        datasets.fetch("mnist")
    with pytest.raises(InputError, match="nothing to fetch"):
        datasets.fetch("digits")
