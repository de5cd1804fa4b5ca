"""Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawers each, in one of two layouts.

``omniglot/omniglot.npz`` holds arrays, each once with ``background_`` and once with ``evaluation_`` before its name:
``bits`` (105 x 105 pixels packed, ink = 1), ``y``, ``names`` (``alphabet/character``), ``drawer`` (1 to 20).
``omniglot-py`` is torchvision's folder of images, ``images_background/alphabet/character/NNNN_DRAWER.png`` and so on.

References
----------
Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program induction", Science
350, 2015.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ndm_apps.datasets.arrays import Arrays, check_labels, make_arrays
from ndm_apps.errors import InputError

PARTS = ("background", "evaluation")
KEYS = ("bits", "y", "names", "drawer")
SIDE, REDUCED = 105, 35
TRAIN_DRAWERS = 15

# Images (samples, 35, 35), labels, name of each class, drawer of each image.
_Part = tuple[np.ndarray, np.ndarray, list[str], np.ndarray]


def find(folder: Path) -> Path | None:
    """Return ``folder/omniglot/omniglot.npz`` or ``folder/omniglot-py``, whichever is there and complete."""
    path, images = folder / "omniglot" / "omniglot.npz", folder / "omniglot-py"
    if path.is_file():
        return path
    return images if all((images / f"images_{part}").is_dir() for part in PARTS) else None


def read(path: Path) -> Arrays:
    """Read all 50 alphabets: class = character, group = alphabet, images ``(samples, 35, 35)``, uint8.

    Images are averaged over blocks of 3 x 3 pixels. The first 15 drawers of each character are for training, the
    other 5 for testing: one fixed split for everybody.

    Raises
    ------
    InputError
        If the file lacks an array, or something else is where the images should be.
    """
    parts = _read_images(path) if path.is_dir() else _read_packed(path)
    x, drawers = np.concatenate([part[0] for part in parts]), np.concatenate([part[3] for part in parts])
    names = [name for part in parts for name in part[2]]
    y = np.concatenate([parts[0][1], parts[1][1] + len(parts[0][2])])
    train = drawers <= TRAIN_DRAWERS
    alphabets = [name.partition("/")[0] for name in names]
    groups = tuple(
        tuple(number for number, alphabet in enumerate(alphabets) if alphabet == name) for name in sorted({*alphabets})
    )
    source = (
        f"{path} (pixels of the published images, {SIDE} x {SIDE} averaged to {REDUCED} x {REDUCED}; "
        f"drawers 1-{TRAIN_DRAWERS} train, the others test)"
    )
    return make_arrays("omniglot", source, x[train], y[train], x[~train], y[~train], groups)


def _read_packed(path: Path) -> list[_Part]:
    parts = []
    try:
        with np.load(path, allow_pickle=False) as stored:
            for part in PARTS:
                bits, y, names, drawer = (stored[f"{part}_{key}"] for key in KEYS)
                labels = check_labels(path, y.astype(np.int64), len(names))
                parts.append((unpack(bits), labels, [str(name) for name in names], drawer))
    except KeyError as error:
        needed = ", ".join(f"{part}_{key}" for part in PARTS for key in KEYS)
        raise InputError(f"{path}: array missing (needed: {needed})") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable .npz file of Omniglot's packed images") from error
    return parts


def _read_images(folder: Path) -> list[_Part]:
    from PIL import Image

    parts = []
    for part in PARTS:
        files = sorted((folder / f"images_{part}").glob("*/*/*.png"))
        names = sorted({f"{file.parent.parent.name}/{file.parent.name}" for file in files})
        places = {name: number for number, name in enumerate(names)}
        x, y, drawer = np.empty((len(files), REDUCED, REDUCED), np.uint8), [], []
        for number, file in enumerate(files):
            try:
                with Image.open(file) as image:
                    x[number] = averaged(1 - np.asarray(image.convert("1"), np.uint8)[None])[0]  # ink is black
                drawer.append(int(file.stem.rpartition("_")[2]))
            except (OSError, ValueError) as error:
                raise InputError(f"{file}: not an image of {SIDE} x {SIDE} pixels NNNN_DRAWER.png") from error
            y.append(places[f"{file.parent.parent.name}/{file.parent.name}"])
        if not files:
            raise InputError(f"{folder / f'images_{part}'}: holds no alphabet/character/NNNN_DRAWER.png")
        parts.append((x, np.array(y), names, np.array(drawer)))
    return parts


def unpack(bits: np.ndarray) -> np.ndarray:
    """Return packed images ``(samples, 1379)`` as :func:`averaged` gives them."""
    width = -(-SIDE * SIDE // 8)
    if bits.ndim != 2 or bits.shape[1] != width:
        raise ValueError(f"got shape {bits.shape}, must be (samples, {width})")
    # A generator and not a list: unpacked, all images take 360 MB.
    pieces = (np.unpackbits(bits[i : i + 2000], axis=1, count=SIDE * SIDE) for i in range(0, len(bits), 2000))
    return np.concatenate([averaged(piece.reshape(-1, SIDE, SIDE)) for piece in pieces])


def averaged(ink: np.ndarray) -> np.ndarray:
    """Average images ``(samples, 105, 105)`` of ink 0 and 1 over blocks of 3 x 3: ``(samples, 35, 35)``, uint8."""
    block = SIDE // REDUCED
    share: np.ndarray = ink.reshape(-1, REDUCED, block, REDUCED, block).mean((2, 4), dtype=np.float32)
    return np.rint(255 * share).astype(np.uint8)
