"""Figures of a physics run."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.physics.discover import Discovery
from ndm_apps.plugins.physics.search import CHOSEN_EXACT, CHOSEN_NOISY
from ndm_apps.plugins.physics.simulate import Trajectories

Array = NDArray[np.float64]

SHOWN_EIGENVALUES = 40
SHOWN_LAWS = 4
#: Points drawn of each trajectory.
SHOWN_POINTS = 150


def spectrum(found: Discovery) -> Picture:
    """Draw the eigenvalues of the search that found the first law, or of the last one."""
    laws = found.laws[:1]
    of_laws = [one for one in found.spectra if not one.together]
    wanted = [one for one in of_laws if laws and (one.degree, one.exact) == (laws[0].degree, laws[0].exact)]
    one = (wanted or of_laws)[-1]
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
        f"Spectrum of polynomials up to degree {one.degree}, {noise}: below the threshold are functions that are "
        "conserved, some of them functions of others; the gap above tells how clear the count is.",
    )


def portrait(found: Discovery, data: Trajectories) -> Picture:
    """Draw held-out trajectories in the first two columns that change, coloured by the first law."""
    vector, name = _first(found)
    levels = found.evaluate(vector, data.values)
    colours = Normalize(float(levels.min()), float(levels.max()) + 1e-300)
    thin = max(1, len(data.time) // SHOWN_POINTS)
    numbers = found.columns[:2]
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for values, level in zip(data.values[:, ::thin], levels[:, ::thin], strict=True):
        first, second = (data.time[::thin], values[:, numbers[0]]) if len(numbers) == 1 else values[:, numbers].T
        axes.scatter(first, second, c=level, norm=colours, cmap="viridis", s=3, linewidths=0)
    names = [data.state[number] for number in numbers]
    axes.set_xlabel("time" if len(names) == 1 else names[0])
    axes.set_ylabel(names[-1])
    figure.colorbar(ScalarMappable(colours, colormaps["viridis"]), label=name, ax=axes)
    return Picture(
        figure, f"Held-out trajectories as measured; the colour is {name}, constant along each if conserved."
    )


def drift(found: Discovery, data: Trajectories) -> Picture:
    """Draw how each law, or else the least changing function, strays along held-out trajectories."""
    rows = [(law.vector, str(law.expression)) for law in found.laws[:SHOWN_LAWS]] or [_first(found)]
    figure = Figure(figsize=(7.0, 1.2 + 1.7 * len(rows)), layout="constrained")
    thin = max(1, len(data.time) // SHOWN_POINTS)
    for axes, (vector, name) in zip(figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0], rows, strict=True):
        levels = found.evaluate(vector, data.values)
        means = levels.mean(axis=1, keepdims=True)
        strays = (levels - means) / max(float(means.std()), np.finfo(float).tiny)
        axes.plot(data.time[::thin], strays[:, ::thin].T, linewidth=0.8)
        axes.set_title(name if len(name) < 90 else name[:87] + "...")
    axes.set_xlabel("time")
    figure.supylabel("value less its mean / spread between trajectories", fontsize="small")
    return Picture(
        figure,
        "What was found, along trajectories that took no part in finding it: a conserved quantity stays at zero.",
    )


def _first(found: Discovery) -> tuple[Array, str]:
    if found.laws:
        text = str(found.laws[0].expression)
        return found.laws[0].vector, text if len(text) < 60 else "the first law"
    return found.nearest_vector, "the least changing function (not conserved)"
