"""Make ``import torchvision`` (and so ``import avalanche``) work where its compiled operators do not load.

torchvision's wheels are built against one torch build; beside another (a CPU build, say) its extension fails to load,
and importing it stops at the missing operator ``torchvision::nms``. No plugin needs that operator, so its signature
is declared here without an implementation. Where the extension loads, this does nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

# Kept referenced: the operators vanish with the library object.
_library: torch.library.Library | None = None


def ensure_importable() -> None:
    """Declare ``torchvision::nms`` and ``qnms`` if the compiled operators cannot be loaded. Idempotent."""
    global _library
    if _library is not None or hasattr(torch.ops.torchvision, "nms"):
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for extension in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(extension)
        except OSError:
            continue
        if hasattr(torch.ops.torchvision, "nms"):
            return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        _library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


ensure_importable()
