"""Shift detection on curvature: conformal p-values per chart component, martingales, quarantine, chart growth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndm_apps.plugins.continual.shift.charts import Charts
from ndm_apps.plugins.continual.shift.embedding import Embedding
from ndm_apps.plugins.continual.shift.statistics import Statistic
from ndm_apps.plugins.continual.shift.watch import Watch


class ShiftDetector(Watch):
    r"""Detect changes of a stream's distribution, sample by sample, and grow a chart for each.

    Each chart of the atlas holds one Gaussian component per label in a fixed linear embedding. To every component c a
    new sample has a curvature statistic, and a second one that adds its part along the heading of the samples lately
    nearest to c (:class:`~ndm_apps.plugins.continual.shift.components.Components`). Each gives a conformal p-value
    :math:`p_c` among the component's own past scores. :math:`p = \max_c p_c` is no smaller than uniform under any
    mixture of known components, imbalance and recurrence included. Six power martingales bet against either p,

    .. math:: M_j \leftarrow \max(M_j, 1)\, \kappa_j\, p^{\kappa_j - 1},

    and an alarm is raised when the mean of all twelve reaches ``threshold``. Samples under suspicion wait in quarantine
    and are learnt once it clears; at an alarm the foreign ones among them found a new chart, which is given up if what
    follows is not foreign (:class:`~ndm_apps.plugins.continual.shift.charts.Charts`). The p-values of a sample do not
    depend on its own label: labels name the components in which samples are learnt. Without labels a chart is one
    Gaussian, and a change of balance within it is a shift.

    **False alarms.** If, under no change, each p-value is independent of the past and no smaller than uniform, the mean
    number of samples tested until an alarm is at least ``threshold``: the average of the martingales is bounded by an
    e-detector. In practice p-values are so only about: a component's past scores are few (the standard error added to
    p makes up for that given most sets of them, not all), consecutive tests share them, and components go on learning.
    Expect the bound to hold, not to be sharp, once components have a hundred samples and more. Where samples depend on
    earlier ones (a series, frames of a video) nothing is promised.

    Parameters
    ----------
    dimension
        Chart dimension d: principal components of the first samples (fewer if the samples have fewer features).
    warmup
        Samples that fix the embedding. They are held in memory until then; later, some 300 embedded ones are at most,
        while a shift is suspected.
    threshold
        Mean wealth A at which an alarm is raised.
    calibration, arm_scores, arm_samples
        Past scores kept per component; how many it needs before it is tested against; how many samples it must have
        learnt before it records any.
    burn_in
        Samples after an alarm that train the new chart before testing resumes.
    statistic
        Name of a statistic (:data:`~ndm_apps.plugins.continual.shift.statistics.STATISTICS`), or a function of a
        :class:`~ndm_apps.plugins.continual.shift.statistics.Reading`.
    heading
        Whether to bet on the second p-value too: more sensitive to neighbouring distributions and slow blends.
    seed
        Seed of the tie-breaking of p-values.

    Attributes
    ----------
    alarms
        Sample indices at which an alarm was raised.
    samples_seen, samples_tested
        How many samples came in, and how many of them were tested (none are while a chart forms).
    drift_detected
        Whether the last :meth:`update` raised an alarm.
    settled
        Sample index and chart identity of the samples that were learnt during the last :meth:`update`: each sample
        once, in the chart it was learnt in.
    levels
        Statistic of each sample that was tested or learnt during the last :meth:`update`, in the component of least
        energy; :attr:`curvature` is their mean.
    peak_wealth
        Highest :attr:`wealth` within the last :meth:`update`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005 (conformal martingales); Shin, Ramdas and
    Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2023, arXiv:2203.03532 (average
    run length); Hyvarinen, "Estimation of non-normalized statistical models by score matching", 2005 (the score that
    the scaled curvature is).

    Examples
    --------
    >>> import torch
    >>> noise = torch.Generator().manual_seed(0)
    >>> detector = ShiftDetector(dimension=4, warmup=64)
    >>> for batch in torch.randn(20, 32, 8, generator=noise):
    ...     _ = detector.update(batch)
    >>> detector.alarms
    []
    >>> detector.update(torch.randn(32, 8, generator=noise) + 3), detector.drift_detected
    (True, True)
    """

    def __init__(
        self,
        dimension: int = 48,
        *,
        warmup: int = 320,
        threshold: float = 1e6,
        calibration: int = 200,
        arm_scores: int = 40,
        arm_samples: int = 60,
        burn_in: int = 320,
        statistic: str | Statistic = "curvature",
        heading: bool = True,
        seed: int = 0,
    ) -> None:
        for name, value, low in (("dimension", dimension, 1), ("warmup", warmup, 2)):
            if value < low:
                raise ValueError(f"{name}: got {value}, must be at least {low}")
        super().__init__(
            threshold=threshold,
            calibration=calibration,
            arm_scores=arm_scores,
            arm_samples=arm_samples,
            burn_in=burn_in,
            statistic=statistic,
            heading=heading,
            seed=seed,
        )
        self.warmup = warmup
        self.embedding = Embedding(dimension)
        self.drift_detected = False
        self._waiting: list[tuple[Tensor, Tensor]] = []  # raw samples and labels, before the embedding is fixed

    @torch.no_grad()
    def update(self, x: Tensor | np.ndarray, labels: Tensor | np.ndarray | None = None) -> bool:
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
            If a sample is not finite or so large that sums of its square might not be, or the number of features or
            labels is wrong. Nothing has been learnt then.
        """
        x, labels = self._checked(x, labels)
        before = len(self.alarms)
        self.settled, self.levels, self.peak_wealth = [], [], self.wealth
        if not self.embedding.fitted and len(x):
            room = self.warmup - sum(len(held) for held, _ in self._waiting)
            self._warm_up(x[:room], labels[:room])
            x, labels = x[room:], labels[room:]
        if self.charts is not None:
            self.charts.merged = []
            self.watch(*self.embedding(x), labels)
        self.drift_detected = len(self.alarms) > before
        return self.drift_detected

    @torch.no_grad()
    def embed(self, x: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
        """Return chart coordinates ``(batch, d)`` and squared distances from their subspace ``(batch,)``, in float64.

        Raises
        ------
        ValueError
            Before the embedding is fixed, and for wrong samples.
        """
        self._ready("embed")
        return self.embedding(self._checked(x, None)[0])

    @torch.no_grad()
    def route(self, z: Tensor) -> Tensor:
        """Return the identity of the chart of least energy for embedded samples ``(batch, d)``, ``(batch,)``."""
        self._ready("route")
        return torch.tensor(self.ids)[self.atlas.route(z)]

    @torch.no_grad()
    def log_densities(self, z: Tensor) -> Tensor:
        """Return log-densities of embedded samples ``(batch, d)`` in each component, ``(batch, components)``.

        ``charts.bank.chart``, ``.label`` and ``.count`` tell which chart and label each has, and how many samples.
        """
        bank = self._ready("log_densities").bank
        energies = bank.energies(bank.whiten(z.double()).square().sum(-1))
        return -energies - bank.dimension * math.log(2 * math.pi) / 2

    @torch.no_grad()
    def chart_curvature(self, number: int, z: Tensor, r: Tensor) -> Tensor:
        """Return the statistic of embedded samples in the component of a chart where it is least."""
        bank = self._ready("chart_curvature").bank
        statistic = self.statistic(bank.read(bank.whiten(z.double()), r.double()))
        return statistic[:, self.atlas.charts[number].rows].amin(1)

    def _ready(self, name: str) -> Charts:
        if self.charts is None:
            raise ValueError(f"{name}: the embedding is fixed after {self.warmup} samples, {self.samples_seen} seen")
        return self.charts

    def _checked(self, x: Tensor | np.ndarray, labels: Tensor | np.ndarray | None) -> tuple[Tensor, Tensor]:
        x = torch.as_tensor(x)
        if x.ndim < 2:
            raise ValueError(f"x: got shape {tuple(x.shape)}, must be (batch, features...)")
        x = x.detach().cpu().flatten(1)
        earlier = self._waiting[0][0][0] if self._waiting else self.embedding.centre
        if earlier is not None and x.shape[1] != len(earlier):
            raise ValueError(f"x: got {x.shape[1]} features per sample, earlier samples had {len(earlier)}")
        x = x.to(earlier.dtype if earlier is not None else torch.float64 if x.dtype == torch.float64 else torch.float32)
        # Squares are added up in the samples' precision, squares of those in float64, with room for a trillion samples.
        most = min(torch.finfo(x.dtype).max ** 0.5, torch.finfo(torch.float64).max ** 0.25) / 2**20
        good = torch.linalg.vector_norm(x, dim=1) < most
        if not good.all():
            number = int((~good).nonzero()[0])
            told = f"too large for {x.dtype}" if x[number].isfinite().all() else "not finite"
            raise ValueError(f"x: sample {number} of the batch is {told}")
        labels = torch.zeros(len(x), dtype=torch.long) if labels is None else torch.as_tensor(labels)
        if labels.shape != (len(x),) or labels.is_floating_point():
            raise ValueError(
                f"labels: got {labels.dtype} of shape {tuple(labels.shape)}, must be integers of shape ({len(x)},)"
            )
        return x, labels.cpu().long()

    def _warm_up(self, x: Tensor, labels: Tensor) -> None:
        self._waiting.append((x, labels))
        self.samples_seen += len(x)
        if sum(len(held) for held, _ in self._waiting) < self.warmup:
            return
        x, labels = (torch.cat(column) for column in zip(*self._waiting, strict=True))
        self._waiting.clear()
        self.embedding.fit(x)
        self.begin(self.embedding.prior, *self.embedding(x), labels)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no tensor buffer, for ``state_dict``."""
        return super().get_extra_state() | {"waiting": list(self._waiting)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        super().set_extra_state(state)
        self._waiting = list(state["waiting"])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The charts appear when the embedding is fixed: make them before their state is loaded.
        prior = state_dict.get(prefix + "embedding.prior")
        self.charts = None if prior is None else self.make_charts(prior)
        super()._load_from_state_dict(state_dict, prefix, *rest)
