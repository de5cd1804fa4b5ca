r"""Mixed precision where it is safe, and compiled forward passes.

Products of matrices in a network's forward pass may be made in bfloat16, which has float32's range, so that no gradient
is lost to underflow. Three things may not, and are kept in full precision here or refused by who trains:

- Geometry. Curvature takes second derivatives of the metric: differences of nearly equal numbers. It is evaluated in
  full precision, at the points as the forward pass has rounded them.
- The natural gradient. Its trust region compares losses before and after a step, and :math:`J v` is a difference of
  two forward passes: both drown in bfloat16's three digits.
- Inverses of coordinate maps and :math:`\log |\det J|`. A trained network is evaluated outside of mixed precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ndm_apps.engine.layer import Geometry

__all__ = ["compiled", "in_full_precision", "mixed_precision"]


def mixed_precision(device: torch.device, *, enabled: bool = True) -> AbstractContextManager[Any]:
    """Return the context in which products of matrices are made in bfloat16 on a device.

    Examples
    --------
    >>> with mixed_precision(torch.device("cpu")):
    ...     nn.Linear(2, 2)(torch.zeros(1, 2)).dtype
    torch.bfloat16
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def in_full_precision(geometries: Sequence[Geometry], dtype: torch.dtype) -> list[Geometry]:
    """Return geometries that a pass in mixed precision left in the precision of the parameters.

    Gradients flow back into that pass.
    """
    return [
        replace(
            geometry,
            point=geometry.point.to(dtype),
            log_abs_det=geometry.log_abs_det.to(dtype),
            origin=None if geometry.origin is None else geometry.origin.to(dtype),
        )
        for geometry in geometries
    ]


def compiled(module: nn.Module) -> Callable[..., Any]:
    """Return a module's forward pass compiled by ``torch.compile``; where that fails, the module, with one warning.

    The module keeps its parameters: it is saved and evaluated as before.
    """
    forward: Callable[..., Any] = torch.compile(module)

    def call(*arguments: Any) -> Any:
        nonlocal forward
        if forward is module:
            return module(*arguments)
        try:
            return forward(*arguments)
        except Exception as error:
            # Whatever compilers and generated code raise; if the fault is the module's own, it is raised again below.
            result = module(*arguments)
            reason = " ".join(str(error).split())[:200]
            warnings.warn(
                f"torch.compile failed ({type(error).__name__}: {reason}); going on without",
                RuntimeWarning,
                stacklevel=2,
            )
            forward = module
            return result

    return call
