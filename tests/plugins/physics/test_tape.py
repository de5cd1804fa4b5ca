import numpy as np
import pytest

from ndm_apps.expression import parse_expression
from ndm_apps.plugins.physics.atoms import NUMPY
from ndm_apps.plugins.physics.tape import compiled

NAMES = ["x", "y", "k"]
TEXTS = [
    "x + y*k - 3/x",
    "(x - y)**2 + (y - x)**3 - (y - x)**4/k",
    "1/(x**2 + y**2)**1.5 + (x**2 + y**2)**-0.5 + x**-2 + x**-3.5",
    "x**0 + x**1 + y**k + x**-k + x**7 + 2**x + x**0.3",
    "min(x, y, k) + max(y, 2*x, 1) - abs(-x)*sign(y - 3)",
    "sin(x)*cos(y) + atan2(y, x) + exp(-x) + log(x*y) + sqrt(x) + tanh(y)",
    "-(x - (y - (x - y)))",
    "pi*e + k",
    "0",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_values_are_those_of_the_tree(text):
    points = np.random.default_rng(0).uniform(0.2, 3.0, (2, 50))
    tree = parse_expression(text, NAMES)
    named = {"x": points[0], "y": points[1], "k": np.float64(2.5)}
    expected = np.broadcast_to(tree.evaluate(named, NUMPY, np.float64), 50)
    (row,) = compiled([tree], ["x", "y"], {"k": 2.5})(points)
    np.testing.assert_allclose(row, expected, rtol=1e-14)


def test_a_name_takes_precedence_over_a_constant():
    (row,) = compiled([parse_expression("e + pi", ["e"])], ["e"], {})(np.ones((1, 3)))
    np.testing.assert_allclose(row, 1 + np.pi)
    (row,) = compiled([parse_expression("e*x", ["e", "x"])], ["x"], {"e": 5.0})(np.ones((1, 3)))
    np.testing.assert_allclose(row, 5.0)


def test_what_occurs_twice_is_computed_once(monkeypatch):
    counts = {"sin": 0}

    def counted(values):
        counts["sin"] += 1
        return np.sin(values)

    monkeypatch.setitem(NUMPY, "sin", counted)
    trees = [parse_expression(text, NAMES) for text in ("sin(x - y)**2", "k*sin(x - y)", "sin(x - y) + sin(k)")]
    function = compiled(trees, ["x", "y"], {"k": 2.0})
    counts["sin"] = 0
    function(np.ones((2, 3)))
    assert counts["sin"] == 1, "parameters are folded in beforehand"


def test_the_state_is_left_as_it_is():
    state = np.array([[1.0, 2.0], [3.0, 4.0]])
    function = compiled([parse_expression(text, NAMES) for text in ("y", "-x")], ["x", "y"], {})
    np.testing.assert_array_equal(function(state), [[3, 4], [-1, -2]])
    np.testing.assert_array_equal(state, [[1, 2], [3, 4]])


def test_what_does_not_exist_is_not_finite():
    with np.errstate(all="ignore"):
        rows = compiled([parse_expression(t, ["x"]) for t in ("1/x", "log(-x)", "x**-1.5")], ["x"], {})(
            np.zeros((1, 1))
        )
        assert not np.isfinite(rows).any()
