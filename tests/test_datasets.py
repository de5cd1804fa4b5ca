import gzip
import struct

import numpy as np
import pytest
import torch

from ndm_apps import datasets
from ndm_apps.datasets import cifar10, mnist, omniglot
from ndm_apps.errors import InputError
from ndm_apps.torchvision_shim import ensure_importable


def needs(name):
    return pytest.mark.skipif(datasets.locate(name) is None, reason=f"{name} is not here (NDM_DATA)")


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes((gzip.compress if path.suffix == ".gz" else bytes)(header + array.tobytes()))


@pytest.fixture
def idx_folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    arrays = [rng.integers(0, 256, (6, 4, 4)), np.arange(6) % 3, rng.integers(0, 256, (3, 4, 4)), np.arange(3)]
    for stem, array, suffix in zip(mnist.STEMS, arrays, (".gz", ".gz", "", ""), strict=True):
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


@needs("mnist")
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
        ({"x_train": np.zeros((8, 3), np.uint8)}, "x_test: got float32, x_train has uint8"),
        ({"x_train": None, "images": np.zeros(3)}, "'x_train' is missing.*the file holds .*images"),
        ({"x_test": np.full((4, 3), np.inf)}, "x_test: sample 0 is not finite"),
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
    with pytest.raises(
        InputError, match=r"nothing to fetch.*mnist, fashion_mnist, cifar10, omniglot; set NDM_DATA.*elec.csv"
    ):
        datasets.fetch("electricity")


def test_every_data_set_is_listed_with_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    listed = datasets.available()
    assert tuple(listed) == datasets.NAMES
    assert "`ndm data cifar10` downloads it" in listed["cifar10"]
    assert listed["electricity"].startswith("not here: set NDM_DATA to the folder that holds streams/elec.csv")


def test_bytes_stay_bytes_on_request_and_mean_the_same(idx_folder):
    floats, pixels = datasets.load("mnist"), datasets.load("mnist", pixels=True)
    assert pixels.x_train.dtype == torch.uint8 and floats.x_train.dtype == torch.float32
    assert floats.digest == pixels.digest
    torch.testing.assert_close(datasets.as_floats(pixels.x_train), floats.x_train, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("stem", "array", "message"),
    [
        ("train-labels-idx1-ubyte.gz", np.array([0, 1, 2, 3, 4, 200]), r"train-labels.*label 200 of sample 5.*0..9"),
        ("train-labels-idx1-ubyte.gz", np.arange(5), r"6 samples x_train, but 5 labels y_train"),
        ("t10k-images-idx3-ubyte", np.zeros((3, 5, 5)), r"x_test: got samples of shape \(5, 5\), x_train has \(4, 4\)"),
    ],
)
def test_bad_idx_contents_are_told(idx_folder, stem, array, message):
    write_idx(idx_folder[0] / "MNIST" / "raw" / stem, array.astype(np.uint8))
    with pytest.raises(InputError, match=message):
        datasets.load("mnist")


@pytest.fixture
def cifar_binary(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = np.zeros((60_000, 3073), np.uint8)
    records[:, 0] = np.arange(60_000) % 10
    records[-1, -1], records[7, 2] = 9, 8
    for name, part in zip(cifar10.BATCHES, records.reshape(6, 10_000, 3073), strict=True):
        part.tofile(folder / name)
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    return folder, records


def test_cifar10_binary(cifar_binary):
    folder, records = cifar_binary
    data = datasets.load("cifar10", pixels=True)
    assert data.x_train.shape == (50_000, 3, 32, 32) and data.x_test.shape == (10_000, 3, 32, 32)
    assert data.x_test[-1, 2, 31, 31] == 9 and data.x_train[7, 0, 0, 1] == 8
    torch.testing.assert_close(data.y_train, torch.from_numpy(records[:50_000, 0].astype(np.int64)))
    with open(folder / "data_batch_2.bin", "r+b") as file:
        file.write(b"\x0b")
    with pytest.raises(InputError, match=r"data_batch_2.bin: label 11 of sample 0"):
        datasets.load("cifar10")
    with open(folder / "test_batch.bin", "ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=r"data_batch_2"):
        datasets.load("cifar10")


def test_cifar10_tiles(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    folder = tmp_path / "cifar10"
    folder.mkdir()
    images = np.zeros((5000, 32, 32, 3), np.uint8)
    images[11] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    grid = images.reshape(500, 10, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(16_000, 320, 3)
    Image.fromarray(grid).save(folder / "train0.webp", lossless=True, quality=0, method=0)
    for name in cifar10.TILES[1:]:
        (folder / name).symlink_to("train0.webp")
    labels = {"labels": np.arange(60_000) % 10, "lossy_idx": np.array([3, 50_001, 50_002])}
    np.savez(folder / "labels.npz", **labels)
    data = datasets.load("cifar10", pixels=True)
    assert "3 of 60000 images JPEG-coded: 1 train, 2 test" in data.source
    np.testing.assert_array_equal(data.x_train[5011].numpy(), images[11].transpose(2, 0, 1))
    (folder / "train3.webp").unlink()
    Image.fromarray(grid[:320]).save(folder / "train3.webp", lossless=True)
    with pytest.raises(InputError, match=r"train3.webp: not a WebP image of"):
        datasets.load("cifar10")
    np.savez(folder / "labels.npz", labels=labels["labels"])
    with pytest.raises(InputError, match=r"labels.npz: must hold arrays labels and lossy_idx"):
        datasets.load("cifar10")


def test_cifar10_pickles_that_are_not_the_published_ones_are_never_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"not the files that torchvision knows"):
        datasets.load("cifar10")
    assert not (tmp_path / "opened").exists()


def write_omniglot(folder, drawers=20, **changes):
    rng = np.random.default_rng(0)
    content = {}
    for part, names in (("background", ["B/c1", "A/c1", "A/c2"]), ("evaluation", ["C/c1", "C/c2"])):
        y = np.arange(len(names)).repeat(drawers)
        ink = rng.integers(0, 2, (len(y), 105 * 105), dtype=np.uint8)
        drawer = np.tile(np.arange(drawers) + 1, len(names))
        arrays = (np.packbits(ink, axis=1), y.astype(np.int16), np.array(names), drawer)
        content |= {f"{part}_{key}": array for key, array in zip(omniglot.KEYS, arrays, strict=True)}
    content = {key: value for key, value in (content | changes).items() if value is not None}
    (folder / "omniglot").mkdir(exist_ok=True)
    np.savez(folder / "omniglot" / "omniglot.npz", **content)


def test_omniglot_groups_are_alphabets_and_drawers_are_split(tmp_path, monkeypatch):
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    write_omniglot(tmp_path)
    data = datasets.load("omniglot", pixels=True)
    assert data.x_train.shape == (75, 35, 35) and data.x_test.shape == (25, 35, 35)
    assert data.groups == ((1, 2), (0,), (3, 4)) and data.classes == 5
    assert data.y_train.bincount().tolist() == [15] * 5 and data.y_test.bincount().tolist() == [5] * 5
    assert "drawers 1-15 train" in data.source


def test_omniglot_images_of_torchvision_are_the_same(tmp_path, monkeypatch):
    from PIL import Image

    write_omniglot(tmp_path)
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    packed = datasets.load("omniglot", pixels=True)
    stored = np.load(tmp_path / "omniglot" / "omniglot.npz")
    for part in omniglot.PARTS:
        bits, y, names, drawer = (stored[f"{part}_{key}"] for key in omniglot.KEYS)
        order = np.argsort(names)  # torchvision's folder has no order but that of names
        for number, name in enumerate(names[order]):
            folder = tmp_path / "images" / "omniglot-py" / f"images_{part}" / name
            folder.mkdir(parents=True)
            for row in np.flatnonzero(y == order[number]):
                ink = np.unpackbits(bits[row], count=105 * 105).reshape(105, 105)
                Image.fromarray(255 * (1 - ink)).convert("1").save(folder / f"0001_{drawer[row]:02}.png")
    monkeypatch.setenv("NDM_DATA", str(tmp_path / "images"))
    data = datasets.load("omniglot", pixels=True)
    assert data.groups == ((0, 1), (2,), (3, 4))
    moved = torch.tensor([2, 0, 1, 3, 4])[packed.y_train]  # B/c1 comes first in the file, last of its part here
    order = moved.argsort(stable=True)
    torch.testing.assert_close(data.x_train, packed.x_train[order])
    assert torch.equal(data.y_train, moved[order])
    (folder / "0001_07.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"0001_07.png: not an image"):
        datasets.load("omniglot")


def test_omniglot_images_are_averaged_over_blocks():
    ink = np.zeros((1, 105, 105), np.uint8)
    ink[0, 3:6, 102:105] = 1
    ink[0, 0, 0] = 1
    reduced = omniglot.unpack(np.packbits(ink.reshape(1, -1), axis=1))
    assert reduced[0, 1, 34] == 255 and reduced[0, 0, 0] == round(255 / 9) and reduced.astype(int).sum() == 255 + 28


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation_drawer": None}, "array missing.*evaluation_drawer"),
        ({"background_y": np.full(60, 3, np.int16)}, r"label 3 of sample 0: must be in 0..2"),
        ({"background_bits": np.zeros((60, 7), np.uint8)}, "not a readable .npz file of Omniglot"),
    ],
)
def test_bad_omniglot_is_told(tmp_path, monkeypatch, changes, message):
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    write_omniglot(tmp_path, **changes)
    with pytest.raises(InputError, match=rf"omniglot.npz: .*{message}"):
        datasets.load("omniglot")


ELECTRICITY = "period,nswprice,nswdemand,vicprice,vicdemand,transfer,class\n" + "0.0,0.1,0.2,0.3,0.4,0.5,1\n" * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ELECTRICITY + "0,0,0,0,0,0,2\n", r"label 2.0 of sample 2: must be in 0..1"),
        (ELECTRICITY.replace(",0.5", ""), "got 6 columns"),
        (ELECTRICITY + "a,b,c,d,e,f,g\n", "not a readable table"),
        (ELECTRICITY + "nan,0,0,0,0,0,0\n", "sample 2 is not finite"),
    ],
)
def test_bad_electricity_is_told(tmp_path, monkeypatch, content, message):
    monkeypatch.setenv("NDM_DATA", str(tmp_path))
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "elec.csv").write_text(content)
    with pytest.raises(InputError, match=rf"elec.csv.*{message}"):
        datasets.load("electricity")


@needs("electricity")
def test_electricity_is_the_real_one():
    data = datasets.load("electricity")
    assert data.x_train.shape == (45312, 6) and data.y_train.bincount().tolist() == [26075, 19237]
    assert data.x_test.shape == (0, 6)
    # Half-hours of a day follow each other.
    torch.testing.assert_close(data.x_train[:48, 0], torch.arange(48) / 47, atol=1e-4, rtol=0)


@needs("omniglot")
def test_omniglot_is_the_real_one():
    data = datasets.load("omniglot", pixels=True)
    assert data.classes == 1623 and len(data.groups) == 50
    assert data.x_train.shape == (1623 * 15, 35, 35) and data.x_test.shape == (1623 * 5, 35, 35)


@needs("cifar10")
def test_cifar10_is_the_real_one():
    data = datasets.load("cifar10", pixels=True)
    assert data.y_train.bincount().tolist() == [5000] * 10 and data.y_train[:5].tolist() == [6, 9, 9, 4, 1]
    means = data.x_train.numpy().mean((0, 2, 3)) / 255  # as published in many places
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=1e-4)
