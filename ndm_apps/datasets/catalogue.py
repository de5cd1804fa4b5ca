"""The known data sets: where their files lie, who reads them, and how to get them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ndm_apps.datasets import cifar10, electricity, mnist, omniglot
from ndm_apps.datasets.arrays import Arrays, make_arrays
from ndm_apps.datasets.own import load_npz
from ndm_apps.datasets.places import cache_dir, search_path
from ndm_apps.errors import InputError


@dataclass(frozen=True)
class _Entry:
    """``find`` looks into one folder, ``layout`` says for what.

    ``fetcher`` is torchvision's class, if any, and ``parts`` the arguments with which it fetches everything.
    """

    find: Callable[[Path], Path | None]
    read: Callable[[Path], Arrays]
    layout: str
    fetcher: str = ""
    parts: tuple[dict[str, bool], ...] = ({},)


def _idx(name: str, title: str) -> _Entry:
    return _Entry(partial(mnist.find, title=title), partial(mnist.read, name=name), f"{title}/raw", title)


_ENTRIES = {
    "mnist": _idx("mnist", "MNIST"),
    "fashion_mnist": _idx("fashion_mnist", "FashionMNIST"),
    "cifar10": _Entry(cifar10.find, cifar10.read, "cifar-10-batches-bin, cifar-10-batches-py or cifar10", "CIFAR10"),
    "omniglot": _Entry(
        omniglot.find,
        omniglot.read,
        "omniglot/omniglot.npz or omniglot-py",
        "Omniglot",
        ({"background": True}, {"background": False}),
    ),
    "electricity": _Entry(electricity.find, electricity.read, "streams/elec.csv (scikit-multiflow/streaming-datasets)"),
}
NAMES = ("digits", *_ENTRIES)


def locate(name: str) -> Path | None:
    """Return the place of the files of ``name``, or None if they are not here."""
    return next((place for folder in search_path() if (place := _ENTRIES[name].find(folder)) is not None), None)


def available() -> dict[str, str]:
    """Return where each known data set is or how to get it, as text, by name."""
    here = {name: str(locate(name) or f"not here: {_how_to_get(name)}") for name in _ENTRIES}
    return {"digits": "ships with scikit-learn", **here}


def _how_to_get(name: str) -> str:
    entry = _ENTRIES[name]
    place = f"set NDM_DATA to the folder that holds {entry.layout}"
    return f"`ndm data {name}` downloads it, or {place}" if entry.fetcher else place


def load(name: str, *, pixels: bool = False) -> Arrays:
    """Load a data set by name.

    Parameters
    ----------
    name
        One of ``NAMES``.
    pixels
        Leave images in uint8, a quarter of the memory; see :func:`~ndm_apps.datasets.as_floats`.

    Raises
    ------
    InputError
        If the name is unknown, or the files are not here (the message says how to get them) or damaged.
    """
    if name == "digits":
        return _digits()
    if name not in _ENTRIES:
        raise InputError(f"data set: got {name!r}, must be one of {', '.join(NAMES)}")
    place = locate(name)
    if place is None:
        looked = ", ".join(str(folder) for folder in search_path())
        raise InputError(f"data set {name!r} is not here (looked in {looked}); {_how_to_get(name)}")
    data = _ENTRIES[name].read(place)
    return data if pixels else data.floats()


def load_source(name: str | None, npz: str | None, *, pixels: bool = False) -> Arrays:
    """Load a data set by name, or else the user's own arrays; see :func:`load` and :func:`load_npz`."""
    if npz is not None:
        return load_npz(npz, pixels=pixels)
    assert name is not None
    return load(name, pixels=pixels)


def fetch(name: str) -> Path:
    """Download a data set into the cache through torchvision and return the place of its files.

    Raises
    ------
    InputError
        If it cannot be downloaded; the message says where to put the files by hand.
    """
    entry = _ENTRIES.get(name)
    if entry is None or not entry.fetcher:
        fetched = ", ".join(known for known, entry in _ENTRIES.items() if entry.fetcher)
        by_hand = f"; {_how_to_get(name)}" if entry else ""
        raise InputError(f"data set: got {name!r}, nothing to fetch; must be one of {fetched}{by_hand}")
    from ndm_apps import torchvision_shim

    torchvision_shim.ensure_importable()
    import torchvision

    root = cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    try:
        for part in entry.parts:
            getattr(torchvision.datasets, entry.fetcher)(str(root), download=True, **part)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"data set {name!r} could not be downloaded ({error}); put {entry.layout} into {root}, "
            "or set NDM_DATA to a folder that holds it"
        ) from error
    place = entry.find(root)
    assert place is not None, "torchvision has checked its files"
    return place


def _digits() -> Arrays:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    # One fixed split for everybody: the seed of a run changes the order of classes and samples, never the test set.
    x_train, x_test, y_train, y_test = train_test_split(
        x.reshape(-1, 8, 8) / 16.0, y, test_size=0.2, stratify=y, random_state=0
    )
    return make_arrays(
        "digits", "scikit-learn, load_digits; fixed stratified split 80/20", x_train, y_train, x_test, y_test
    )
