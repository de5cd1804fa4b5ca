"""Data sets as tensors: looked for in ``NDM_DATA``, then in the user's cache, and fetched only on request.

:func:`load` reads a known data set by name, :func:`load_npz` the user's own arrays; :func:`available` tells what is
here, :func:`fetch` downloads through torchvision what torchvision can fetch. A read-only folder serves as it is, and
no file is unpickled (CIFAR-10's Python version only by torchvision, after its check of the files).
"""

from ndm_apps.datasets.arrays import Arrays, as_floats
from ndm_apps.datasets.catalogue import NAMES, available, fetch, load, load_source, locate
from ndm_apps.datasets.own import load_npz
from ndm_apps.datasets.places import cache_dir, search_path

__all__ = [
    "NAMES",
    "Arrays",
    "as_floats",
    "available",
    "cache_dir",
    "fetch",
    "load",
    "load_npz",
    "load_source",
    "locate",
    "search_path",
]
