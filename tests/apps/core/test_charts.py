from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.axis import Guide, tick_texts, ticks
from apps.core.line_charts import Point, Series, lines, sparkline
from apps.core.row_charts import Dot, bars, forest, matrix

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '"><script>alert(1)</script>&'


def _parse(drawing):
    root = ET.fromstring(str(drawing))
    return root if root.tag == SVG + "svg" else root.find(SVG + "svg")


def _all(drawing, tag):
    return list(_parse(drawing).iter(SVG + tag))


def _every_chart(text):
    dot = Dot(text, 0.5, 0.4, 0.6, note=text, href=text)
    point = Point(1, 0.5, 0.4, 0.6, label=text, href=text)
    return [
        forest([dot], title=text, desc=text, axis=text, guides=[Guide(0.5, text)]),
        bars([dot], title=text),
        matrix([text], [text], [[3]], title=text, row_title=text, column_title=text, href=[[text]]),
        sparkline([1, None, 2], title=text),
        lines([Series(text, (point, point))], title=text, x_label=text, y_label=text, guides=[Guide(0.5, text)]),
    ]


@pytest.mark.parametrize("index", range(5))
def test_a_chart_escapes_every_text_and_carries_no_style(index):
    drawing = _every_chart(EVIL)[index]
    root = _parse(drawing)
    for node in root.iter():
        assert node.tag.removeprefix(SVG) in {"svg", "title", "desc", "g", "text", "line", "circle", "rect", "polyline"}
        assert "style" not in node.attrib
        assert not any(name.startswith("on") for name in node.attrib)
    assert root.find(SVG + "title").text == EVIL
    assert root.find(SVG + "desc").text


@pytest.mark.parametrize("href", ["javascript:alert(1)", "//evil.example", "https://evil.example", "data:x"])
def test_a_chart_leads_nowhere_else(href):
    assert "<a " not in forest([Dot("x", 0.5, href=href)], title="t")


def test_a_chart_leads_to_pages_of_this_site():
    assert '<a href="/p/x/?a=1&amp;b=2">' in forest([Dot("x", 0.5, href="/p/x/?a=1&b=2")], title="t")


def test_a_dot_sits_where_its_value_is():
    # 720 wide, 210 for labels, 20 + 7.5 * 19 = 162.5 for "25.0 % [0.0, 100.0]": 0…1 is over
    # x = 210 … 557.5, and 0.25 at 210 + 0.25 * 347.5 = 296.9
    drawing = forest([Dot("x", 0.25, 0.0, 1.0)], title="t", domain=(0, 1))
    (circle,) = _all(drawing, "circle")
    assert float(circle.get("cx")) == 296.9
    (whisker,) = [line for line in _all(drawing, "line") if line.get("class") == "whisker"]
    assert (float(whisker.get("x1")), float(whisker.get("x2"))) == (210, 557.5)


def test_a_person_is_filled_and_a_machine_outlined():
    drawing = forest([Dot("ann", 0.9, kind="human"), Dot("judge", 0.7, hue="a")], title="t")
    classes = [node.get("class") for node in _all(drawing, "g") if node.get("class")]
    assert classes == ["is-human", "is-machine hue-a"]


def test_an_unknown_hue_or_kind_is_refused():
    with pytest.raises(ValueError, match="no hue"):
        forest([Dot("x", 0.5, hue="red")], title="t")
    with pytest.raises(ValueError, match="no kind"):
        forest([Dot("x", 0.5, kind="robot")], title="t")


def test_bars_start_at_zero_and_are_proportional():
    widths = [float(r.get("width")) for r in _all(bars([Dot("x", 10.0), Dot("y", 5.0)], title="t"), "rect")]
    assert widths == [300, 150]  # 560 wide, 160 for labels, 100 for figures
    with pytest.raises(ValueError, match="zero"):
        bars([Dot("x", -1.0)], title="t")


def test_a_matrix_shows_its_numbers_and_wants_a_full_grid():
    drawing = matrix(["first", "second"], ["first", "second"], [[4, 1], [0, 2]], title="t")
    assert [n.text for n in _all(drawing, "text") if "cell-text" in n.get("class")] == ["4", "1", "0", "2"]
    assert [r.get("fill-opacity") for r in _all(drawing, "rect")] == ["0.850", "0.243", "0.040", "0.445"]
    with pytest.raises(ValueError, match="count"):
        matrix(["a"], ["a", "b"], [[1]], title="t")


def test_a_gap_breaks_a_sparkline():
    assert len(_all(sparkline([1, 2, None, 3, 4], title="t"), "polyline")) == 2


def test_what_is_not_known_is_said_so():
    drawing = forest([Dot("x", None), Dot("y", float("nan"))], title="t")
    assert str(drawing).count("not known") >= 2
    assert _all(drawing, "circle") == []


def test_charts_of_nothing_are_still_charts():
    for drawing in (
        forest([], title="t"),
        bars([], title="t"),
        matrix([], [], [], title="t"),
        sparkline([], title="t"),
        lines([], title="t"),
        lines([Series("x", ())], title="t"),
    ):
        assert _parse(drawing).tag == SVG + "svg"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0, 10, [0, 2, 4, 6, 8, 10]), (-1, 1, [-1, -0.5, 0, 0.5, 1]), (3, 3, [3])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == expected


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_lie_inside_and_are_few(low, span):
    found = ticks(low, low + span)
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)
    assert len(found) <= 11


@pytest.mark.parametrize(
    ("values", "unit", "texts"),
    [
        ([106.5, 107.0, 107.5], "", ["106.5", "107", "107.5"]),
        ([0.0, 0.0005, 0.001], "", ["0", "0.0005", "0.001"]),
        ([0.49, 0.5, 0.51], "%", ["49\u202f%", "50\u202f%", "51\u202f%"]),
        ([-1000.0, 0.0, 1000.0], "", ["\u22121,000", "0", "1,000"]),
        ([3.0], "", ["3"]),
    ],
)
def test_ticks_are_written_with_the_decimals_that_their_step_needs(values, unit, texts):
    assert tick_texts(values, unit) == texts


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_no_two_ticks_read_the_same(low, span):
    texts = tick_texts(ticks(low, low + span))
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("width", [380, 530, 1080])
def test_the_ticks_of_a_forest_never_touch(width):
    dots = [Dot("a judge", 0.5, 0.4, 0.6, note="n = 1,000")]
    drawing = forest(dots, title="t", domain=(0.0, 1.0), width=width, label_width=112 if width < 400 else 200)
    ticks = [node for node in _all(drawing, "text") if node.get("text-anchor") == "middle"]
    assert len(ticks) >= 2
    places = [float(node.get("x")) for node in ticks]
    widest = max(len(node.text) for node in ticks)
    assert all(later - sooner > 6 * widest for sooner, later in itertools.pairwise(places))


def test_an_axis_that_counts_has_whole_numbers_only():
    drawing = lines([Series("x", (Point(0, 1), Point(2, 1)))], title="t", x_whole=True)
    assert "0.5" not in [node.text for node in _all(drawing, "text")]
    assert {"0", "1", "2"} <= {node.text for node in _all(drawing, "text")}


@pytest.mark.slow
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6))
def test_any_numbers_make_a_drawing_with_finite_coordinates(values):
    dots = [Dot(str(k), value) for k, value in enumerate(values)]
    points = tuple(Point(k, value) for k, value in enumerate(values))
    for drawing in (
        forest(dots, title="t"),
        sparkline(values, title="t"),
        lines([Series("s", points)], title="t"),
    ):
        numbers = re.findall(r'\b(?:x|y|cx|cy|x1|x2|y1|y2)="([^"]+)"', str(drawing))
        assert all(abs(float(number)) < 1e6 for number in numbers)
