"""``python -m ndm_apps`` is ``ndm``; ``torchrun --nproc-per-node N -m ndm_apps run CONFIG`` shares a run."""

from __future__ import annotations

import os
import sys

from ndm_apps.cli import main
from ndm_apps.cli.options import fail


def _main() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        command = next(iter(sys.argv[1:]), "nothing")
        if command != "run":
            sys.exit(fail(f"torchrun: got {command}, but processes can share ndm run alone"))
        if int(os.environ["RANK"]):
            # Every process says the same; the first one is heard.
            sys.stdout = sys.stderr = open(os.devnull, "w")
    main()


if __name__ == "__main__":
    _main()
