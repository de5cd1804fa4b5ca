"""What every signal says of a stream when charts are grown where the truth says: series for tests of any kind.

Components learn the samples of their label, in the chart of their experience, batch by batch and each after it has
been scored. From a shift on, nothing is learnt for as long as it may still be found; then, until the new components
have scores to be compared with, nothing is tested, as the detector does not test either while a chart forms.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ndm_apps.plugins.continual.shift.components import Components
from ndm_apps.plugins.continual.shift.embedding import Embedding
from ndm_apps.plugins.continual.shift.signals.table import NET_SIGNALS
from ndm_apps.plugins.continual.shift.signals.trained import Nets
from ndm_apps.plugins.continual.shift.statistics import STATISTICS

BATCH, PAST, ARM_SAMPLES, ARM_SCORES = 32, 200, 60, 40


class Series(NamedTuple):
    """Positions that were tested, and by signal the number and the conformal p-value there."""

    positions: np.ndarray
    values: Mapping[str, np.ndarray]
    p: Mapping[str, np.ndarray]


def statistics(z: Tensor, r: Tensor, bank: Components, nets: Mapping[str, Nets]) -> Tensor:
    """Return every statistic of samples in every component, ``(batch, signals, components)``."""
    whitened = bank.whiten(z)
    reading = bank.read(whitened, r)
    found = [statistic(reading) for statistic in STATISTICS.values()]
    return torch.stack(found + [signal.scores(whitened, bank, reading) for signal in nets.values()], 1)


@torch.no_grad()
def open_loop(
    x: Tensor, y: Tensor, experience: Tensor, shifts: list[int], delay: int, *, dimension: int, nets: bool, seed: int
) -> Series:
    """Run all statistics along a stream; values are least over components, in standard deviations of their past.

    ``experience`` holds that of each label; ``delay`` is how long a shift may be found. Without ``nets`` only the
    statistics that need no training are run.
    """
    embedding = Embedding(dimension)
    embedding.fit(x[: 10 * BATCH])
    every = {name: Nets(signal, dimension) for name, signal in NET_SIGNALS.items() if nets}
    # The four signals of a free metric are of one and the same net.
    for name in list(every)[2:]:
        every[name].nets = every["scalar_curvature"].nets
    trained = [every[name] for name in list(every)[:2]]
    names = [*STATISTICS, *every]
    bank = Components(embedding.prior, calibration=PAST, statistic=STATISTICS["curvature"], sequences=len(names))
    ties = torch.Generator().manual_seed(seed)
    tested, values, p = [], [], []
    for start in range(0, len(x), BATCH):
        z, r = embedding(x[start : start + BATCH])
        labels = y[start : start + BATCH]
        # A shift within the batch begins with the batch.
        since = min((start + BATCH - 1 - shift for shift in shifts if shift < start + BATCH), default=delay)
        frozen = since < delay
        if not frozen:
            rows = torch.tensor([bank.row(int(experience[label]), label) for label in labels.tolist()])
        score = statistics(z, r, bank, every)
        armed = (bank.recorded >= ARM_SCORES).nonzero()[:, 0]
        if 0 < len(armed) == len(bank):
            past = bank.past[armed]
            known = bank.recorded[armed].clamp(max=PAST)[:, None]
            seen = torch.arange(PAST) < known[..., None]
            mean = past.where(seen, 0.0).sum(-1) / known
            spread = ((past - mean[..., None]).where(seen, 0.0).square().sum(-1) / known).sqrt()
            values.append(((score[..., armed] - mean.T) / spread.T).amin(-1))
            tie = torch.rand(len(z), len(names), len(armed), generator=ties, dtype=torch.float64)
            p.append(bank.p_values(score, armed, tie))
            tested.append(torch.arange(start, start + len(z)))
        if not frozen:
            ready = bank.count[rows] >= ARM_SAMPLES
            bank.record(score[torch.arange(len(z)), :, rows][ready], rows[ready])
            bank.learn(z, r, rows)
            for learner in trained:
                learner.learn(bank, z, rows)
    value, chance = torch.cat(values).numpy(), torch.cat(p).numpy()
    return Series(
        torch.cat(tested).numpy(),
        {name: value[:, k] for k, name in enumerate(names)},
        {name: chance[:, k] for k, name in enumerate(names)},
    )


def classifier_losses(x: Tensor, y: Tensor, *, dimension: int, classes: int, rate: float = 0.1) -> np.ndarray:
    """Return the loss of each sample under a linear classifier of the embedding, trained on the batches before it."""
    embedding = Embedding(dimension)
    embedding.fit(x[: 10 * BATCH])
    z = (embedding(x)[0] / embedding.prior.diagonal().sqrt()).float()
    model = torch.nn.Linear(dimension, classes)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    losses = []
    for start in range(0, len(z), BATCH):
        here = slice(start, start + BATCH)
        loss = torch.nn.functional.cross_entropy(model(z[here]), y[here], reduction="none")
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.cat(losses).numpy().astype(float)
