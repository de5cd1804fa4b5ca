import math
import pickle
import random
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ndm_apps.engine.checkpoint import load_metadata, load_state, random_states, restore_random_states, save_state
from ndm_apps.errors import InputError

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
]


def bits(tensor):
    return tensor.reshape(-1).view(torch.uint8).tolist()


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(type(x) is type(y) and same(a[x], b[y]) for x, y in zip(a, b, strict=True))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return a == b


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return (100 * torch.randn(shape, generator=generator)).to(dtype)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | tensors()
states = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=states)
def test_round_trip_is_exact(tmp_path, state):
    save_state(tmp_path / "s", state)
    assert same(load_state(tmp_path / "s"), state)


def test_nan_payload_negative_zero_and_int_keys(tmp_path):
    payload = struct.unpack(">d", bytes.fromhex("fff8000000000abc"))[0]
    state = {0: -0.0, 1: payload, -2: math.inf, "0": 5e-324, 2**80: 2**200}
    save_state(tmp_path / "s", state)
    assert same(load_state(tmp_path / "s"), state)


def test_shared_storage_views_and_arrays(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    parameter = nn.Parameter(base.clone())
    array = np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::-1]
    save_state(tmp_path / "s", {"a": base, "b": base.T, "c": base[1], "p": parameter, "n": array})
    back = load_state(tmp_path / "s")
    assert same(back["b"], base.T.contiguous()) and same(back["c"], base[1])
    assert same(back["p"], parameter.detach()) and not back["p"].requires_grad
    assert same(back["n"], torch.tensor(array.copy()))
    back["a"].zero_()
    assert back["c"].sum() == base[1].sum()


def test_metadata(tmp_path):
    save_state(tmp_path / "s", 1, metadata={"note": "größe"})
    assert load_metadata(tmp_path / "s") == {"note": "größe"}
    with pytest.raises(ValueError, match="metadata"):
        save_state(tmp_path / "s", 1, metadata={"digest": "x"})


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": [1, {2}]}, r"state\['a'\]\[1\]"),
        ({"a": {1.5: 2}}, r"state\['a'\] has the key 1.5"),
        ({True: 1}, "key True"),
        ({"z": 1j}, r"state\['z'\]"),
        ({"o": np.array(["text"])}, r"state\['o'\]"),
        ({"s": torch.ones(2, 2).to_sparse()}, r"state\['s'\]"),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path, state, where):
    save_state(tmp_path / "s", "old")
    with pytest.raises(ValueError, match=where):
        save_state(tmp_path / "s", state)
    assert load_state(tmp_path / "s") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_state(tmp_path / "s", "old")
    monkeypatch.setattr("ndm_apps.engine.checkpoint.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_state(tmp_path / "s", "new")
    monkeypatch.undo()
    assert load_state(tmp_path / "s") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


def foreign_files(folder):
    good = folder / "good"
    save_state(good, {"w": torch.arange(1000.0), "n": [1, 2]})
    content = good.read_bytes()
    (folder / "truncated").write_bytes(content[:-100])
    (folder / "header_cut").write_bytes(content[:50])
    flipped = bytearray(content)
    flipped[-7] ^= 1
    (folder / "flipped").write_bytes(bytes(flipped))
    (folder / "edited").write_bytes(content.replace(b"[1, 2]", b"[1, 3]"))
    (folder / "pickle").write_bytes(pickle.dumps({"w": 1}))
    torch.save({"w": torch.ones(3)}, folder / "torch")
    (folder / "text").write_text("epoch,loss\n1,0.5\n")
    (folder / "empty").write_bytes(b"")
    save_file({"w": torch.ones(3)}, folder / "foreign_safetensors")
    (folder / "folder").mkdir()
    good.unlink()
    return [*(file.name for file in folder.iterdir()), "missing"]


def test_damaged_and_foreign_files_are_refused_with_their_path(tmp_path):
    for name in foreign_files(tmp_path):
        with pytest.raises(InputError, match=name):
            load_state(tmp_path / name)


def draws():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()


def test_random_states(tmp_path):
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    draws()
    save_state(tmp_path / "s", random_states())
    expected = [draws() for _ in range(3)]
    restore_random_states(load_state(tmp_path / "s"))
    assert [draws() for _ in range(3)] == expected


@pytest.mark.parametrize("states", [{}, {"python": (1,), "numpy": (), "torch": torch.zeros(3)}])
def test_wrong_random_states(states):
    with pytest.raises(ValueError, match="states"):
        restore_random_states(states)


OPTIMISERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True),
}


def fresh(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    optimiser = OPTIMISERS[name](model.parameters())
    return model, optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 50)


def train(parts, steps):
    model, optimiser, schedule = parts
    for _ in range(steps):
        x = torch.randn(16, 3)
        loss = (model(x) - x.sum(-1, keepdim=True)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return [part.state_dict() for part in parts]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_training_resumes_to_the_bit(tmp_path, name):
    straight = train(fresh(name), 20)
    parts = fresh(name)
    halfway = train(parts, 10)
    save_state(tmp_path / "s", {"parts": halfway, "random": random_states()})
    train(parts, 3)  # what was lost
    resumed = fresh(name)
    state = load_state(tmp_path / "s")
    for part, saved in zip(resumed, state["parts"], strict=True):
        part.load_state_dict(saved)
    restore_random_states(state["random"])
    end = train(resumed, 10)
    save_state(tmp_path / "a", straight)
    save_state(tmp_path / "b", end)
    assert same(load_state(tmp_path / "a"), load_state(tmp_path / "b"))
