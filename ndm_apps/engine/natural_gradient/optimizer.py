r"""Natural gradient: steps measured by a metric on parameters, pulled back from the model's outputs and layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndm_apps.engine.natural_gradient.forward_pass import ForwardPass, Watched
from ndm_apps.engine.natural_gradient.kronecker import KroneckerBlocks, LayerPass
from ndm_apps.engine.natural_gradient.observer import Observer
from ndm_apps.engine.natural_gradient.output_metric import MetricName, output_metric
from ndm_apps.engine.natural_gradient.products import Pullback, conjugate_gradient, flat, place, shaped
from ndm_apps.engine.natural_gradient.trust_region import QuadraticModel, damping_factor
from ndm_apps.engine.parallel import ALONE, Workers

__all__ = ["NaturalGradient"]

_Push = Callable[[list[Tensor]], Sequence[Tensor]]

# Of the damping at the start. A mini-batch agrees with a model of itself too easily: without the lower bound, damping
# goes to nothing, and steps to where other samples change the most.
_DAMPING_RANGE = (1e-4, 1e8)


class NaturalGradient(torch.optim.Optimizer):
    r"""Gradient descent preconditioned by a metric on parameters, in a trust region.

    The metric is the pull-back of one on the model's outputs f, and of those learned in the network on its layers' z:

    .. math:: G = E\Big[ J_f^\top H(f)\, J_f + w \sum_l J_{z_l}^\top g_l(z_l)\, J_{z_l} \Big],
        \qquad \Delta = -(G + \gamma)^{-1} \nabla L.

    ``"kfac"`` solves with Kronecker-factored blocks (see :class:`~.kronecker.KroneckerBlocks`), ``"cg"``
    with products only, by conjugate gradients that start from the last solution. The step is :math:`\eta\, \alpha
    \Delta`, where :math:`\alpha` minimises the quadratic model :math:`\nabla L \cdot \delta + \delta^\top (G + \gamma)
    \delta / 2` on the mini-batch along :math:`\Delta`, with G itself and not its blocks (one forward pass, for
    :math:`J \Delta` by a difference). One more forward pass tells by how much the loss has really changed, without
    the targets: for outputs that are natural parameters of the likelihood,

    .. math:: L(f + \Delta f) - L(f) = \nabla_f L \cdot \Delta f + E\, \mathrm{KL}(p_f \| p_{f + \Delta f}).

    The damping :math:`\gamma` falls where the quadratic model was good, but not below 1e-4 of its start, and
    rises where it was not (Levenberg and Marquardt); a step that raises the mini-batch's loss is taken back.

    It is a drop-in optimiser: hooks observe the forward passes of the model in training mode, one for each step; copies
    of the model do not inherit them. The loss is the mean over the batch of the negative log-likelihood that ``metric``
    names (half the squared distance for ``"gaussian"``, ``cross_entropy`` for ``"categorical"``), with any further
    terms. Parameters that the values do not depend on, such as those of the metrics themselves, take the steps of Adam;
    with ``"kfac"``, those outside :class:`torch.nn.Linear`, and in subclasses of it, have a diagonal block.

    Parameters
    ----------
    model
        The module whose parameters are trained. It returns its outputs, (batch, ..., o), or a tuple that starts with
        them; ``"cg"`` differentiates it twice. Layers that draw from torch's generators draw the same in each of the
        passes above, and buffers such as running means are left alone.
    lr
        :math:`\eta`: 1 goes to the minimum of the quadratic model, less is better where mini-batches are small.
    params
        Parameters or groups of them, as of any optimiser; a group has its own ``lr``, ``damping`` and ``momentum``.
        All of the model's if not given.
    method
        ``"kfac"``, or ``"cg"``, whose metric is exact on the mini-batch and whose steps cost more.
    metric
        On the outputs: ``"gaussian"``, ``"categorical"``, or a function f -> H(f), (..., o) -> (..., o, o).
    learned
        :math:`w \ge 0`. If positive, the model returns (outputs, geometries), as an :class:`~ndm_apps.engine.NDM` does.
    momentum
        Weight of the last direction in the next one, in [0, 1).
    damping
        :math:`\gamma` at the start; 0 stays 0.
    samples
        Random cotangents for each observation of the Kronecker factors, one backward pass each; None for exact ones, at
        one backward pass per output.
    decay
        Weight of the past in the moving averages of the Kronecker factors, in [0, 1).
    every, refresh
        One forward pass in ``every`` is observed, and one observation in ``refresh`` (more at first) decomposes.
    iterations, tolerance
        At most so many conjugate-gradient iterations, fewer where the relative residual is this small.
    fallback
        Step size of Adam for parameters without a metric.
    generator
        Source of random signs, on the model's device; one of its own with seed 0 if not given.
    workers
        The processes that share each mini-batch. Gradients are averaged over them before :meth:`step`; the metric, the
        quadratic model and what a step has really changed are averaged by it.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113, eq. 6.
    Amari, "Natural gradient works efficiently in learning", Neural Computation 10, 1998.
    Martens, "Deep learning via Hessian-free optimization", ICML 2010.
    Martens and Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature", 2015,
    arXiv:1503.05671.

    Examples
    --------
    One step solves linear regression:

    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(50, 3)
    >>> y = x @ torch.tensor([[1.0], [2.0], [3.0]]) - 1
    >>> model = nn.Linear(3, 1)
    >>> optimiser = NaturalGradient(model, lr=1.0, damping=0.0)
    >>> loss = (model(x) - y).square().sum(-1).mean() / 2
    >>> loss.backward()
    >>> optimiser.step()
    >>> model.weight.detach().round(decimals=3).tolist(), round(model.bias.item(), 3)
    ([[1.0, 2.0, 3.0]], -1.0)
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 0.5,
        *,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | None = None,
        method: Literal["kfac", "cg"] = "kfac",
        metric: MetricName | Callable[[Tensor], Tensor] = "gaussian",
        learned: float = 0.0,
        momentum: float = 0.5,
        damping: float = 0.1,
        samples: int | None = 1,
        decay: float = 0.8,
        refresh: int = 5,
        every: int = 4,
        iterations: int = 20,
        tolerance: float = 1e-2,
        fallback: float = 1e-3,
        generator: torch.Generator | None = None,
        workers: Workers = ALONE,
    ) -> None:
        for name, value, good, allowed in (
            ("lr", lr, 0 <= lr < math.inf, "finite and not negative"),
            ("method", method, method in ("kfac", "cg"), "'kfac' or 'cg'"),
            ("learned", learned, 0 <= learned < math.inf, "finite and not negative"),
            ("momentum", momentum, 0 <= momentum < 1, "in [0, 1)"),
            ("damping", damping, 0 <= damping < math.inf, "finite and not negative"),
            ("samples", samples, samples is None or samples >= 1, "at least 1 or None"),
            ("decay", decay, 0 <= decay < 1, "in [0, 1)"),
            ("refresh", refresh, refresh >= 1, "at least 1"),
            ("every", every, every >= 1, "at least 1"),
            ("iterations", iterations, iterations >= 1, "at least 1"),
            ("tolerance", tolerance, 0 <= tolerance < 1, "in [0, 1)"),
            ("fallback", fallback, 0 <= fallback < math.inf, "finite and not negative"),
        ):
            if not good:
                raise ValueError(f"{name} must be {allowed}, got {value!r}")
        self._watched = Watched(model, output_metric(metric), learned)
        super().__init__(
            model.parameters() if params is None else params, {"lr": lr, "momentum": momentum, "damping": damping}
        )
        self._method, self._every = method, every
        self._iterations, self._tolerance, self._fallback = iterations, tolerance, fallback
        self._device = next(model.parameters()).device
        self._generator = generator or torch.Generator(self._device).manual_seed(0)
        self._workers = workers
        self._blocks = KroneckerBlocks(
            model, samples=samples, decay=decay, refresh=refresh, generator=self._generator, workers=workers
        )
        self._observer = Observer(self._watched, self._blocks.layers if method == "kfac" else (), self._learn)
        self._seen, self._length = 0, 1.0
        self._kept: dict[str, Tensor] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters of the model, as of any optimiser."""
        super().add_param_group({"first_damping": param_group.get("damping", self.defaults["damping"]), **param_group})

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("NaturalGradient belongs to its model: copy or save what state_dict() returns")

    def detach(self) -> None:
        """Take the hooks off the model; the optimiser observes nothing any more."""
        self._observer.detach()

    def factors(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Return the Kronecker factors A and G of a layer's block, with the bias as the last input.

        Raises
        ------
        ValueError
            If no forward pass through the layer has been observed.
        """
        block = self._blocks.layers.get(layer)
        if block is None or not block.observed:
            raise ValueError("layer must be a linear layer of the model that an observed output depends on")
        return block.state["A"], block.state["G"]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: moving averages, damping, momentum, and the generator of signs."""
        own = {"blocks": self._blocks.state_dict(), "generator": self._generator.get_state()}
        return {**super().state_dict(), **own, "forward_passes": self._seen, "length": self._length, "kept": self._kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of an optimiser of the same model."""
        super().load_state_dict({name: state_dict[name] for name in ("state", "param_groups")})
        self._blocks.load_state_dict(state_dict["blocks"])
        self._generator.set_state(state_dict["generator"].cpu())
        self._seen, self._length = state_dict["forward_passes"], state_dict["length"]
        self._kept = {name: value.to(self._device, copy=True) for name, value in state_dict["kept"].items()}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step; ``closure``, if given, evaluates the loss anew, with its gradients, and returns it.

        Raises
        ------
        RuntimeError
            If there was no forward pass of the model, in training mode and with gradients, since the last step.
        ValueError
            If a gradient is not finite.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        forward = self._observer.take()
        if forward is None:
            raise RuntimeError("step() goes with a forward pass of the model in training mode, there was none")
        groups = {p: group for group in self.param_groups for p in group["params"] if p.grad is not None}
        with self._observer.paused():
            reached, direction, push = self._direction(forward, groups)
            if direction is not None:
                self._move(forward, reached, direction, push, [groups[p] for p in reached])
        for p in groups.keys() - set(reached):
            self._adam(p)
        return loss

    def _direction(
        self, forward: ForwardPass, groups: dict[Tensor, dict[str, Any]]
    ) -> tuple[list[Tensor], Tensor | None, _Push]:
        """Return what the values depend on, (G + damping)^-1 times its gradient, and the function v -> J v."""
        if self._method == "kfac":
            gradients = {p: p.grad for p in groups if p.grad is not None}
            solved = self._blocks.solve(gradients, {p: group["damping"] for p, group in groups.items()})
            reached = list(solved)
            direction = flat(solved.values()) if solved else None
            return reached, direction, lambda v: forward.push(reached, v, self._length)
        with torch.enable_grad():
            pullback = Pullback(self._watched.values(forward.again()), list(groups))
        reached = pullback.parameters
        gradient = flat(p.grad for p in reached)
        damping = _spread([groups[p]["damping"] for p in reached], reached)
        solution = conjugate_gradient(
            lambda v: self._mean(flat(pullback.product(shaped(v, reached)))) + damping * v,
            gradient,
            self._recall("solution", gradient),
            iterations=self._iterations,
            tolerance=self._tolerance,
        )
        self._kept["solution"] = solution
        return reached, solution, pullback.push

    def _move(
        self,
        forward: ForwardPass,
        parameters: list[Tensor],
        direction: Tensor,
        push: _Push,
        groups: Sequence[dict[str, Any]],
    ) -> None:
        """Step to where the quadratic model has its minimum along the direction, and judge it by what happens."""
        rates, momenta = [group["lr"] for group in groups], [group["momentum"] for group in groups]
        if any(momenta):
            kept = self._recall("direction", direction)
            direction = self._kept["direction"] = direction + _spread(momenta, parameters) * kept
        rate = max(rates)
        if min(rates) < rate:
            direction = direction * _spread([r / rate for r in rates], parameters)
        start = flat(parameters)
        try:
            model = self._quadratic_model(forward, parameters, direction, push, groups)
            t = rate * model.minimum
            place(parameters, torch.sub(start, direction, alpha=t))
            ratio = model.reduction_ratio(t, self._mean(forward.loss_change()).item())
        except BaseException:
            place(parameters, start)
            self._kept.clear()
            raise
        if t == 0:
            self._kept.clear()
            return
        if ratio > 0:
            self._length = t
        else:
            place(parameters, start)
            self._kept.clear()  # it led astray
        for group in self.param_groups:
            least, most = (bound * group["first_damping"] for bound in _DAMPING_RANGE)
            group["damping"] = min(max(group["damping"] * damping_factor(ratio), least), most)

    def _mean(self, own: Tensor) -> Tensor:
        """Return the mean over the processes of what each computed from its share."""
        self._workers.average([own])
        return own

    def _recall(self, name: str, like: Tensor) -> Tensor:
        kept = self._kept.get(name)
        return torch.zeros_like(like) if kept is None or kept.shape != like.shape else kept

    def _quadratic_model(
        self,
        forward: ForwardPass,
        parameters: list[Tensor],
        direction: Tensor,
        push: _Push,
        groups: Sequence[dict[str, Any]],
    ) -> QuadraticModel:
        """Return the model of the loss along the direction."""
        decline = direction.dot(flat(p.grad for p in parameters))
        damping = direction.dot(_spread([group["damping"] for group in groups], parameters) * direction)
        pushed = push(shaped(direction, parameters))
        lengths = [
            (metric.product(value, v) * v).sum() / len(value)
            for (value, metric), v in zip(forward.values, pushed, strict=True)
        ]
        reach = (forward.slope * pushed[0]).sum()
        model = QuadraticModel(*self._mean(torch.stack([decline, lengths[0], sum(lengths, damping), reach])).tolist())
        if not math.isfinite(model.decline):
            named = [(name, p.grad) for name, p in self._watched.model.named_parameters() if p.grad is not None]
            bad = [name for name, gradient in named if not gradient.isfinite().all()]
            raise ValueError(f"gradients must be finite, got others for {bad}" if bad else "the step is not finite")
        return model

    def _adam(self, parameter: Tensor) -> None:
        """Make a step of Adam, for a parameter that no metric measures."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        state["steps"] = state.get("steps", 0) + 1
        mean = state.setdefault("mean", torch.zeros_like(parameter)).lerp_(gradient, 0.1)
        square = state.setdefault("square", torch.zeros_like(parameter)).lerp_(gradient.square(), 0.001)
        scale = (square / (1 - 0.999 ** state["steps"])).sqrt_().add_(1e-8)
        parameter.addcdiv_(mean, scale, value=-self._fallback / (1 - 0.9 ** state["steps"]))

    def _learn(self, passes: Sequence[LayerPass], result: Any) -> None:
        """Observe what a forward pass tells about the blocks, once in so many."""
        if self._method == "kfac" and self._seen % self._every == 0:
            with torch.no_grad():
                self._blocks.observe(passes, self._watched.values(result))
        self._seen += 1


def _spread(values: Sequence[float], parameters: Sequence[Tensor]) -> float | Tensor:
    """Return a number for each parameter as one number if they are equal, else as a vector over all entries."""
    if len(set(values)) == 1:
        return values[0]
    return torch.cat([p.new_full((p.numel(),), value) for p, value in zip(parameters, values, strict=True)])
