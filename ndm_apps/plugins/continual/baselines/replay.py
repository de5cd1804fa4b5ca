"""Replay of stored exemplars: plain, with the asymmetric cross-entropy, and of logits (DER++)."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch.nn.functional import cross_entropy, mse_loss

from ndm_apps.plugins.continual.baselines.stores import Reservoir


class ReservoirReplay(SupervisedPlugin):
    """Join every mini-batch with exemplars from a reservoir: a uniform sample of all that was seen.

    Parameters
    ----------
    exemplars
        Size of the reservoir.
    replayed
        Exemplars drawn for each mini-batch.
    seed
        Seed of the reservoir and the draws.

    References
    ----------
    Chaudhry et al. 2019, "On tiny episodic memories in continual learning".
    """

    def __init__(self, exemplars: int, replayed: int, *, seed: int) -> None:
        super().__init__()
        self.replayed = replayed
        self.store = Reservoir(exemplars, seed=seed)
        self._fresh = 0

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Append replayed exemplars to the mini-batch."""
        self._fresh = len(strategy.mb_x)
        if len(self.store):
            x, y = self.store.draw(self.replayed)
            strategy.mbatch[0] = torch.cat([strategy.mb_x, x])
            strategy.mbatch[1] = torch.cat([strategy.mb_y, y])

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Offer the new samples to the reservoir."""
        self.store.add(strategy.mb_x[: self._fresh], strategy.mb_y[: self._fresh])

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return self.store.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.store.load_state_dict(state)


class ACEReplay(ReservoirReplay):
    r"""Replay under the asymmetric cross-entropy (ER-ACE).

    .. math:: L = H(y, f(x);\, C_x) + H(y', f(x');\, C)

    New samples :math:`x` are told apart among the classes :math:`C_x` of their own mini-batch only, replayed ones
    :math:`x'` among all: new classes do not push down the logits of old ones, which are not there to defend
    themselves. Avalanche's ``ER_ACE`` makes a loader of its store for every experience, which here is every mini-batch.

    Parameters
    ----------
    exemplars, replayed, seed
        As of :class:`ReservoirReplay`.

    References
    ----------
    Caccia et al. 2022, "New insights on reducing abrupt representation change in online continual learning".
    """

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Replace the loss."""
        new, old = strategy.mb_output[: self._fresh], strategy.mb_output[self._fresh :]
        y = strategy.mb_y[: self._fresh]
        absent = torch.ones(new.shape[1], dtype=torch.bool, device=new.device)
        absent[y] = False
        strategy.loss = cross_entropy(new.masked_fill(absent, -torch.inf), y)
        if len(old):
            strategy.loss = strategy.loss + cross_entropy(old, strategy.mb_y[self._fresh :])


class DarkReplay(SupervisedPlugin):
    r"""Replay of what the network answered when it saw an exemplar, and of its label (DER++).

    .. math:: L = H(y, f(x)) + \alpha \lVert f(x') - z' \rVert^2 / C + \beta\, H(y'', f(x''))

    with two draws :math:`(x', z'), (x'', y'')` from a reservoir that holds logits z beside samples and labels.
    Avalanche's ``DER`` makes a loader of its store for every experience, which here is every mini-batch; and its
    logits are those at the end of an experience, not those on arrival as in the paper.

    Parameters
    ----------
    exemplars, replayed, seed
        As of :class:`ReservoirReplay`; ``replayed`` exemplars are drawn for each of the two terms.
    alpha, beta
        Weights of the two terms.

    References
    ----------
    Buzzega et al. 2020, "Dark experience for general continual learning: a strong, simple baseline".
    """

    def __init__(self, exemplars: int, replayed: int, *, alpha: float, beta: float, seed: int) -> None:
        super().__init__()
        self.replayed, self.alpha, self.beta = replayed, alpha, beta
        self.store = Reservoir(exemplars, seed=seed)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the two terms."""
        if not len(self.store):
            return
        x, y, z = self.store.draw(2 * self.replayed)
        out = strategy.model(x)
        logits, labels = out[: self.replayed], out[self.replayed :]
        strategy.loss = strategy.loss + self.alpha * mse_loss(logits, z[: self.replayed])
        strategy.loss = strategy.loss + self.beta * cross_entropy(labels, y[self.replayed :])

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Offer the new samples, with the logits they had before the step."""
        self.store.add(strategy.mb_x, strategy.mb_y, strategy.mb_output)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return self.store.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.store.load_state_dict(state)
