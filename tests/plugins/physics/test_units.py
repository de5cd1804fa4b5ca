from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndm_apps.plugins.physics.names import split_unit, symbols
from ndm_apps.plugins.physics.units import DIMENSIONLESS, Unit, UnitError, allows, angle_factor, parse_unit

# Texts that say the same in base units.
EQUAL = [
    ("N", "kg m/s^2"), ("J", "N*m"), ("W", "J/s"), ("Pa", "N/m²"), ("V", "W/A"), ("Ohm", "V/A"), ("Hz", "s-1"),
    ("km/h", "m/s"), ("au/d", "m s**-1"), ("J/(kg K)", "m^2/(s^2 K)"), ("µm", "m"), ("μm", "m"), ("eV", "J"),
    ("m/s/s", "m/s2"), ("rad/s", "1/s"), ("deg", "1"), ("", "1"), ("T", "Wb/m^2"), ("F", "C/V"), ("L", "dm^3"),
    ("rpm", "Hz"), ("(m/s)^2", "m^2/s^2"), ("m^(1/2)", "m/m^(1/2)"), ("kg·m²·s⁻²", "J"), ("m / s", "m/s"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_units_of_one_dimension(one, other):
    assert parse_unit(one).dimension == parse_unit(other).dimension


@pytest.mark.parametrize(
    "text",
    ["furlong", "m/", "*m", "m**", "m^", "(m", "m)", "m//s", "__import__('os')", "m^999", "m^1/0", "2 m", "m;s",
     "sin(m)", "m s" * 60, "m^1.5", "kkg", "m\n=1", "((((((m))))))"],
)  # fmt: skip
def test_what_is_no_unit_is_refused(text):
    with pytest.raises(UnitError, match="must be"):
        parse_unit(text)


@given(st.text(max_size=30))
def test_any_text_is_a_unit_or_refused_in_one_line(text):
    try:
        assert isinstance(parse_unit(text), Unit)
    except UnitError as error:
        assert str(error).isprintable()


@given(st.lists(st.tuples(st.sampled_from(["m", "kg", "s", "A", "N", "J", "mV"]), st.integers(-3, 3)), max_size=4))
def test_a_unit_is_read_back_from_its_text(powers):
    unit = Unit()
    for name, power in powers:
        unit = unit * Unit(((name, Fraction(1)),)) ** power
    assert parse_unit(str(unit)).dimension == unit.dimension
    assert (unit / unit).powers == ()


def test_functions_of_dimensional_columns_are_impossible():
    metre, speed, angle = parse_unit("m"), parse_unit("m/s"), parse_unit("rad")
    for function in ("sin", "cos", "exp"):
        assert allows(function, [angle]) and not allows(function, [metre])
    assert allows("log", [metre]) and allows("difference", [metre, parse_unit("cm")])
    assert not allows("radius", [metre, speed])
    assert allows("radius", [metre, None])  # nothing is known of a column without a unit


def test_angles_are_told_by_their_unit_alone():
    assert angle_factor("deg") == pytest.approx(0.017453292519943295)
    assert angle_factor("rev") == pytest.approx(6.283185307179586)
    assert angle_factor("rad/s") is None and angle_factor("m") is None
    assert parse_unit("deg").dimension == DIMENSIONLESS


def test_units_in_headers():
    assert split_unit("x [cm]") == ("x", "cm")
    assert split_unit("angle\n(deg)") == ("angle", "deg")
    assert split_unit("f(t)") == ("f(t)", None)
    assert split_unit("[m]") == ("[m]", None)


@given(st.lists(st.text(max_size=12), unique=True, max_size=8))
def test_symbols_are_distinct_identifiers(names):
    found = symbols(names)
    assert len(set(found)) == len(names)
    assert all(symbol.isidentifier() and symbol not in ("sin", "lambda", "pi") for symbol in found)


def test_good_names_stay_and_win():
    assert symbols(["x-y", "x_y", "q", "θ"]) == ["x_y_2", "x_y", "q", "θ"]
