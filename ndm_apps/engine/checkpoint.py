"""Save and resume: any nested state in one file, exact to the bit, without pickles.

The file is a safetensors file. Its tensors are the leaves; its metadata hold the nesting as JSON and a digest of both,
so that a damaged file is told from a sound one. Reading a file never runs code from it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ndm_apps.errors import InputError
from ndm_apps.files import replacing

__all__ = ["load_metadata", "load_state", "random_states", "restore_random_states", "save_state"]

_FORMAT = "ndm_apps.state.1"
_RESERVED = ("format", "structure", "digest")
# safetensors writes a longer header but refuses to read it back.
_HEADER_LIMIT = 90_000_000


def save_state(path: str | os.PathLike[str], state: Any, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a nested state to one file, atomically: the file is complete, or what it was before.

    Parameters
    ----------
    path
        File to write; missing folders are made. A file of that name is replaced.
    state
        Nested dicts (keys str or int), lists and tuples of tensors, NumPy arrays, str, int, float, bool and None.
        Tensors are copied from wherever they are, so leaves may share storage; arrays come back as tensors.
    metadata
        Text to keep beside the state, for :func:`load_metadata` and for other readers of safetensors.

    Raises
    ------
    ValueError
        For a leaf or key of another kind; the message tells where in ``state`` it is.
    OSError
        If the file cannot be written: the disk is full, or not to be written to.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "run.safetensors"
    >>> save_state(file, {"step": 3, "loss": (float("inf"), torch.tensor(0.5))})
    >>> load_state(file)
    {'step': 3, 'loss': (inf, tensor(0.5000))}
    """
    path = Path(path)
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_encode(state, "state", tensors), allow_nan=False)
    extra = _checked_metadata(metadata)
    if len(structure) + sum(map(len, extra.values())) > _HEADER_LIMIT:
        raise ValueError(
            f"state holds {len(structure)} bytes beside its tensors, allowed are {_HEADER_LIMIT}: "
            "turn long lists of numbers into tensors"
        )
    header = {**extra, "format": _FORMAT, "structure": structure, "digest": _digest(structure, extra, tensors)}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=header)
        except SafetensorError as error:
            if cause := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(cause[1]), os.strerror(int(cause[1])), str(path)) from error
            raise ValueError(f"state cannot be written to {path}: {error}") from error


def load_state(path: str | os.PathLike[str]) -> Any:
    """Return the state that :func:`save_state` wrote, on the CPU, equal to the bit.

    Raises
    ------
    InputError
        If there is no such file, if it is damaged, or if something else wrote it.
    """
    return _load(Path(path))[0]


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the text kept beside the state; raises as :func:`load_state`."""
    return _load(Path(path))[1]


def random_states() -> dict[str, Any]:
    """Return the states of all global random-number generators, as a state that :func:`save_state` takes.

    These are Python's ``random``, NumPy's legacy generator, torch on the CPU and, where there are any, CUDA devices.
    """
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": (str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put all global random-number generators back into the states :func:`random_states` returned.

    States of CUDA devices this machine lacks are passed over: a run may move to a machine with fewer.

    Raises
    ------
    ValueError
        If a generator's state is missing or not one of its own; some generators may have been set by then.
    """
    missing = {"python", "numpy", "torch"} - set(states)
    if missing:
        raise ValueError(f"states lacks {sorted(missing)}, got {sorted(states)}")
    try:
        random.setstate(states["python"])
        name, keys, position, has_gauss, cached = states["numpy"]
        np.random.set_state((name, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))
        torch.set_rng_state(states["torch"])
        for device, state in zip(range(torch.cuda.device_count()), states.get("cuda", []), strict=False):
            torch.cuda.set_rng_state(state, device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"states are not those of random-number generators: {error}") from error


def _encode(value: Any, where: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the JSON form of a value; tensors go into ``tensors`` under the number the JSON refers to."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if isinstance(value, (torch.Tensor, np.ndarray)):
        name = str(len(tensors))
        tensors[name] = _plain(value, where)
        return {"tensor": name}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, f"{where}[{i}]", tensors) for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [_encode(item, f"{where}[{i}]", tensors) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                raise ValueError(f"{where} has the key {key!r} of type {type(key).__name__}, allowed are str and int")
        return {"dict": [[key, _encode(item, f"{where}[{key!r}]", tensors)] for key, item in value.items()]}
    raise ValueError(
        f"{where} is of type {type(value).__name__}, "
        "allowed are dict, list, tuple, tensor, NumPy array, str, int, float, bool and None"
    )


def _plain(value: torch.Tensor | np.ndarray[Any, Any], where: str) -> torch.Tensor:
    """Return a dense CPU copy that shares storage with nothing."""
    try:
        tensor = torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value.detach()
        return tensor.to("cpu", copy=True).contiguous().resolve_conj().resolve_neg()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{where} is not a dense numerical array: {error}") from error


def _decode(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    match kind:
        case "float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "tensor":
            return tensors[content]
        case "tuple":
            return tuple(_decode(item, tensors) for item in content)
        case "dict":
            return {key: _decode(item, tensors) for key, item in content}
    raise ValueError(f"unknown kind {kind!r}")


def _load(path: Path) -> tuple[Any, dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # Copies: a tensor that maps the file would change with it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a complete safetensors file ({error})") from error
    if header.get("format") != _FORMAT:
        raise InputError(f"{path}: not a state of this program (format {header.get('format')!r}, wanted {_FORMAT!r})")
    extra = {key: text for key, text in header.items() if key not in _RESERVED}
    structure = header.get("structure", "")
    if header.get("digest") != _digest(structure, extra, tensors):
        raise InputError(f"{path}: damaged (its content does not match its digest)")
    try:
        return _decode(json.loads(structure), tensors), extra
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise InputError(f"{path}: damaged (its structure cannot be read: {error})") from error


def _checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    extra = dict(metadata or {})
    for key, text in extra.items():
        if not isinstance(key, str) or not isinstance(text, str) or key in _RESERVED:
            raise ValueError(f"metadata has {key!r}: {text!r}, allowed is text under any name but {list(_RESERVED)}")
    return extra


def _digest(structure: str, extra: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    described = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in sorted(tensors.items())}
    digest = hashlib.sha256(json.dumps([structure, sorted(extra.items()), described]).encode())
    for _, tensor in sorted(tensors.items()):
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
