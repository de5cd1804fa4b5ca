"""MLflow as a logger of Avalanche, for any strategy: ``EvaluationPlugin(..., loggers=[MLflowLogger()])``."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metric_results import AlternativeValues, TensorImage
from avalanche.logging import BaseLogger
from matplotlib.figure import Figure
from PIL.Image import Image, fromarray
from torch import Tensor

from ndm_apps.tracking import LiveRun, reason

SCALARS = (bool, int, float, str, torch.device)
FLUSH = 1000  # points kept back at most between two deliveries
_STATE = frozenset({"is_training"})  # what a strategy holds beside its hyperparameters


class MLflowLogger(BaseLogger, SupervisedPlugin):
    """Send the metrics of an Avalanche strategy to one MLflow run, a thousand a call.

    The run is made when the strategy starts, with its hyperparameters, those of its optimiser and of its plugins as
    parameters. Numbers become metrics under Avalanche's names with Avalanche's step; figures, images and matrices (a
    confusion matrix without an image) become artifacts (``figures/NAME-STEP.png`` or ``.csv``). Anything else (a
    histogram, text) is left out, and the first of each name is told. Points are delivered after each training
    experience and each evaluation, and every 1000; what could not be delivered is kept and sent with the next ones,
    and told once: a store that is gone never stops the training.

    The run ends with :meth:`close`, at the end of a ``with`` block, or when the program ends.

    Parameters
    ----------
    experiment
        MLflow experiment.
    name
        Name of the run; by default the strategy's class and the time.
    uri
        Tracking URI; by default ``MLFLOW_TRACKING_URI``, else ``results/mlflow.db`` in the working folder.
    params
        Parameters of your own beside those that are found.
    on_warning
        Called with one sentence if something is left out or late; by default `warnings.warn`.

    Examples
    --------
    >>> from avalanche.evaluation.metrics import accuracy_metrics
    >>> from avalanche.training.plugins import EvaluationPlugin
    >>> evaluator = EvaluationPlugin(accuracy_metrics(stream=True), loggers=[MLflowLogger("my streams")])
    """

    def __init__(
        self,
        experiment: str = "avalanche",
        name: str | None = None,
        *,
        uri: str | None = None,
        params: Mapping[str, Any] | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._delivery = _Delivery(experiment, name, uri, dict(params or {}), on_warning)
        # The strategy may outlive every reference to this logger but its own: the program's end ends the run.
        self._finalizer = weakref.finalize(self, self._delivery.close, None)

    @property
    def run_id(self) -> str | None:
        """Identifier of the MLflow run; None before the strategy has started."""
        return self._delivery.run.run_id if self._delivery.run is not None else None

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        """Take one value of a metric; see the class for what becomes of it."""
        if isinstance(value, AlternativeValues):
            value = value.best_supported_value(float, int, Figure, Image, TensorImage, Tensor)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, TensorImage):
            pixels = value.image.detach().cpu().mul(255).clamp(0, 255).byte()
            value = fromarray((pixels.movedim(0, -1).squeeze(-1) if pixels.ndim == 3 else pixels).numpy())
        if isinstance(value, (int, float)):
            self._delivery.points.append((name, float(value), int(1000 * time.time()), int(x_plot)))
        elif isinstance(value, (Figure, Image)) or (isinstance(value, Tensor) and value.ndim == 2):
            self._delivery.draw(name, value, int(x_plot))
        else:
            self._delivery.tell_once(name, f"MLflowLogger: {name} is left out: a {type(value).__name__} is no number")
        if len(self._delivery.points) >= FLUSH:
            self._delivery.flush()

    def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Start the run."""
        self._delivery.start(strategy)

    def before_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Start the run, if evaluation comes first."""
        self._delivery.start(strategy)

    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Deliver what there is."""
        self._delivery.flush()

    def after_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Deliver what there is."""
        self._delivery.flush()

    def close(self, status: str = "FINISHED") -> None:
        """Deliver what there is and end the run as ``"FINISHED"``, ``"FAILED"`` or ``"KILLED"``. Idempotent."""
        if self._finalizer.detach():
            self._delivery.close(status)

    def __enter__(self) -> MLflowLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED")


class _Delivery:
    """What an MLflowLogger has to send, and where; apart from it so that it can be closed when the logger is gone."""

    def __init__(
        self,
        experiment: str,
        name: str | None,
        uri: str | None,
        params: dict[str, Any],
        on_warning: Callable[[str], None] | None,
    ) -> None:
        self.experiment, self.name, self.uri = experiment, name, uri
        self.params, self.on_warning = params, on_warning
        self.run: LiveRun | None = None
        self.points: list[tuple[str, float, int, int]] = []
        self.pictures: list[Path] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._told: set[str] = set()
        self._started = False

    def start(self, strategy: Any) -> None:
        if not self._started:
            self._started = True
            self.name = self.name or f"{type(strategy).__name__}-{time.strftime('%Y%m%d-%H%M%S')}"
            self.params = {**hyperparameters(strategy), **self.params}
            self.flush()

    def draw(self, name: str, picture: Figure | Image | Tensor, step: int) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ndm-figures-")
        path = Path(self._folder.name) / f"{name.replace('/', '_')}-{step:06d}.png"
        if isinstance(picture, Figure):
            picture.savefig(path)
        elif isinstance(picture, Tensor):
            path = path.with_suffix(".csv")
            np.savetxt(path, picture.detach().cpu().numpy(), fmt="%g", delimiter=",")
        else:
            picture.save(path)
        self.pictures.append(path)

    def flush(self) -> None:
        if not self._started:
            return
        try:
            if self.run is None:
                self.run = LiveRun(self.experiment, str(self.name), uri=self.uri)
            if self.params:
                self.run.set_params(self.params)
                self.params = {}
            self.run.log(self.points)
            self.points = []
            while self.pictures:
                self.run.attach(self.pictures[0], "figures")
                self.pictures.pop(0).unlink()
        except Exception as error:  # whatever happens to the store, the training goes on
            self.tell_once("", f"MLflowLogger: MLflow has not got everything yet ({reason(error)})")

    def close(self, status: str | None) -> None:
        if status is None:  # the program ends: an uncaught exception has been left for the debugger by then
            status = "FAILED" if getattr(sys, "last_value", None) is not None else "FINISHED"
        self.flush()
        if self.run is not None:
            try:
                self.run.finish(status)
            except Exception as error:
                self.tell_once("", f"MLflowLogger: the run has not been ended ({reason(error)})")
        if self.points or self.pictures:
            lost = f"{len(self.points)} points and {len(self.pictures)} figures"
            self.tell_once("lost", f"MLflowLogger: {lost} never reached MLflow")
        if self._folder is not None:
            self._folder.cleanup()

    def tell_once(self, key: str, message: str) -> None:
        if key in self._told:
            return
        self._told.add(key)
        if self.on_warning is not None:
            self.on_warning(message)
        else:
            warnings.warn(message, RuntimeWarning, stacklevel=2)


def hyperparameters(strategy: Any) -> dict[str, Any]:
    """Return the hyperparameters of an Avalanche strategy as far as they can be told: plain public attributes.

    Those of the optimiser are its defaults, those of a plugin stand under its class; of the model, its class and the
    number of its weights.
    """
    found: dict[str, Any] = {"strategy": type(strategy).__name__, **_plain(strategy)}
    optimizer = getattr(strategy, "optimizer", None)
    if optimizer is not None:
        defaults = {name: value for name, value in optimizer.defaults.items() if isinstance(value, SCALARS)}
        found["optimizer"] = {"name": type(optimizer).__name__, **defaults}
    model = getattr(strategy, "model", None)
    if isinstance(model, torch.nn.Module):
        weights = sum(parameter.numel() for parameter in model.parameters())
        found["model"] = {"name": type(model).__name__, "weights": weights}
    criterion = getattr(strategy, "_criterion", None)
    if criterion is not None:
        found["criterion"] = getattr(criterion, "__name__", type(criterion).__name__)
    for plugin in getattr(strategy, "plugins", []):
        if plugin is not getattr(strategy, "evaluator", None):
            found.setdefault("plugins", {})[type(plugin).__name__] = _plain(plugin) or "used"
    return found


def _plain(thing: Any) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, torch.device) else value
        for name, value in vars(thing).items()
        if isinstance(value, SCALARS) and not name.startswith("_") and name not in _STATE
    }
