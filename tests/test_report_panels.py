import re

import numpy as np
import pytest

from ndm_apps.report.axes import Axis, axis_of, linear_ticks
from ndm_apps.report.curves import draw_bands, draw_curves
from ndm_apps.report.panels import HEIGHT, WIDTH, Dots, Line, draw_dots, draw_lines


def lines_of(panel):
    return re.findall(r'<path class="line [^"]*" d="([^"]*)"', panel)


def points(path):
    return np.array([[float(n) for n in part.split()] for part in re.split("[ML]", path) if part])


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 3.7, 1e6])
@pytest.mark.parametrize("low", [-1.0, 0.0, 0.3])
def test_ticks_are_few_round_and_inside(scale, low):
    found = linear_ticks(low * scale, (low + 1) * scale)
    assert 2 <= len(found) <= 8
    assert all((low - 1e-9) * scale <= tick <= (low + 1 + 1e-9) * scale for tick in found)
    steps = np.diff(found)
    assert np.allclose(steps, steps[0]) and float(f"{steps[0]:.1e}"[0]) in (1, 2, 5)


def test_positive_values_of_decades_get_a_logarithmic_axis():
    axis = axis_of(np.array([1e-6, 1.0]), 0.0, 100.0, may_be_log=True)
    assert axis.log
    assert float(axis(1e-3)) == pytest.approx(50.0)
    assert [text for _, text in axis.ticks()] == ["10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"]
    assert np.isnan(axis([0.0, -1.0])).all()
    assert not axis_of(np.array([-1.0, 1e6]), 0.0, 100.0, may_be_log=True).log
    assert Axis(0.0, 2.0, 10.0, 30.0)(1.0) == 20.0


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0], [np.nan, 2.0], [-5e300, 5e300]])
def test_whatever_the_values_the_panel_stays_in_its_frame(values):
    panel = draw_lines("m", [Line(np.array([0.0, 1.0]), np.array(values))])
    for path in lines_of(panel):
        places = points(path)
        assert ((places >= 0) & (places <= [WIDTH, HEIGHT])).all()
    assert "nan" not in panel and "inf" not in panel


def test_a_line_is_interrupted_where_it_has_no_value():
    (path,) = lines_of(draw_lines("m", [Line(np.arange(5.0), np.array([0.0, 1.0, np.nan, 1.0, 0.0]))]))
    assert path.count("M") == 2 and path.count("L") == 2


def test_long_lines_are_thinned_and_keep_their_ends():
    (path,) = lines_of(draw_lines("m", [Line(np.arange(10_000.0), np.arange(10_000.0))]))
    places = points(path)
    assert len(places) == 400
    (whole,) = lines_of(draw_lines("m", [Line(np.array([0.0, 9999.0]), np.array([0.0, 9999.0]))]))
    np.testing.assert_allclose(places[[0, -1]], points(whole))


def test_names_are_escaped_and_read_out():
    panel = draw_lines('<b>"x"', [Line(np.arange(2.0), np.arange(2.0))], xlabel="<i>")
    assert "<b>" not in panel and "<i>" not in panel
    assert 'role="img"' in panel and "aria-label=" in panel


def test_dots_lie_where_their_values_do():
    panel = draw_dots("m", [Dots("a", [0.0, 1.0], 0, (0.2, 0.8)), Dots("b", [0.5, np.nan], 1)])
    rows = re.findall(r'<circle class="dot f(\d)" cx="([^"]*)"', panel)
    zero, one, half = (float(x) for _, x in rows)
    assert [color for color, _ in rows] == ["0", "0", "1"]
    assert half == pytest.approx((zero + one) / 2, abs=0.1)


def test_metrics_without_two_values_are_not_drawn_and_many_are_counted():
    one, two = (np.array([0.0]), np.array([1.0])), (np.arange(2.0), np.array([np.nan, 1.0]))
    assert draw_curves({"a": one, "b": two}) is None
    many = draw_curves({f"m{n}": (np.arange(3.0), np.arange(3.0)) for n in range(15)})
    assert len(many.panels) == 12 and "3 more are in metrics.jsonl" in many.caption
    assert draw_curves({"a": one, "c": (np.arange(2.0), np.ones(2))}).caption == "Metrics over the steps of the run: c."


def log(folder, name, values):
    folder.mkdir(exist_ok=True)
    with (folder / "metrics.jsonl").open("a") as stream:
        for step, value in enumerate(values):
            stream.write(f'{{"name": "{name}", "value": {value}, "step": {step}, "time": 0}}\n')
    return folder


def test_bands_are_mean_and_range_over_the_seeds(tmp_path):
    groups = {
        "a": [log(tmp_path / "a0", "loss", [0, 0, 4]), log(tmp_path / "a1", "loss", [0, 2, 4, 9])],
        "b": [log(tmp_path / "b0", "loss", [1, 1, 1])],  # flat: nothing to see
        "c": [log(tmp_path / "c0", "other", [0, 4])],
    }
    drawing = draw_bands(groups)
    assert drawing.legend == ("a", "", "c")
    loss, other = drawing.panels
    assert 'aria-label="loss"' in loss and "band" in loss and "band" not in other
    (line,) = lines_of(loss)
    heights = points(line)[:, 1]  # of 0, 1, 4: the step that only one seed has is left out
    assert (heights[0] - heights[1]) / (heights[0] - heights[2]) == pytest.approx(1 / 4, abs=0.01)
    assert draw_bands({"b": groups["b"]}) is None
