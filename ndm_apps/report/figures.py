"""Figures of plugins: the shared style, and files that are the same for the same content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ndm_apps.files import write_text

# Okabe and Ito, "Color Universal Design" (2008): distinguishable with every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#2b2f36", "#B8A800")
# The neutral colours of the style are nobody else's: pages know by them what is to change in the dark.
PAPER, INK, TITLE, SOFT, EDGE, GRID = "#fffffe", "#30343b", "#1b1f26", "#5a606b", "#8a8f98", "#e6e8ec"
STYLE: dict[str, Any] = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": EDGE,
    "axes.facecolor": PAPER,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": TITLE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "image.cmap": "viridis",
}
# Text becomes outlines: a figure looks the same whatever fonts the reader has.
SVG_STYLE = {"svg.hashsalt": "ndm", "svg.fonttype": "path"}


@contextmanager
def style() -> Iterator[None]:
    """Context in which figures are made with the shared style; outside it nothing changes."""
    with matplotlib.rc_context(STYLE):
        yield


def save_svg(figure: Figure, path: Path | str) -> Path:
    """Save a figure as SVG, atomically; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        Matplotlib figure.
    path
        File to write; its folder must exist.

    Returns
    -------
    Path
        The file.
    """
    stream = io.StringIO()
    with matplotlib.rc_context(SVG_STYLE):
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})
    return write_text(Path(path), stream.getvalue())
