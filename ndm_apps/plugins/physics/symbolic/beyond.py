"""Looks for formulas of laws that a chart sees and no dictionary has, and lets the search judge them as all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import sympy
import torch
from numpy.typing import NDArray

from ndm_apps.plugins.physics.chart.fit import Candidate
from ndm_apps.plugins.physics.invariants import Discovery
from ndm_apps.plugins.physics.level import EXACT_NOISE, NOISY, Level
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.symbolic.regress import FUNCTIONS, formulas
from ndm_apps.plugins.physics.symbolic.settle import Ground, Settled, settled
from ndm_apps.plugins.physics.symbolic.shapes import shapes
from ndm_apps.plugins.physics.symbolic.target import nearest_sum
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.windows import averaged

Array = NDArray[np.float64]

#: Samples at which the target is chosen, and those of them that formulas are fitted to.
SAMPLES, FITTED = 2000, 300
#: If the function of an invariant that is nearest to a sum correlates so well with itself, one target is enough.
SAME = 0.99
#: Expressions that the search is given, one after the other, at most.
TRIED = 3


def proposals(
    data: Trajectories,
    invariant: Candidate,
    found: Discovery,
    settings: SpectralSettings,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None],
) -> Iterator[Settled]:
    """Yield expressions that may complete the dictionary for one law that a chart sees.

    Parameters
    ----------
    data
        Trajectories that may be fitted.
    invariant
        What the chart sees.
    found
        What is known already.
    settings
        Of the search.
    rng
        Draws samples, and seeds of evolutions.
    progress
        Told what is being done.
    """
    values = data.values[rng.choice(len(data.values), min(SAMPLES, len(data.values)), replace=False)]
    seen = invariant(torch.from_numpy(values)).numpy()
    seen = (seen - seen.mean()) / seen.std()
    known = np.array([law.formula(values) for law in found.laws]).reshape(len(found.laws), len(values)).T
    sums = nearest_sum(seen, known, values[:, found.columns], data.is_angle[found.columns])
    targets = [sums] if abs(np.corrcoef(sums, seen)[0, 1]) > SAME else [sums, seen]
    features = _features(data, found.columns, values)
    trees = []
    runs = [(functions, target) for functions in FUNCTIONS for target in targets]
    for number, (functions, target) in enumerate(runs):
        progress(number, len(runs) + 1, "formulas of what the chart sees evolve")
        columns = np.stack([column for _, column in features.values()], axis=1)
        trees += formulas(columns[:FITTED], target[:FITTED], list(features), functions, int(rng.integers(2**31)))
    progress(len(runs), len(runs) + 1, "numbers in formulas are refined")
    pieces = shapes(trees, {name: form for name, (form, _) in features.items()})
    ground = _ground(data, found, settings)
    yield from settled(pieces, ground)
    yield from settled([replace(one, squared=True) for one in pieces], ground)


def beyond(
    search: Callable[[SpectralSettings], Discovery],
    found: Discovery,
    laws: Sequence[Candidate],
    data: Trajectories,
    settings: SpectralSettings,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> tuple[Discovery, tuple[str, ...]]:
    """Return what is found if the dictionary has what symbolic regression proposes, and which of that it needs.

    What is proposed is only used as a user's own terms are: a law must pass every test on trajectories that took no
    part in this.

    Parameters
    ----------
    search
        Searches with other settings, of the same trajectories divided in the same way.
    found
        What was found.
    laws
        What a chart sees beside that.
    data
        All trajectories.
    settings
        Of the search.
    rng
        Draws samples, and seeds of evolutions.
    progress
        Told what is being done.
    """
    added: tuple[str, ...] = ()
    fitting = data.take(np.sort(np.concatenate([found.parts.fitting, found.parts.choosing])))
    for invariant in laws:
        for number, one in enumerate(proposals(fitting, invariant, found, settings, rng, progress)):
            if number == TRIED:
                break
            other = search(settings.model_copy(update={"expressions": (*settings.expressions, *added, *one.texts)}))
            if len(other.laws) > len(found.laws):
                found, added = other, (*added, *one.texts)
                break
    return found, added


def _features(data: Trajectories, moving: NDArray[np.intp], values: Array) -> dict[str, tuple[sympy.Expr, Array]]:
    """Return what formulas are made of, by a name: columns, sine and cosine of an angle."""
    found: list[tuple[sympy.Expr, Array]] = []
    for n in moving.tolist():
        symbol, column = sympy.Symbol(data.state[n]), values[:, n]
        if data.is_angle[n]:
            found += [(sympy.sin(symbol), np.sin(column)), (sympy.cos(symbol), np.cos(column))]
        else:
            found.append((symbol, column))
    return {f"v{n}": one for n, one in enumerate(found)}


def _ground(data: Trajectories, found: Discovery, settings: SpectralSettings) -> Ground:
    spreads = data.values.std(axis=0)
    spreads = np.where(spreads > 0, spreads, 1.0)
    relative = np.array([found.noise[column] for column in data.state])
    exact = float(np.median(relative[found.columns])) <= NOISY
    sigma = np.maximum(EXACT_NOISE if exact else relative, EXACT_NOISE) * spreads
    if not exact:
        thinned = averaged(data, sigma)
        data, sigma = thinned.data, thinned.sigma
    return Ground(data, Level(sigma, spreads, exact, len(data.values), settings), found.columns.tolist())
