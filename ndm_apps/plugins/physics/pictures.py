"""Figures of a physics run."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.invariants import Discovery
from ndm_apps.plugins.physics.level import CHOSEN_EXACT, CHOSEN_NOISY
from ndm_apps.plugins.physics.trajectories import Trajectories

SHOWN_EIGENVALUES = 40
SHOWN_LAWS = 4
#: Points drawn of each trajectory.
SHOWN_POINTS = 150
#: Level sets drawn of a law, and points along each side of the grid they are found on.
SHOWN_LEVELS, GRID = 9, 120


def spectrum(found: Discovery) -> Picture | None:
    """Draw the eigenvalues of the search that found the first law, or of the last one; None if there was no search."""
    laws = found.laws[:1]
    of_laws = [one for one in found.spectra if one.mean == "each"]
    if not of_laws:
        return None
    wanted = [one for one in of_laws if laws and (one.tier, one.exact) == (laws[0].tier, laws[0].exact)]
    one = (wanted or of_laws)[-1]
    words = next(tier.words for tier in found.tiers if tier.name == one.tier)
    limit = CHOSEN_EXACT if one.exact else CHOSEN_NOISY
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    shown = np.maximum(one.eigenvalues[:SHOWN_EIGENVALUES], 1e-16)
    for below, colour, label in (
        (True, "C0", "conserved as far as fitted data tell"),
        (False, "0.55", "not conserved"),
    ):
        chosen = (shown < limit) == below
        if chosen.any():
            axes.semilogy(np.flatnonzero(chosen) + 1, shown[chosen], "o", color=colour, label=label)
    axes.axhline(limit, color="C1", linewidth=1, linestyle="--", label="threshold")
    axes.set_yscale("log")
    axes.set_xlabel("number of the eigenvalue")
    axes.set_ylabel("squared leaf distance / noise")
    axes.legend(fontsize="small")
    noise = "at no noise (distances in millionths of a standard deviation)" if one.exact else "in units of the noise"
    return Picture(
        figure,
        f"Spectrum of {words}, {noise}: below the threshold are functions that are "
        "conserved, some of them functions of others; the gap above tells how clear the count is.",
    )


def portrait(found: Discovery, data: Trajectories) -> Picture | None:
    """Draw trajectories in the first two columns that change, coloured by the first law; None without any function."""
    shown = _shown(found)[:1]
    if not shown:
        return None
    formula, name = shown[0]
    levels = formula(data.values)
    finite = np.isfinite(levels)
    colours = Normalize(float(levels[finite].min()), float(levels[finite].max()) + 1e-300)
    thin = max(1, int(np.median(data.lengths)) // SHOWN_POINTS)
    numbers = found.columns[:2]
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for (time, values), level in zip(data.each(), np.split(levels, data.starts[1:]), strict=True):
        first, second = (time, values[:, numbers[0]]) if len(numbers) == 1 else values[:, numbers].T
        axes.scatter(
            first[::thin], second[::thin], c=level[::thin], norm=colours, cmap="viridis", s=3, linewidths=0
        )  # fmt: skip
    names = [data.state[number] for number in numbers]
    axes.set_xlabel("time" if len(names) == 1 else names[0])
    axes.set_ylabel(names[-1])
    figure.colorbar(ScalarMappable(colours, colormaps["viridis"]), label=name, ax=axes)
    return Picture(
        figure, f"Held-out trajectories as measured; the colour is {name}, constant along each if conserved."
    )


def levels(found: Discovery, data: Trajectories) -> Picture | None:
    """Draw level sets of laws, in the plane of the two columns that change each most; None if none has two columns.

    All other columns are held at their medians.
    """
    planes = [(formula, text, _plane(formula, data)) for formula, text in _shown(found)] if found.laws else []
    drawn = [(formula, text, plane) for formula, text, plane in planes if plane is not None]
    if not drawn:
        return None
    figure = Figure(figsize=(4.6 * min(len(drawn), 2), 3.7 * ((len(drawn) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(drawn) + 1) // 2, min(len(drawn), 2), squeeze=False).ravel()
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    for axes, (formula, text, plane) in zip(panels, drawn, strict=False):
        sides = [np.linspace(*np.quantile(data.values[:, n], (0.01, 0.99)), GRID) for n in plane]
        points = np.tile(np.median(data.values, axis=0), (GRID, GRID, 1))
        points[..., plane[0]], points[..., plane[1]] = np.meshgrid(*sides)
        surface = np.ma.masked_invalid(formula(points))
        # Levels that fill the picture evenly, whatever the law does at its poles.
        lines = np.unique(np.quantile(surface.compressed(), np.linspace(0.04, 0.96, SHOWN_LEVELS)))
        drawing = axes.contour(*sides, surface, levels=lines, cmap="viridis", linewidths=1.0)
        axes.clabel(drawing, fontsize=6, fmt="%.3g")
        if len(_columns(formula)) == 2:
            thin = max(1, len(data.values) // SHOWN_POINTS // SHOWN_LEVELS)
            axes.plot(*data.values[::thin, plane].T, ".", color="0.6", markersize=1.5, zorder=0)
            axes.set_xlim(sides[0][0], sides[0][-1])
            axes.set_ylim(sides[1][0], sides[1][-1])
        axes.set_xlabel(data.state[plane[0]])
        axes.set_ylabel(data.state[plane[1]])
        axes.set_title(_short(text), fontsize="small")
    words = "Level sets of what was found: motion stays on them."
    if any(len(_columns(formula)) == 2 for formula, _, _ in drawn):
        words += " Points are held-out samples."
    if any(len(_columns(formula)) > 2 for formula, _, _ in drawn):
        words += " Of laws with more than two columns, a plane through the medians of the others."
    return Picture(figure, words)


def _columns(formula: Formula) -> list[int]:
    return sorted({column for atom in formula.dictionary.atoms for column in atom.columns})


def _plane(formula: Formula, data: Trajectories) -> list[int] | None:
    """Return the two columns that a function changes most with; None if it has one."""
    columns = _columns(formula)
    gradient = formula.gradient(data.values) * data.values.std(axis=0)
    size = np.nanmedian(np.abs(np.where(np.isfinite(gradient), gradient, np.nan)), axis=0)
    most = sorted(sorted(columns, key=lambda n: -float(size[n]))[:2])
    return most if len(most) == 2 else None


def drift(found: Discovery, data: Trajectories) -> Picture | None:
    """Draw how each law, or else the least changing function, strays along trajectories; None without any function."""
    rows = _shown(found)
    if not rows:
        return None
    figure = Figure(figsize=(7.0, 1.2 + 1.7 * len(rows)), layout="constrained")
    thin = max(1, int(np.median(data.lengths)) // SHOWN_POINTS)
    for axes, (formula, name) in zip(figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0], rows, strict=True):
        levels = [formula(values) for _, values in data.each()]
        means = np.array([np.nanmean(level) for level in levels])
        scale = max(float(means.std()), np.finfo(float).tiny)
        for (time, _), level, mean in zip(data.each(), levels, means.tolist(), strict=True):
            axes.plot(time[::thin], (level[::thin] - mean) / scale, linewidth=0.8)
        axes.set_title(_short(name, 90))
    axes.set_xlabel("time")
    figure.supylabel("value less its mean / spread between trajectories", fontsize="small")
    return Picture(
        figure,
        "What was found, along trajectories that took no part in finding it: a conserved quantity stays at zero.",
    )


def _short(text: str, most: int = 52) -> str:
    return text if len(text) < most else text[: most - 3] + "..."


def _shown(found: Discovery) -> list[tuple[Formula, str]]:
    if found.laws:
        texts = [str(law.expression) for law in found.laws[:SHOWN_LAWS]]
        first = texts[0] if len(texts[0]) < 60 else "the first law"
        return [(law.formula, text) for law, text in zip(found.laws, [first, *texts[1:]], strict=False)]
    return [] if found.nearest is None else [(found.nearest[0], "the least changing function (not conserved)")]
