import numpy as np
import pytest
import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.base import DatasetSource
from ndm_apps.plugins.generative.data import load_data, split_data
from ndm_apps.plugins.generative.schema import GenerativeTask


def task_of(path=None):
    source = DatasetSource(name="digits") if path is None else DatasetSource(npz=str(path))
    return GenerativeTask(domain="generative", dataset=source)


def saved(path, **more):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.random((120, 4, 4)),
        "y_train": np.arange(120) % 3,
        "x_test": rng.random((30, 4, 4)),
        "y_test": np.arange(30) % 3,
    }
    np.savez(path, **{**arrays, **more})
    return path


@pytest.mark.parametrize("evaluate", ["test", "validation"])
def test_no_image_serves_two_that_must_not_share_it(evaluate):
    data = load_data(task_of())
    split = split_data(data, evaluate)
    known = {part.numpy().tobytes() for part in split.x[: split.labelled]}
    for other in (split.x_judge, split.x_held, split.x_test):
        # Some images of the data set are equal to the bit.
        assert sum(part.numpy().tobytes() in known for part in other) <= 2
    assert len(split.x) == len(split.x_judge) + split.labelled
    assert split.shape == (1, 8, 8) and split.classes == 10
    assert torch.equal(split.x, split_data(data, "test").x)
    held = len(split.x_test) if evaluate == "validation" else len(data.x_train) // 6
    assert len(split.x) + len(split.x_held) + held == len(data.x_train)


def test_vectors_and_colour_images_keep_their_shape(tmp_path):
    shapes = {"v": (7,), "c": (3, 4, 4), "g": (4, 4)}
    seen = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(0)
        path = saved(tmp_path / f"{name}.npz", x_train=rng.random((120, *shape)), x_test=rng.random((30, *shape)))
        seen[name] = split_data(load_data(task_of(path)), "test").shape
    assert seen == {"v": (7,), "c": (3, 4, 4), "g": (1, 4, 4)}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"y_train": np.zeros(120, int), "y_test": np.zeros(30, int)}, "one class in y_train: no pairs of different"),
        ({"y_test": np.zeros(30, int)}, "one class in y_test"),
        ({"x_train": np.full((120, 4, 4), np.nan)}, "sample 0 is not finite"),
        ({"x_train": np.full((120, 4, 4), 3.0)}, r"x_train: images with values in \[3, 3\], must be in \[0, 1\]"),
        ({"x_train": np.zeros((9, 4, 4)), "y_train": np.arange(9) % 3}, "9 training samples, must have 60"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path, arrays, says):
    with pytest.raises(InputError, match=says):
        load_data(task_of(saved(tmp_path / "own.npz", **arrays)))
