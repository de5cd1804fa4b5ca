"""What users plug in, by ``"module:name"``: their decoder, and their metric of the latent space."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.errors import InputError


def own_decoder(name: str, dimension: int, shape: tuple[int, ...]) -> nn.Module:
    """Return the user's decoder: a module made with ``dimension`` and ``shape``, tried on two points.

    It maps points of the latent space, ``(b, dimension)``, to ``(b, *shape)``: logits of the pixels of images, whose
    sigmoid the model takes, and vectors as they are.

    Raises
    ------
    InputError
        If there is no such class, it cannot be made, or what it returns has another shape or is not finite.
    """
    made = _called("model.decoder", name, found("model.decoder", name), dimension=dimension, shape=shape)
    if not isinstance(made, nn.Module):
        raise InputError(f"model.decoder: {name} makes a {type(made).__name__}, must make a torch.nn.Module")
    with torch.no_grad():
        _check("model.decoder", name, _called("model.decoder", name, made, torch.zeros(2, dimension)), (2, *shape))
    return made


def own_metric(name: str, dimension: int) -> Callable[[Tensor], Tensor]:
    """Return the user's metric of the latent space: a callable from (..., d) to (..., d, d), tried on two points.

    Raises
    ------
    InputError
        If there is no such callable, or what it returns has another shape, is not finite, or is not symmetric
        positive definite.
    """
    metric = found("metric.own", name)
    g = _called("metric.own", name, metric, torch.zeros(2, dimension))
    _check("metric.own", name, g, (2, dimension, dimension))
    if not torch.allclose(g, g.mT, atol=1e-5) or torch.linalg.cholesky_ex(g.detach()).info.any():
        raise InputError(f"metric.own: {name} returns a matrix that is not symmetric positive definite at 0")
    return metric


def found(key: str, name: str) -> Callable[..., Any]:
    """Return what ``"module:name"`` names, importable or lying in the current folder; ``key`` is for the message."""
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        value = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{key}: got {name!r}, which cannot be imported ({error})") from error
    finally:
        sys.path.remove(here)
    if not callable(value):
        raise InputError(f"{key}: got {name!r}, a {type(value).__name__}, must be callable")
    return value


def _called(key: str, name: str, value: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return value(*args, **kwargs)
    # The user's code can raise anything.
    except Exception as error:
        told = ", ".join(
            [*(f"a tensor of shape {tuple(a.shape)}" for a in args), *(f"{k}={v}" for k, v in kwargs.items())]
        )
        raise InputError(f"{key}: {name} fails when called with {told}: {str(error).splitlines()[0]}") from error


def _check(key: str, name: str, value: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor):
        raise InputError(f"{key}: {name} returns a {type(value).__name__}, must return a tensor of shape {shape}")
    if tuple(value.shape) != shape:
        raise InputError(f"{key}: {name} returns shape {tuple(value.shape)} for {shape[0]} points, must be {shape}")
    if not bool(torch.isfinite(value).all()):
        raise InputError(f"{key}: {name} returns values that are not finite at 0")
