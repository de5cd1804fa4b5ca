"""One method on one stream: the immersion in front, the learner behind it, fed piece by piece, evaluated at stops."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import re
from typing import Any

import torch
from torch import Tensor

from ndm_apps.plugins.base import RunContext
from ndm_apps.plugins.continual.front import Front, check_samples
from ndm_apps.plugins.continual.immersion.build import build
from ndm_apps.plugins.continual.immersion.settings import WithImmersion
from ndm_apps.plugins.continual.learners import build_learner
from ndm_apps.plugins.continual.model import NDMClassifier
from ndm_apps.plugins.continual.resident import experiences, online_experience
from ndm_apps.plugins.continual.shift.detector import ShiftDetector
from ndm_apps.plugins.continual.stream import Stream

_REMEMBERED = 768 * 2**20  # bytes of test features worth keeping; what needs more is computed at each evaluation
_PIECE = 512  # samples immersed at a time in an evaluation


class Session:
    """A learner on its way through a stream.

    The stream is immersed once, before the learner, in the same way for every method; the learner is made when the
    width of the features is known. Everything can be saved between two pieces and loaded into a fresh session.

    Parameters
    ----------
    settings
        Of the method.
    stream
        The stream, for its test sets and its number of classes.
    shown
        Whether the learner is handed whole experiences; else one mini-batch after the other.
    context
        Of the run.
    """

    def __init__(self, settings: WithImmersion, stream: Stream, *, shown: bool, context: RunContext) -> None:
        self.settings, self.stream, self.shown, self.context = settings, stream, shown, context
        self.front: Front | None = None
        if settings.immersion is not None and not settings.immerses_itself:
            self.front = Front(build(settings.immersion, seed=context.seed), classes=stream.classes).to(context.device)
        self.learner: Any = None  # no strategy yet
        self._fed = 0
        self._tests: list[tuple[Tensor, Tensor]] | None = None

    @property
    def detector(self) -> ShiftDetector | None:
        """The learner's shift detector, if it has one."""
        return getattr(self.learner, "detector", None)

    def feed(self, x: Tensor, y: Tensor) -> None:
        """Hand over the next piece of the stream: a mini-batch or, if boundaries are shown, an experience.

        Raises
        ------
        ValueError
            As :func:`~ndm_apps.plugins.continual.front.check_samples`; the learner has not seen the piece then.
        """
        if self.front is None:
            check_samples(x, y, shape=self.stream.shape, classes=self.stream.classes)
            self._teach((x, y))
        else:
            self._teach(self.front.admit(x.to(self.context.device), y))

    def settle(self) -> None:
        """Let the samples go that wait for the immersion, so that the learner has seen all of the stream so far."""
        if self.front is not None:
            self._teach(self.front.settle())

    def evaluate(self) -> list[float]:
        """Return the accuracy on each test set, as Avalanche's metric measures it."""
        self.settle()
        if self._tests is None:
            self._tests, taken = [], 0
            for number in range(len(self.stream.tests)):
                x, y = self.stream.tests[number]
                features = self._handed(x)
                taken += features.nbytes
                if taken > _REMEMBERED:
                    break
                self._tests.append((features, y))
        rest = (self.stream.tests[number] for number in range(len(self._tests), len(self.stream.tests)))
        known = self._accuracies(experiences("test", self._tests)) if self._tests else []
        return known + [self.accuracy(x, y) for x, y in rest]

    def rule_accuracies(self) -> dict[str, float] | None:
        """Return the mean accuracy of the other rules of combining read-outs; None if there is but one read-out."""
        model = getattr(self.learner, "model", None)
        if not isinstance(model, NDMClassifier) or model.readouts is None or model.readouts.single:
            return None
        found = {}
        for rule in ("shared", "hard"):
            model.rule = rule
            accuracies = self.evaluate()
            found[rule] = sum(accuracies) / len(accuracies)
        model.rule = "combined"
        return found

    def accuracy(self, x: Tensor, y: Tensor) -> float:
        """Return the accuracy on samples; before anything has been learnt, every one is taken for class 0."""
        if self.learner is None:
            return float((y == 0).float().mean())
        return self._accuracies(experiences("test", [(self._handed(x), y)]))[0]

    @torch.no_grad()
    def immerse(self, x: Tensor) -> Tensor:
        """Return the features of samples that are learnt and watched."""
        front = self.learner.model.front if self.settings.immerses_itself else self.front
        if front is None:
            return x
        return torch.cat([front(part.to(self.context.device)) for part in x.split(_PIECE)])

    def _handed(self, x: Tensor) -> Tensor:
        """Return what the learner is handed of samples."""
        return x if self.front is None else self.immerse(x)

    def _accuracies(self, tests: list[Any]) -> list[float]:
        measured = self.learner.eval(tests)
        accuracy = {}
        for name, value in measured.items():
            if found := re.fullmatch(r"Top1_Acc_Exp/eval_phase/.*Exp(\d+)", name):
                accuracy[int(found[1])] = float(value)
        return [accuracy[number] for number in range(len(tests))]

    def _teach(self, released: tuple[Tensor, Tensor] | None) -> None:
        if released is None:
            return
        x, y = released
        if self.learner is None:
            self._make_learner(x.shape[1:])
        size = len(x) if self.shown else self.stream.batch_size
        for part, labels in zip(x.split(size), y.split(size), strict=True):
            make = _experience if self.shown else online_experience
            self.learner.train(make(part, labels, self._fed), eval_streams=[], shuffle=False)
            self._fed += 1

    def _make_learner(self, shape: torch.Size) -> None:
        self.learner = build_learner(self.settings, shape, self.stream, self.context)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "front": None if self.front is None else self.front.state_dict(),
            "learner": None if self.learner is None else self.learner.state_dict(),
            "fed": self._fed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        if self.front is not None:
            self.front.load_state_dict(state["front"])
            self.front.to(self.context.device)
        if state["learner"] is not None:
            shape = torch.Size(self.stream.shape) if self.front is None else torch.Size([self.front.immersion.features])
            self._make_learner(shape)
            self.learner.load_state_dict(state["learner"])
        self._fed = state["fed"]


def _experience(x: Tensor, y: Tensor, number: int) -> Any:
    experience = experiences("train", [(x, y)])[0]
    experience.current_experience = number
    return experience
