"""The way in: samples become features, once enough of them have come to fix the immersion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.plugins.continual.immersion.base import Immersion


class Front(nn.Module):
    """An immersion, and the first samples of a stream, which wait until it can be fitted to them.

    Parameters
    ----------
    immersion
        Fitted to the first ``immersion.samples`` samples (a mini-batch more or less), then frozen.
    classes
        Labels from here on are refused; any label of at least 0 is welcome if not given.

    Examples
    --------
    >>> from ndm_apps.plugins.continual.immersion.lift import RandomLift
    >>> front = Front(RandomLift(2))
    >>> features, labels = front.admit(torch.randn(8, 3), torch.arange(8))
    >>> features.shape, front.waiting
    (torch.Size([8, 5]), 0)
    """

    def __init__(self, immersion: Immersion, *, classes: int | None = None) -> None:
        super().__init__()
        if classes is not None and classes < 1:
            raise ValueError(f"classes must be at least 1 or None, got {classes}")
        self.immersion, self.classes = immersion, classes
        self._held: list[tuple[Tensor, Tensor]] = []
        self._shape: tuple[int, ...] | None = None

    @property
    def fitted(self) -> bool:
        """Whether the immersion is fixed."""
        return self.immersion.fitted

    @property
    def waiting(self) -> int:
        """Number of samples held until it is."""
        return sum(len(x) for x, _ in self._held)

    @torch.no_grad()
    def admit(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """Take a mini-batch ``(batch, ...)`` with labels ``(batch,)``; return the features that are ready, with labels.

        Returns
        -------
        (Tensor, Tensor) or None
            Features ``(samples, features)`` and labels: of the mini-batch once the immersion is fixed, of everything so
            far when that happens, and None before.

        Raises
        ------
        ValueError
            As :func:`check_samples`. Nothing has been kept then.
        """
        return self._immersed(self.let_in(x, y))

    @torch.no_grad()
    def settle(self) -> tuple[Tensor, Tensor] | None:
        """Fix the immersion with the samples that wait, however few, and return their features and labels."""
        return self._immersed(self.let_go())

    def let_in(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
        """Do as :meth:`admit`, but return the samples themselves."""
        self.check(x, y)
        self._shape = tuple(x.shape[1:])
        if self.fitted:
            return x, y
        if len(x):
            self._held.append((x, y))
        return self.let_go() if self.waiting >= self.immersion.samples else None

    @torch.no_grad()
    def let_go(self) -> tuple[Tensor, Tensor] | None:
        """Do as :meth:`settle`, but return the samples themselves."""
        if not self._held:
            return None
        x, y = (torch.cat(column) for column in zip(*self._held, strict=True))
        self.immersion.fit(x)
        self._held.clear()
        return x, y

    def _immersed(self, samples: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor] | None:
        return None if samples is None else (self.immersion(samples[0]), samples[1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of samples ``(batch, ...)``."""
        return self.immersion(x)

    def check(self, x: Tensor, y: Tensor) -> None:
        """Do as :func:`check_samples`, by what is known of earlier samples."""
        check_samples(x, y, shape=self._shape, classes=self.classes)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no tensor buffer, for ``state_dict``."""
        return {"held": list(self._held), "shape": None if self._shape is None else list(self._shape)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self._held = [tuple(pair) for pair in state["held"]]
        self._shape = None if state["shape"] is None else tuple(state["shape"])


def check_samples(x: Tensor, y: Tensor, *, shape: tuple[int, ...] | None, classes: int | None) -> None:
    """Refuse a mini-batch ``(batch, ...)`` with labels ``(batch,)`` from which nothing can be learnt.

    Raises
    ------
    ValueError
        If samples are not floating-point numbers, one is not finite or they are not of the ``shape``; or if labels are
        not integers from 0 and below ``classes``, one for each sample.
    """
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(f"x: got {x.dtype} of shape {tuple(x.shape)}, must be floating-point (batch, features...)")
    if shape is not None and tuple(x.shape[1:]) != shape:
        raise ValueError(f"x: got samples of shape {tuple(x.shape[1:])}, earlier ones had {shape}")
    if y.shape != (len(x),) or y.is_floating_point() or y.dtype == torch.bool:
        raise ValueError(f"y: got {y.dtype} of shape {tuple(y.shape)}, must be integer labels of shape ({len(x)},)")
    if len(y) and y.min() < 0:
        raise ValueError(f"y: got label {int(y.min())}, labels must be at least 0")
    if len(y) and classes is not None and y.max() >= classes:
        raise ValueError(f"y: got label {int(y.max())}, labels must be below {classes}")
    finite = x.flatten(1).isfinite().all(1)
    if not finite.all():
        raise ValueError(f"x: sample {int((~finite).nonzero()[0])} of the mini-batch is not finite")
