"""Shift detection on curvature: conformal p-values per chart component, martingales, quarantine, chart growth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.engine import Atlas
from ndm_apps.plugins.continual.shift.components import Component, WatchingChart

# Exponents of the power martingales. Their wealths stay separate and are averaged: averaging the bets instead loses
# evidence that is weak but steady.
_POWERS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
_SUSPICION = 2.0  # wealth above which samples wait in quarantine instead of being learnt
_QUARANTINE = 256  # most samples held at a time
_FOREIGN = 0.1  # p-value below which a sample is foreign to every known component
_PIECE = 16  # samples taken at a time
# A new chart is given up if a smaller share of its burn-in was foreign; of an old distribution about 0.1 is.
_PROBATION = 0.25
_PATIENCE = 2  # times the samples its components need: how long tests wait for a new chart to form
# A component with a smaller share of its chart is not waited for: so few foreign samples do not build up wealth.
_NEGLIGIBLE = 0.05


class ShiftDetector(nn.Module):
    r"""Detect changes of a stream's distribution, sample by sample, and grow a chart for each.

    Each chart of the atlas holds one Gaussian component per label in a fixed linear embedding. For a new sample every
    component c gives a curvature statistic (:class:`~ndm_apps.plugins.continual.shift.components.Component`) and its
    conformal p-value :math:`p_c` among the component's own past scores. :math:`p = \max_c p_c` is super-uniform under
    any mixture of known components, imbalance and recurrence included. Six power martingales bet against it,

    .. math:: M_j \leftarrow \max(M_j, 1)\, \kappa_j\, p^{\kappa_j - 1},

    and an alarm is raised when their mean reaches ``threshold``: with valid independent p-values, on average at most
    one false alarm per ``threshold`` samples tested. Samples under suspicion wait in quarantine and are learnt once the
    suspicion clears; at an alarm the foreign ones among them found a new chart. A chart whose burn-in turns out not to
    be foreign is given up again. The p-value of a sample does not depend on its own label: labels name the components
    in which samples are learnt, and may be left out.

    Parameters
    ----------
    dimension
        Chart dimension d: principal components of the first samples (fewer if the samples have fewer features).
    warmup
        Samples that fix the embedding. They are held in memory until then; later, at most 257 embedded ones are, while
        a shift is suspected.
    threshold
        Wealth at which an alarm is raised.
    calibration, arm_scores, arm_samples
        Past scores kept per component; how many it needs before it is tested against; how many samples it must have
        learnt before it records any.
    burn_in
        Samples after an alarm that train the new chart before testing resumes.
    seed
        Seed of the tie-breaking of p-values.

    Attributes
    ----------
    alarms
        Sample indices at which an alarm was raised.
    samples_seen, samples_tested
        How many samples came in, and how many of them were tested (none are while a chart forms).
    drift_detected
        Whether the last :meth:`update` raised one.
    wealth, peak_wealth
        Mean wealth after the last sample, and its peak within the last :meth:`update`.
    atlas
        The charts.

    References
    ----------
    Vovk, Gammerman and Shafer 2005 (conformal martingales); Shin, Ramdas and Rinaldo 2023, arXiv:2203.03532
    (e-detectors and their average run length); Hyvarinen 2005 (the score that the scaled curvature is).

    Examples
    --------
    >>> import torch
    >>> noise = torch.Generator().manual_seed(0)
    >>> detector = ShiftDetector(dimension=4)
    >>> for batch in torch.randn(20, 32, 8, generator=noise):
    ...     _ = detector.update(batch)
    >>> detector.alarms
    []
    >>> detector.update(torch.randn(32, 8, generator=noise) + 3)
    True
    """

    def __init__(
        self,
        dimension: int = 24,
        *,
        warmup: int = 64,
        threshold: float = 1e4,
        calibration: int = 200,
        arm_scores: int = 40,
        arm_samples: int = 60,
        burn_in: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, low in (
            ("dimension", dimension, 1),
            ("warmup", warmup, 2),
            ("calibration", calibration, arm_scores),
            ("arm_scores", arm_scores, 1),
            ("arm_samples", arm_samples, 1),
            ("burn_in", burn_in, 1),
        ):
            if value < low:
                raise ValueError(f"{name}: got {value}, must be at least {low}")
        if not threshold > 1:
            raise ValueError(f"threshold: got {threshold}, must be greater than 1")
        self.dimension, self.warmup, self.threshold = dimension, warmup, threshold
        self.calibration, self.arm_scores, self.arm_samples = calibration, arm_scores, arm_samples
        self.burn_in = burn_in
        self.atlas = Atlas()
        self.alarms: list[int] = []
        self.drift_detected = False
        self.peak_wealth = 1.0
        self.samples_seen = 0
        self.samples_tested = 0
        self._burning = self._foreign = self._patience = 0
        self._founders: list[int] = []
        self._ties = torch.Generator().manual_seed(seed)
        self._wealths = [1.0] * len(_POWERS)
        self.register_buffer("_centre", None)
        self.register_buffer("_axes", None)
        self.register_buffer("_prior", None)
        # Samples waiting: raw ones before the embedding is fixed; embedded ones, with p-values, in quarantine.
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._quarantine: list[tuple[Tensor, Tensor, int, float]] = []
        self._cleared: list[tuple[Tensor, Tensor, int, float]] = []

    @property
    def wealth(self) -> float:
        """Mean wealth of the martingales."""
        return sum(self._wealths) / len(self._wealths)

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor | None = None) -> bool:
        """Test samples ``(batch, ...)`` in order, then learn them.

        Parameters
        ----------
        x
            Samples; trailing dimensions are flattened.
        labels
            Integers ``(batch,)`` that name the components, or None for one component per chart.

        Returns
        -------
        bool
            Whether an alarm was raised within the batch; :attr:`alarms` tells where.

        Raises
        ------
        ValueError
            If a sample is not finite, or the number of features or labels is wrong.
        """
        x, labels = self._checked(x, labels)
        before = len(self.alarms)
        self.peak_wealth = self.wealth
        if self._centre is None and len(x):
            room = self.warmup - sum(len(held) for held, _ in self._waiting)
            self._warm_up(x[:room], labels[:room])
            x, labels = x[room:], labels[room:]
        if len(x):
            # What is known, and whether to test, changes between pieces only: keep them short.
            for part, names in zip(x.split(_PIECE), labels.split(_PIECE), strict=True):
                self._test_and_learn(*self._embed(part), names)
                self.samples_seen += len(part)
        self.drift_detected = len(self.alarms) > before
        return self.drift_detected

    @torch.no_grad()
    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return chart coordinates ``(batch, d)`` and squared distances from their subspace, ``(batch,)``.

        Raises
        ------
        ValueError
            Before the embedding is fixed, and for wrong samples.
        """
        if self._centre is None:
            raise ValueError(f"embed: the embedding is fixed after {self.warmup} samples, {self.samples_seen} seen")
        return self._embed(self._checked(x, None)[0])

    @torch.no_grad()
    def chart_curvature(self, number: int, z: Tensor, r: Tensor) -> Tensor:
        """Return the curvature statistic of embedded samples in the component of a chart where it is least."""
        return torch.stack([component.curvature(z, r) for component in self.atlas.charts[number].components]).amin(0)

    def _checked(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        if x.ndim < 2:
            raise ValueError(f"x: got shape {tuple(x.shape)}, must be (batch, features...)")
        x = x.detach().cpu().flatten(1)
        earlier = self._centre if self._centre is not None else (self._waiting[0][0][0] if self._waiting else None)
        if earlier is not None and x.shape[1] != len(earlier):
            raise ValueError(f"x: got {x.shape[1]} features per sample, earlier samples had {len(earlier)}")
        x = x.to(earlier.dtype if earlier is not None else torch.float64 if x.dtype == torch.float64 else torch.float32)
        finite = x.isfinite().all(1)
        if not finite.all():
            raise ValueError(f"x: sample {int((~finite).nonzero()[0])} of the batch is not finite")
        labels = torch.zeros(len(x), dtype=torch.long) if labels is None else labels
        if labels.shape != (len(x),) or labels.is_floating_point():
            raise ValueError(
                f"labels: got {labels.dtype} of shape {tuple(labels.shape)}, must be integers of shape ({len(x)},)"
            )
        return x, labels.cpu()

    def _warm_up(self, x: Tensor, labels: Tensor) -> None:
        self._waiting.append((x, labels))
        self.samples_seen += len(x)
        if sum(len(held) for held, _ in self._waiting) < self.warmup:
            return
        x, labels = (torch.cat(column) for column in zip(*self._waiting, strict=True))
        self._waiting.clear()
        self._centre = x.mean(0)
        centred = x - self._centre
        _, _, axes = torch.linalg.svd(centred, full_matrices=False)
        self._axes = axes[: min(self.dimension, len(axes))].T.contiguous()
        z, r = self._embed(x)
        # In principal coordinates the covariance is diagonal. Directions without any variance (constant features, fewer
        # samples than dimensions) still need some.
        variance = z.var(0)
        floor = 1e-3 * variance.mean().clamp(min=torch.finfo(x.dtype).eps)
        self._prior = torch.diag(variance + floor)
        self.atlas.grow(self._new_chart())
        self._learn(z, r, labels, torch.zeros(len(z), dtype=torch.long), record=False)
        self._begin_forming()

    def _embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return chart coordinates ``(batch, d)`` and squared distance from their subspace ``(batch,)``."""
        centred = x - self._centre
        z = centred @ self._axes
        return z, (centred.square().sum(1) - z.square().sum(1)).clamp(min=0)

    def _new_chart(self) -> WatchingChart:
        return WatchingChart(self._prior, calibration=self.calibration)

    def _components(self) -> list[Component]:
        return [component for chart in self.atlas.charts for component in chart.components]

    def _armed(self, component: Component) -> bool:
        return len(component.scores) >= self.arm_scores

    def _begin_forming(self) -> None:
        """Wait for the components that the newest chart has now, but not for ever."""
        self._founders = list(self.atlas.charts[-1].labels)
        self._patience = _PATIENCE * len(self._founders) * (self.arm_samples + self.arm_scores)

    def _forming(self) -> bool:
        """Whether the newest chart has components to arm first: till then its own samples would look foreign."""
        if self._burning or self._patience <= 0:
            return self._burning > 0
        newest = self.atlas.charts[-1]
        enough = _NEGLIGIBLE * sum(component.count for component in newest.components)
        founding = [newest.component(label) for label in self._founders if label in newest.labels]
        return any(not self._armed(component) and component.count > enough for component in founding)

    def _test_and_learn(self, z: Tensor, r: Tensor, labels: Tensor) -> None:
        armed = [component for component in self._components() if self._armed(component)]
        testing = bool(armed) and not self._forming()
        self._patience -= len(z)
        p = torch.zeros(len(z), dtype=torch.float64)
        if armed:
            ties = torch.rand(len(z), len(armed), generator=self._ties, dtype=torch.float64)
            scores = (component.curvature(z, r).double() for component in armed)
            p = torch.stack([c.p_value(s, t) for c, s, t in zip(armed, scores, ties.T, strict=True)]).amax(0)
        home = self._homes(z, labels)
        learnt, burnt, burnt_in = [], [], False
        for i, p_i in enumerate(p.tolist()):
            if self._burning:
                # The new chart takes what is foreign to the old ones, and what it explains better.
                if p_i < _FOREIGN:
                    home[i] = len(self.atlas.charts) - 1
                    self._foreign += 1
                burnt.append(i)
                self._burning -= 1
                burnt_in = not self._burning
            elif testing and not burnt_in:
                self.samples_tested += 1
                self._bet(max(p_i, 1e-12))
                self.peak_wealth = max(self.peak_wealth, self.wealth)
                self._quarantine.append((z[i], r[i], int(labels[i]), p_i))
                if self.wealth >= self.threshold:
                    self._alarm(self.samples_seen + i)
                    home = self._homes(z, labels)  # the new chart may know some of the labels now
                elif max(self._wealths) <= _SUSPICION or len(self._quarantine) > _QUARANTINE:
                    self._cleared += self._quarantine
                    self._quarantine = []
            else:
                learnt.append(i)
        if self._cleared:
            z_c, r_c, labels_c, _ = self._stacked(self._cleared)
            self._learn(z_c, r_c, labels_c, self._homes(z_c, labels_c), record=True)
            self._cleared = []
        for chosen, record in ((learnt, True), (burnt, False)):
            if chosen:
                self._learn(z[chosen], r[chosen], labels[chosen], home[chosen], record=record)
        if burnt_in:
            self._end_burn_in()

    def _end_burn_in(self) -> None:
        """Keep the new chart if what followed its alarm was foreign indeed; else it was a few outliers."""
        if self._foreign < _PROBATION * self.burn_in:
            self.atlas.remove(len(self.atlas.charts) - 1)
            self._patience = 0
        else:
            self._begin_forming()

    def _bet(self, p: float) -> None:
        self._wealths = [max(m, 1.0) * k * p ** (k - 1) for m, k in zip(self._wealths, _POWERS, strict=True)]

    def _homes(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the chart in which each sample is learnt: among those that know its label, the one of least energy.

        A label that no chart knows is learnt in the newest one.
        """
        homes = torch.full((len(z),), len(self.atlas.charts) - 1)
        for label in labels.unique().tolist():
            here = labels == label
            knowing = [number for number, chart in enumerate(self.atlas.charts) if label in chart.labels]
            if knowing:
                energies = [self.atlas.charts[number].component(label).chart.energy(z[here]) for number in knowing]
                homes[here] = torch.tensor(knowing)[torch.stack(energies).argmin(0)]
        return homes

    def _alarm(self, position: int) -> None:
        """Grow a chart from the samples in quarantine that are foreign, or of a label no settled component has."""
        self.alarms.append(position)
        z, r, labels, p = self._stacked(self._quarantine)
        self._quarantine = []
        settled = {
            label
            for chart in self.atlas.charts
            for label, component in zip(chart.labels, chart.components, strict=True)
            if self._armed(component)
        }
        new = (p < _FOREIGN) | torch.tensor([label not in settled for label in labels.tolist()])
        home = self._homes(z, labels)
        newest = self._new_chart()
        # Samples of the new distribution that slipped into an old chart before suspicion rose move over.
        for chart in self.atlas.charts:
            for label in labels[new].unique().tolist():
                if label in chart.labels and label not in settled:
                    newest.absorb(label, chart.give_up(label))
        home[new] = self.atlas.grow(newest)
        self._wealths = [1.0] * len(_POWERS)
        self._burning, self._foreign = self.burn_in, 0
        self._learn(z, r, labels, home, record=False)

    @staticmethod
    def _stacked(held: list[tuple[Tensor, Tensor, int, float]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        z, r, labels, p = zip(*held, strict=True)
        return torch.stack(z), torch.stack(r), torch.tensor(labels), torch.tensor(p)

    def _learn(self, z: Tensor, r: Tensor, labels: Tensor, home: Tensor, *, record: bool) -> None:
        """Learn samples in their home charts; ``record`` each one's score first, as it was before it was learnt.

        Samples that were chosen by their p-value leave no score: that selection would bias it.
        """
        for number in home.unique().tolist():
            chart = self.atlas.charts[number]
            for label in labels[home == number].unique().tolist():
                here = (home == number) & (labels == label)
                component = chart.component(label)
                if record and component.count >= self.arm_samples:
                    component.scores.extend(component.curvature(z[here], r[here]).tolist())
                component.update(z[here], r[here])

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no tensor buffer, for ``state_dict``."""
        return {
            "alarms": list(self.alarms),
            "samples_seen": self.samples_seen,
            "samples_tested": self.samples_tested,
            "burn_in": [self._burning, self._foreign, self._patience],
            "founders": list(self._founders),
            "wealths": list(self._wealths),
            "ties": self._ties.get_state(),
            "waiting": list(self._waiting),
            "quarantine": list(self._quarantine),
            "charts": [list(chart.labels) for chart in self.atlas.charts],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.alarms = list(state["alarms"])
        self.samples_seen, self.samples_tested = state["samples_seen"], state["samples_tested"]
        self._burning, self._foreign, self._patience = state["burn_in"]
        self._founders = list(state["founders"])
        self._wealths = list(state["wealths"])
        self._ties.set_state(state["ties"])
        self._waiting = list(state["waiting"])
        self._quarantine = list(state["quarantine"])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Charts and embedding appear as the stream goes on: make room for them before their tensors are copied.
        for name in ("_centre", "_axes", "_prior"):
            setattr(self, name, state_dict[prefix + name].clone() if prefix + name in state_dict else None)
        self.atlas = Atlas()
        for labels in state_dict[prefix + "_extra_state"]["charts"]:
            chart = self._new_chart()
            chart.grow_to(labels)
            self.atlas.grow(chart)
        super()._load_from_state_dict(state_dict, prefix, *args)
