"""Charts of lines, drawn on the server: lines through points with their intervals, and the sparkline.

They can be printed, work without scripts, and come with a table: pure functions from numbers to an <svg> (svg.py).
Numbers of unit "%" are fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import escape
from django.utils.safestring import SafeString

from apps.core import svg
from apps.core.axis import Guide, extent, finite, is_number, labelled_ticks, show, spread


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line. `low`, `high`: its interval; `x_low`, `x_high`: that of x. `tag`: a short label.

    Without `mark` it only shapes the line, for a curve that is known everywhere.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""
    href: str = ""
    x_low: float | None = None
    x_high: float | None = None
    tag: str = ""
    mark: bool = True


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a line chart; `series` 0…5 picks its colour, unless `hue` is given.

    `scattered`: points that no line joins, small and without a name: what a line of the same colour sums up.
    """

    label: str
    points: tuple[Point, ...]
    kind: str = "machine"
    hue: str = ""
    dotted: bool = False
    series: int | None = None
    scattered: bool = False


def sparkline(values: Sequence[float | None], *, title: str, domain: tuple[float, float] | None = None) -> SafeString:
    """Draw a small line without axes; its last point is marked. Gaps (None) break the line."""
    width, height, pad = 96.0, 24.0, 3.0
    known = finite(*values)
    low, high = extent(known, domain)
    step = (width - 2 * pad) / max(1, len(values) - 1)

    def at(index: int, value: float) -> tuple[float, float]:
        return pad + step * index, height - pad - (value - low) / ((high - low) or 1) * (height - 2 * pad)

    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if is_number(value):
            runs[-1].append(at(index, value))
        else:
            runs.append([])
    parts = [
        f'<polyline points="{" ".join(f"{svg.px(x)},{svg.px(y)}" for x, y in run)}" class="line"/>'
        for run in runs
        if len(run) > 1
    ]
    last = next((run[-1] for run in reversed(runs) if run), None)
    if last is not None:
        parts.append(f'<circle cx="{svg.px(last[0])}" cy="{svg.px(last[1])}" r="2.5" class="mark is-human"/>')
    words = ", ".join(show(value) if is_number(value) else "gap" for value in values) or "no values yet"
    return svg.frame(width, height, title, words, parts, css="chart sparkline")


def lines(
    series: Sequence[Series],
    *,
    title: str,
    desc: str = "",
    x_label: str = "",
    y_label: str = "",
    x_unit: str = "",
    y_unit: str = "",
    x_domain: tuple[float, float] | None = None,
    y_domain: tuple[float, float] | None = None,
    guides: Sequence[Guide] = (),
    width: int = 720,
    height: int = 360,
    label_width: int = 130,
    labels_at_edge: bool = False,
    x_whole: bool = False,
) -> SafeString:
    """Draw lines through points with their intervals, each labelled at its end (there is no legend).

    `x_whole`: the x axis counts, so ticks are at whole numbers only.

    With `labels_at_edge` the names are in the right margin, connected to the ends: for lines that end in the middle.
    """
    points = [point for one in series for point in one.points]
    x_low, x_high = extent([n for p in points for n in finite(p.x, p.x_low, p.x_high)], x_domain)
    ys = [n for point in points for n in finite(point.y, point.low, point.high)] + [guide.value for guide in guides]
    y_low, y_high = extent(ys, y_domain)
    left, right, top, bottom = (
        56.0,
        float(width - label_width),
        26.0 if y_label else 12.0,
        height - (46.0 if x_label else 28.0),
    )

    def at_x(x: float) -> float:
        return left + (x - x_low) / ((x_high - x_low) or 1) * (right - left)

    def at_y(y: float) -> float:
        return bottom - (min(max(y, y_low), y_high) - y_low) / ((y_high - y_low) or 1) * (bottom - top)

    parts: list[str] = []
    for tick, text in labelled_ticks(y_low, y_high, y_unit):
        parts.append(svg.line(left, at_y(tick), right, at_y(tick), "gridline"))
        parts.append(svg.text(left - 8, at_y(tick) + 4, text, anchor="end"))
    for tick, text in labelled_ticks(x_low, x_high, x_unit, 6):
        if x_whole and tick != int(tick):
            continue
        parts.append(svg.line(at_x(tick), bottom, at_x(tick), bottom + 4, "axis"))
        parts.append(svg.text(at_x(tick), bottom + 18, text, anchor="middle"))
    parts.append(svg.line(left, bottom, right, bottom, "axis"))
    if y_label:
        parts.append(svg.text(0, 12, y_label, "label"))
    if x_label:
        parts.append(svg.text((left + right) / 2, height - 6, x_label, "label", "middle"))
    for guide in guides:
        parts.append(svg.line(left, at_y(guide.value), right, at_y(guide.value), "guide"))
        if guide.label:
            parts.append(svg.text(right, at_y(guide.value) - 5, guide.label, anchor="end"))
    ends: list[float] = []
    last_ys = [
        at_y(known[-1].y)
        for one in series
        if not one.scattered and (known := [p for p in one.points if is_number(p.x) and is_number(p.y)])
    ]
    below = len(parts)  # leaders lie under every line
    edges = iter(spread(last_ys, top, bottom) if labels_at_edge else [])
    for index, one in enumerate(series):
        where = [
            (at_x(point.x), at_y(point.y), point) for point in one.points if is_number(point.x) and is_number(point.y)
        ]
        if not where:
            continue
        inner = ""
        if len(where) > 1 and not one.scattered:
            joined = " ".join(f"{svg.px(x)},{svg.px(y)}" for x, y, _ in where)
            inner += f'<polyline points="{joined}" class="line{" is-dotted" if one.dotted else ""}"/>'
        for x, y, point in where:
            if not point.mark:
                continue
            drawn = ""
            words = (
                " ".join(filter(None, (one.label, point.label))) + f": {show(point.x, x_unit)}, {show(point.y, y_unit)}"
            )
            if is_number(point.low) and is_number(point.high):
                drawn += svg.line(x, at_y(point.low), x, at_y(point.high), "whisker")
                words += f" [{show(point.low, y_unit)}, {show(point.high, y_unit)}]"
            if is_number(point.x_low) and is_number(point.x_high):
                drawn += svg.line(at_x(point.x_low), y, at_x(point.x_high), y, "whisker")
            drawn += f'<circle cx="{svg.px(x)}" cy="{svg.px(y)}" r="{2.5 if one.scattered else 4.5}" class="mark"/>'
            if point.tag:
                drawn += svg.text(x + 5, y + 17, point.tag)
            inner += svg.linked(f"<g><title>{escape(words)}</title>{drawn}</g>", point.href)
        name = svg.cut(one.label, max(6, label_width // 7))
        if one.scattered:
            pass
        elif labels_at_edge:
            y_edge = next(edges)
            parts.insert(below, svg.line(where[-1][0], where[-1][1], right + 12, y_edge, "gridline"))
            inner += f'<circle cx="{svg.px(right + 12)}" cy="{svg.px(y_edge)}" r="3" class="bar"/>'
            inner += svg.text(right + 20, y_edge + 4, name, "label")
        else:
            y_end = where[-1][1] + 4
            while any(abs(y_end - other) < 14 for other in ends):
                y_end += 14
            ends.append(y_end)
            inner += svg.text(where[-1][0] + 10, y_end, name, "label")
        colour = svg.hue_class(one.hue) or f"series-{(index if one.series is None else one.series) % 6}"
        parts.append(f'<g class="{svg.classes(svg.kind_class(one.kind), colour)}">{inner}</g>')
    words = desc or "; ".join(
        f"{one.label}: "
        + ", ".join(f"({show(p.x, x_unit)}, {show(p.y, y_unit)})" for p in one.points if is_number(p.y))
        for one in series
        if not one.scattered
    )
    return svg.frame(width, height, title, words, parts)
