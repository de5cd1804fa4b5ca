"""What an immersion is: a map of samples to features, fixed by the first samples of a stream and frozen then."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Immersion(nn.Module):
    """Map samples to features; :meth:`fit` fixes everything, from then on the map never changes.

    Subclasses define ``_fit(x)``, which fills buffers registered as None, and ``_map(x)``. The state is saved by
    ``state_dict`` and loads into an instance that has not been fitted.

    Parameters
    ----------
    samples
        How many first samples :meth:`fit` wants. It takes more, and makes do with fewer.
    """

    input_shape: Tensor | None
    output_width: Tensor | None

    def __init__(self, samples: int) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.samples = samples
        self.register_buffer("input_shape", None)
        self.register_buffer("output_width", None)

    @property
    def fitted(self) -> bool:
        """Whether the first samples have been seen."""
        return self.output_width is not None

    @property
    def features(self) -> int:
        """Number of features; a ValueError before :meth:`fit`."""
        if self.output_width is None:
            raise ValueError("immersion: call fit first, nothing is known before the first samples")
        return int(self.output_width)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Fix the map from first samples ``(samples, ...)``.

        Raises
        ------
        ValueError
            If there are no samples, one is not finite, or their shape does not suit; nothing is fixed then.
        """
        if x.ndim < 2 or not x.numel() or not x.is_floating_point():
            raise ValueError(f"x: got {x.dtype} of shape {tuple(x.shape)}, must be floating-point (samples, ...)")
        _check_finite(x)
        self.input_shape = self.output_width = None
        self._fit(x)
        self.output_width = torch.tensor(self._map(x[:1]).shape[1], device=x.device)
        self.input_shape = torch.tensor(x.shape[1:], device=x.device)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map samples ``(batch, ...)`` to features ``(batch, features)``.

        Raises
        ------
        ValueError
            If :meth:`fit` has not been called, or the samples are not finite or have another shape than the first.
        """
        if self.input_shape is None:
            raise ValueError("immersion: call fit first, nothing is known before the first samples")
        # What torch.export traces must not look into the values.
        if not torch.compiler.is_exporting():
            shape = tuple(self.input_shape.tolist())
            if x.shape[1:] != shape:
                raise ValueError(f"x: got samples of shape {tuple(x.shape[1:])}, the first samples had {shape}")
            _check_finite(x)
        return self._map(x)

    def _fit(self, x: Tensor) -> None:
        raise NotImplementedError

    def _map(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Buffers take their sizes from the first samples: make room for the saved ones before they are copied.
        for name in self._buffers:
            saved = state_dict.get(prefix + name)
            setattr(self, name, None if saved is None else torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _check_finite(x: Tensor) -> None:
    finite = x.flatten(1).isfinite().all(1)
    if not finite.all():
        raise ValueError(f"x: sample {int((~finite).nonzero()[0])} of the mini-batch is not finite")
