"""iCaRL: exemplars by herding, distillation, and the nearest mean of exemplars; told where experiences end."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import copy
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, one_hot

from ndm_apps.plugins.continual.resident import resident_tensors, tensor_dataset


class NearestMean(nn.Module):
    """A network that is trained through its last layer and predicts by the nearest mean of its features.

    In training mode it returns the logits of the network; in evaluation mode minus the squared distances of the
    normalised features to the mean of each class, -inf where there is none.

    Parameters
    ----------
    network
        Layers in sequence, the last of them linear.
    classes
        Number of classes.
    """

    def __init__(self, network: nn.Sequential, classes: int) -> None:
        super().__init__()
        self.trunk, self.head = network[:-1], network[-1]
        self.register_buffer("means", self.head.weight.new_full((classes, self.head.in_features), torch.nan))

    def features(self, x: Tensor) -> Tensor:
        """Return features of length 1, ``(batch, features)``."""
        return normalize(self.trunk(x), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``."""
        if self.training:
            return self.head(self.trunk(x))
        # Both have length 1 but for the rounding, so the distance is 2 minus twice the product.
        return (2 * self.features(x) @ self.means.T - 2).nan_to_num(nan=-torch.inf)


def herd(features: Tensor, count: int) -> Tensor:
    """Return the indices of ``count`` rows, each chosen so that the mean of those so far is nearest to that of all.

    Parameters
    ----------
    features
        Rows ``(samples, features)``.
    count
        How many to choose, at most all.

    Examples
    --------
    >>> herd(torch.tensor([[0.0], [3.0], [1.0], [0.5]]), 2)
    tensor([2, 3])
    """
    mean, squares = features.mean(0), features.square().sum(1)
    total, chosen = torch.zeros_like(mean), []
    free = torch.zeros_like(squares)
    for number in range(1, min(count, len(features)) + 1):
        # |number * mean - total - row|^2, less what all rows share.
        row = int((squares - 2 * features @ (number * mean - total) + free).argmin())
        chosen.append(row)
        free[row] = torch.inf
        total = total + features[row]
    return torch.tensor(chosen, dtype=torch.long)


class Exemplars:
    """Samples of each class, the most telling first; the classes share the room evenly."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.by_class: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return sum(map(len, self.by_class.values()))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return all samples and their labels."""
        y = [torch.full((len(x),), label, device=x.device) for label, x in self.by_class.items()]
        return torch.cat(list(self.by_class.values())), torch.cat(y)


class Herding(SupervisedPlugin):
    r"""iCaRL's way to learn an experience, for a :class:`NearestMean`.

    The experience is joined by the exemplars and shuffled. With :math:`\sigma` the logistic function, targets of the
    binary cross-entropy are the labels for classes of this experience and the outputs :math:`\sigma(f_{t-1}(x))` of
    the network before it for older classes. At the end, exemplars are herded from the experience (and from earlier
    exemplars of classes that came back), and means are taken over exemplars.

    Avalanche's own asks the benchmark for its classes in order, so it needs an Avalanche benchmark in which no class
    comes back.

    Parameters
    ----------
    exemplars
        Exemplars kept in all.
    seed
        Seed of the shuffling.

    References
    ----------
    Rebuffi et al. 2017, "iCaRL: incremental classifier and representation learning"; Welling 2009, "Herding dynamical
    weights to learn".
    """

    def __init__(self, exemplars: int, *, seed: int) -> None:
        super().__init__()
        self.store = Exemplars(exemplars)
        self.generator = torch.Generator().manual_seed(seed)
        self._teacher: NearestMean | None = None
        self._old: Tensor | None = None

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Join the experience with the exemplars."""
        x, y = (column.to(strategy.device) for column in _arrays(strategy.adapted_dataset))
        if len(self.store):
            x, y = (torch.cat(pair) for pair in zip((x, y), self.store.tensors(), strict=True))
        order = torch.randperm(len(x), generator=self.generator)
        strategy.adapted_dataset = tensor_dataset(x[order], y[order])

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the network as it is, and which classes it must not forget."""
        now = set(strategy.experience.dataset.targets.uniques)
        self._old = torch.tensor(sorted(set(self.store.by_class) - now), dtype=torch.long, device=strategy.device)
        self._teacher = copy.deepcopy(strategy.model).train() if len(self._old) else None

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Replace the loss."""
        targets = one_hot(strategy.mb_y, strategy.mb_output.shape[1]).to(strategy.mb_output)
        if self._teacher is not None:
            with torch.no_grad():
                targets[:, self._old] = self._teacher(strategy.mb_x)[:, self._old].sigmoid()
        # A sum over classes, as a cross-entropy is.
        strategy.loss = binary_cross_entropy_with_logits(strategy.mb_output, targets, reduction="sum") / len(targets)

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Choose exemplars and take their means."""
        x, y = _arrays(strategy.experience.dataset)
        known = self.store.by_class
        new = set(y.tolist())
        share = max(1, self.store.capacity // len(new | set(known)))
        for label in sorted(new):
            candidates = torch.cat([x[y == label].to(strategy.device), *([known[label]] if label in known else [])])
            known[label] = candidates[herd(_features(strategy.model, candidates), share)]
        for label in known:
            known[label] = known[label][:share]
            strategy.model.means[label] = normalize(_features(strategy.model, known[label]).mean(0), dim=0)
        self._teacher = None

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        classes = list(self.store.by_class)
        return {
            "classes": classes,
            "exemplars": [self.store.by_class[label] for label in classes],
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.store.by_class = dict(zip(state["classes"], state["exemplars"], strict=True))
        self.generator.set_state(state["generator"])


def _arrays(dataset: Any) -> tuple[Tensor, Tensor]:
    tensors = resident_tensors(dataset)
    if tensors is None:
        raise ValueError("experience: its dataset must be tensors in memory; see resident.read_into_memory")
    return tensors[0], tensors[1]


def _features(model: NearestMean, x: Tensor) -> Tensor:
    return torch.cat([model.features(part) for part in x.split(512)])
