"""Figures are well-formed, self-contained, and honest about what is missing."""

import math
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest
from flowsweep.platform.report import plots
from flowsweep.platform.report.plots import Curve, Estimate, Point
from matplotlib.figure import Figure

CURVES = [
    Curve("t0000", (1000, 2000, 3000), (0.1, 0.4, 0.6), "first"),
    Curve("t0001", (1000,), (0.1,), "stopped"),
    Curve("t0002", (1000, 2000), (math.nan, 0.2)),
    Curve("t0003", (), ()),
]
POINTS = [
    Point("t0000", 0.01, 1.0, 0.6),
    Point("t0001", 0.1, 2.0, 0.9, finished=False),
    Point("t0002", 1.0, 3.0, math.inf),
    Point("t0003", 0.5, 3.0, math.nan),
]
ESTIMATES = [
    Estimate("best", 0.6, 0.5, 0.7, (0.55, 0.65)),
    Estimate("pretrain", 0.2, math.nan, math.nan, (), True),
]
PLANE = {
    "names": ("refine.kl_radius", "refine.residual_scale"),
    "logs": (True, False),
    "value_name": "success",
}


@pytest.fixture
def axes():
    with matplotlib.rc_context(plots.on_white()):
        yield Figure().subplots()


@pytest.mark.parametrize(
    ("draw", "values", "options"),
    [
        (plots.draw_curves, (CURVES,), {"value_name": "a$_<b>&"}),
        (plots.draw_curves, ([],), {"value_name": "success"}),
        (plots.draw_landscape, (POINTS,), PLANE),
        (plots.draw_landscape, (POINTS[2:],), PLANE),
        (plots.draw_importance, ({"a_$b": 0.7, "<script>": 0.3},), {}),
        (plots.draw_estimates, (ESTIMATES,), {"value_name": "success"}),
    ],
)
def test_every_figure_is_one_well_formed_image_that_loads_nothing(draw, values, options):
    image = plots.svg(draw, *values, **options)
    root = ElementTree.fromstring(image)
    assert root.tag.endswith("svg")
    loaded = [
        value
        for element in root.iter()
        for name, value in element.attrib.items()
        if name.endswith("href") and not value.startswith(("#", "data:image/png;base64,"))
    ]
    assert loaded == []


def test_a_figure_is_the_same_bytes_each_time():
    assert plots.svg(plots.draw_curves, CURVES, "success") == plots.svg(plots.draw_curves, CURVES, "success")


def test_ink_and_paper_follow_the_readers_colour_scheme():
    image = plots.svg(plots.draw_landscape, POINTS, **PLANE).decode()
    assert plots.INK not in image
    assert plots.PAPER not in image
    assert "prefers-color-scheme:dark" in image


def test_curves_leave_out_values_that_are_not_finite(axes):
    plots.draw_curves(axes, CURVES, "success")
    drawn = {tuple(line.get_xdata()): tuple(line.get_ydata()) for line in axes.lines}
    assert drawn[(1000, 2000, 3000)] == (0.1, 0.4, 0.6)
    assert drawn[(2000,)] == (0.2,)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["t0000 (first)", "stopped early"]


@pytest.mark.parametrize("first", ["t0000", "t0001"])
def test_the_landscape_rings_the_first_trial(axes, first):
    plots.draw_landscape(axes, POINTS, **PLANE, first=first)
    assert [text.get_text() for text in axes.texts] == [first]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")


def test_importance_puts_the_greatest_share_on_top_and_names_it(axes):
    plots.draw_importance(axes, {"small": 0.2, "large": 0.8})
    assert [label.get_text() for label in axes.get_yticklabels()] == ["small", "large"]
    assert [text.get_text() for text in axes.texts] == ["20%", "80%"]


def test_intervals_span_from_low_to_high(axes):
    plots.draw_estimates(axes, ESTIMATES, "success")
    spans = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert (0.5, 0.7) in spans
    assert not any(math.isnan(x) for span in spans for x in span)
