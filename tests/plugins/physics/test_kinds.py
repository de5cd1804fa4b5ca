import numpy as np
import pytest

from ndm_apps.plugins.physics.kinds import kinds
from ndm_apps.plugins.physics.level import EXACT_NOISE, Level
from ndm_apps.plugins.physics.scan import families, settled
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.plugins.physics.tiers import stages, vocabulary
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import system


def told(name, noise, seed=1000, points=None, bodies=None):
    _, task = load_task(f"physics/{name}")
    system = task.system
    if points:
        system = system.model_copy(update={"time": system.time.model_copy(update={"points": points})})
    data = simulate(system, noise, seed)
    sigma = np.maximum(noise, EXACT_NOISE) * data.values.std(axis=0)
    return data, kinds(data, sigma, bodies), sigma


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("harmonic_oscillator", {("q", "p")}),
        ("kepler", {("x", "px"), ("y", "py")}),
        ("toda", {("q1", "p1"), ("q2", "p2"), ("q3", "p3")}),
        ("double_pendulum", None),
        ("lorenz", set()),
        ("cyclic_lotka_volterra", set()),
    ],
)
def test_positions_and_velocities_are_told_from_the_data(name, pairs, noise):
    data, found, _ = told(name, noise)
    if pairs is None:  # two angles and their rates
        assert len(found.pairs) == 2 and all(data.state[i] in data.angles for i, _ in found.pairs)
    else:
        assert {(data.state[i], data.state[j]) for i, j in found.pairs} == pairs


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_positive_columns_and_bodies(noise):
    data, found, _ = told("lotka_volterra", noise)
    assert len(found.positive) == 2 and found.bodies == ()
    data, found, _ = told("three_body", noise)
    assert {tuple(data.state[n] for n in body) for body in found.bodies} == {("x1", "y1"), ("x2", "y2"), ("x3", "y3")}
    assert found.positive == ()
    assert told("kepler", noise)[1].bodies == ((0, 1),)
    assert told("henon_heiles", noise, bodies=[["y", "x"]])[1].bodies == ((1, 0),)
    # Coordinates by name alone are none: Lorenz's x, y, z have no velocities.
    assert told("lorenz", noise)[1].bodies == ()


def test_dictionaries_come_simplest_first_and_hold_only_what_the_kinds_allow():
    data, found, _ = told("toda", 0.0)
    words = vocabulary(data.state, range(6), data.angles, found)
    names = [[tier.name for tier in stage] for stage in stages(words, 4, 600)]
    assert names[0] == ["poly1"] and "expP" in names[1] and "expP3" in names[-1]
    assert not any("log1" in stage for stage in names)
    assert all(len(tier.dictionary) <= 50 for stage in stages(words, 4, 50) for tier in stage)
    plain = [tier.name for stage in stages(words, 3, 600, special=False) for tier in stage]
    assert plain == ["poly1", "poly2", "poly3"]
    refused = vocabulary(data.state, range(6), data.angles, found, allowed=lambda function, columns: function != "exp")
    assert "expP" not in [tier.name for stage in stages(refused, 4, 600) for tier in stage]
    own = vocabulary(data.state, range(6), data.angles, found, expressions=("1/(1 + q1**2)",))
    first = stages(own, 2, 600)[0][0]
    assert first.name == "user" and first.dictionary.terms[-1][0].columns == (0,)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_softening_of_a_force_is_found(noise):
    data, found, sigma = told("three_body", noise)
    words = vocabulary(data.state, range(12), data.angles, found)
    level = Level(sigma, data.values.std(axis=0), noise == 0, len(data.values), SpectralSettings())
    softened = next(family for family in families(words, data.values) if family.name == "radS")
    tier = settled(softened, data, level)
    assert tier is not None
    numbers = {atom.softening for atom in tier.dictionary.atoms if atom.special}
    assert len(numbers) == 1 and numbers.pop() == pytest.approx(0.04, rel=1e-9 if noise == 0 else 0.1)


def test_a_scan_of_what_has_no_law_finds_nothing():
    # Newton's second law with friction: positions, but no energy.
    pair = system(
        {"q1": "p1", "q2": "p2", "p1": "-sin(q1 - q2) - 0.1*p1", "p2": "sin(q1 - q2)"},
        {"q1": (-1, 1), "q2": (-1, 1), "p1": (-1, 1), "p2": (-1, 1)},
    )  # fmt: skip
    data = simulate(pair, 0.0, 1000)
    sigma = EXACT_NOISE * data.values.std(axis=0)
    found = kinds(data, sigma)
    words = vocabulary(data.state, range(4), data.angles, found)
    level = Level(sigma, data.values.std(axis=0), True, len(data.values), SpectralSettings())
    assert families(words, data.values) and all(
        settled(family, data, level) is None for family in families(words, data.values)
    )
