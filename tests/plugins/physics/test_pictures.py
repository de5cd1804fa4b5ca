from types import SimpleNamespace

import numpy as np
import pytest

from ndm_apps.plugins.physics import pictures
from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula
from ndm_apps.plugins.physics.formula import as_measured

from .systems import on_grid

COLUMNS = ("q", "p", "a")


def rings():
    time = np.linspace(0, 6, 40)
    size = np.linspace(1, 2, 8)[:, None]
    values = np.stack([size * np.sin(time), size * np.cos(time), np.broadcast_to(size, (8, 40))], axis=-1)
    return on_grid(values, time, list(COLUMNS))


def discovery(*laws):
    """Return what pictures look at of a discovery."""
    found = []
    for terms in laws:
        factors = tuple(tuple(Atom("column", (COLUMNS.index(c),)) for c in term.split()) for term in terms)
        found.append(
            SimpleNamespace(formula=Formula(Dictionary(COLUMNS, factors), np.ones(len(terms))), expression=terms)
        )
    return SimpleNamespace(laws=found, nearest=None)


def drawn(found):
    return [axes for axes in found.figure.axes if axes.get_visible()]


def test_level_sets_of_two_columns_pass_through_the_samples():
    picture = pictures.levels(discovery(["q q", "p p"]), rings())
    (axes,) = drawn(picture)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("q", "p") and "held-out samples" in picture.caption
    lines = [path for collection in axes.collections for path in collection.get_paths() if len(path.vertices)]
    for path in lines:
        radius = np.linalg.norm(path.vertices, axis=1)
        assert radius == pytest.approx(np.full(len(radius), radius[0]), rel=0.01), "each line is a circle"


def test_of_three_columns_a_plane_is_drawn_and_of_one_nothing():
    picture = pictures.levels(discovery(["q q", "p p", "a a a"], ["a"], ["q a", "p a"]), rings())
    assert len(drawn(picture)) == 2 and "medians" in picture.caption
    assert pictures.levels(discovery(["a"]), rings()) is None
    assert pictures.levels(discovery(), rings()) is None


def test_a_coefficient_in_a_table_shows_the_digits_its_error_leaves():
    assert as_measured(0.33341, 2e-4) == "0.33341" and as_measured(1.0, 0.0) == "1" and as_measured(None, 1.0) is None
