"""Modules whose buffers grow with the stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Growing(nn.Module):
    """A module whose buffers take the shapes of a state that is loaded into it, None included."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self._buffers:
            saved = state_dict.get(prefix + name)
            setattr(self, name, None if saved is None else torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *rest)
