"""Charts drawn on the server: they print, work without scripts, and stand beside a table.

Pure functions from numbers to an <svg>. Every text is escaped; colours come by class only (components.css, ".chart"):
`hue` is one of a, b, tie, both-bad, muted or "", a `kind` of "human" is filled and "machine" outlined. Intervals are
drawn wherever they are given. Each chart has a <title> and a <desc>. Numbers of unit "%" are fractions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from apps.core.axis import is_number, show, spread, tick_texts, ticks

__all__ = ["Dot", "Guide", "Point", "Series", "bars", "forest", "lines", "matrix", "show", "sparkline", "ticks"]
HUES = frozenset({"", "a", "b", "tie", "both-bad", "muted"})
KINDS = frozenset({"human", "machine"})
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Dot:
    """One row of a forest plot or ladder. `low`, `high`: its interval. `note`: small words at the right."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    kind: str = "machine"
    hue: str = ""
    note: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line. `low`, `high`: its interval; `x_low`, `x_high`: that of x. `tag`: a few letters beside it.

    Without `mark` it only bends the line, for a curve that is known everywhere.
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
    """One line of a line chart; `series` 0…5 picks its colour, `hue` wins over it."""

    label: str
    points: tuple[Point, ...]
    kind: str = "machine"
    hue: str = ""
    dotted: bool = False
    series: int | None = None


@dataclass(frozen=True, slots=True)
class Guide:
    """A vertical (forest) or horizontal (lines) reference such as chance or the human ceiling."""

    value: float
    label: str = ""


def _figure(value: float, unit: str) -> str:
    """Write a number as a column of figures does: per cents all with one decimal."""
    return f"{100 * value:.1f}\u202f%".replace("-", "\u2212") if unit == "%" else show(value, unit)


def _in_figures(dot: Dot, unit: str) -> str:
    """Write a dot's value with its interval, as it stands at the end of its row."""
    if not is_number(dot.value):
        return "not known"
    words = _figure(dot.value, unit)
    if is_number(dot.low) and is_number(dot.high):
        words += f" [{_figure(dot.low, unit)}, {_figure(dot.high, unit)}]".replace("\u202f%", "")
    return words


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _finite(*values: float | None) -> list[float]:
    return [float(value) for value in values if is_number(value)]


def _classes(*names: str) -> str:
    return escape(" ".join(name for name in names if name))


def _hue(hue: str) -> str:
    if hue not in HUES:
        raise ValueError(f"no hue {hue!r}; one of {sorted(HUES)}")
    return f"hue-{hue}" if hue else ""


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}; human or machine")
    return f"is-{kind}"


def _frame(width: float, height: float, title: str, desc: str, parts: Sequence[str], css: str = "chart") -> SafeString:
    key = f"chart-{next(_ids)}"
    role = "group" if any("<a " in part for part in parts) else "img"  # what is inside an image can't be reached
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{_classes(css)}" viewBox="0 0 {_n(width)} {_n(height)}" '
        f'width="{_n(width)}" height="{_n(height)}" '
        f'role="{role}" aria-labelledby="{key}-t {key}-d"><title id="{key}-t">{escape(title)}</title>'
        f'<desc id="{key}-d">{escape(desc)}</desc>'
    )
    drawing = head + "".join(parts) + "</svg>"
    if css == "chart":  # wide charts scroll on a phone, and a region that scrolls must be reachable by keyboard
        drawing = f'<div class="chart-box" role="group" aria-label="{escape(title)}" tabindex="0">{drawing}</div>'
    return mark_safe(drawing)  # noqa: S308 (every part was built here from escaped values)


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" class="{_classes(css)}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{_classes(css)}"/>'


def _linked(inner: str, href: str) -> str:
    # only paths of this site: a chart never leads elsewhere
    return f'<a href="{escape(href)}">{inner}</a>' if href.startswith("/") and not href.startswith("//") else inner


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _domain(values: Sequence[float], given: tuple[float, float] | None) -> tuple[float, float]:
    if given is not None:
        return given
    if not values:
        return (0.0, 1.0)
    low, high = min(values), max(values)
    span = high - low
    pad = span * 0.08 if span > 1e-6 * max(abs(low), abs(high), 1e-6) else max(abs(high) * 0.1, 0.05)
    return (low - pad, high + pad)


def _ticks(low: float, high: float, unit: str, about: int = 5) -> list[tuple[float, str]]:
    found = ticks(low, high, about)
    return list(zip(found, tick_texts(found, unit), strict=True))


def forest(
    dots: Sequence[Dot],
    *,
    title: str,
    desc: str = "",
    unit: str = "%",
    domain: tuple[float, float] | None = None,
    guides: Sequence[Guide] = (),
    axis: str = "",
    width: int = 720,
    label_width: int = 210,
) -> SafeString:
    """Draw one row a dot: label, dot with its interval, value in figures. A ladder is a forest in a chosen order."""
    row, top = 34, 30 if any(guide.label for guide in guides) else 8
    known = [n for dot in dots for n in _finite(dot.value, dot.low, dot.high)] + [guide.value for guide in guides]
    low, high = _domain(known, domain)
    written = [_in_figures(dot, unit) for dot in dots]
    value_width = max(150, 20 + 7.5 * max(map(len, written), default=0))
    left, right = float(label_width), float(width - value_width)
    bottom = top + row * len(dots)

    def at(value: float) -> float:
        return left + (min(max(value, low), high) - low) / ((high - low) or 1) * (right - left)

    parts: list[str] = []
    for tick, text in _ticks(low, high, unit):
        parts.append(_line(at(tick), top, at(tick), bottom, "gridline"))
        parts.append(_text(at(tick), bottom + 18, text, anchor="middle"))
    placed: list[float] = []
    for guide in sorted(guides, key=lambda guide: guide.value):
        x = at(guide.value)
        parts.append(_line(x, top, x, bottom, "guide"))
        if guide.label:
            crowded = any(abs(x - other) < 7 * len(guide.label) for other in placed)
            parts.append(_text(x, top - (18 if crowded else 6), guide.label, anchor="middle"))
            placed.append(x)
    for index, dot in enumerate(dots):
        y = top + row * index + row / 2
        drawn = ""
        if is_number(dot.value):
            if is_number(dot.low) and is_number(dot.high):
                drawn += _line(at(dot.low), y, at(dot.high), y, "whisker")
                bounds = f"{show(dot.low, unit)} to {show(dot.high, unit)}"
                tip = f"{dot.label}: {show(dot.value, unit)} ({bounds})"
            else:
                tip = f"{dot.label}: {show(dot.value, unit)}"
            drawn += f'<circle cx="{_n(at(dot.value))}" cy="{_n(y)}" r="5.5" class="mark"/>'
            drawn = f"<g><title>{escape(tip)}</title>{drawn}</g>"
        short = escape(_cut(dot.label, label_width // 8))
        name = f'<text x="0" y="{_n(y + 4)}" class="label"><title>{escape(dot.label)}</title>{short}</text>'
        value = _text(right + 16, y + 4 if not dot.note else y - 1, written[index], "value")
        note = _text(right + 16, y + 13, _cut(dot.note, 26)) if dot.note else ""
        parts.append(
            f'<g class="{_classes(_kind(dot.kind), _hue(dot.hue))}">{_linked(name + drawn, dot.href)}{value}{note}</g>'
        )
    height = bottom + 26
    if axis:
        parts.append(_text((left + right) / 2, bottom + 36, axis, anchor="middle"))
        height += 18
    return _frame(width, height, title, desc or _describe(dots, unit), parts)


def _describe(dots: Sequence[Dot], unit: str) -> str:
    return "; ".join(
        f"{dot.label}: {show(dot.value, unit) if is_number(dot.value) else 'not known'}"
        + (f" [{show(dot.low, unit)}, {show(dot.high, unit)}]" if is_number(dot.low) and is_number(dot.high) else "")
        for dot in dots
    )


def bars(
    dots: Sequence[Dot],
    *,
    title: str,
    desc: str = "",
    unit: str = "",
    maximum: float | None = None,
    width: int = 560,
    label_width: int = 160,
) -> SafeString:
    """Draw horizontal bars from zero (never cut), with intervals where given. Values must not be negative."""
    row = 30
    known = [n for dot in dots for n in _finite(dot.value, dot.high)]
    if any(n < 0 for n in known):
        raise ValueError("bars start at zero: a negative value needs a forest plot")
    most = maximum or max(known, default=1.0) or 1.0
    left, right = float(label_width), float(width - 100)

    def at(value: float) -> float:
        return left + min(value / most, 1.0) * (right - left)

    parts = [_line(left, 2, left, row * len(dots) + 2, "axis")]
    for index, dot in enumerate(dots):
        y = row * index + row / 2 + 2
        drawn, words = "", "not known"
        if is_number(dot.value):
            words = show(dot.value, unit)
            size = f'width="{_n(at(dot.value) - left)}" height="16" rx="2"'
            drawn = f'<rect x="{_n(left)}" y="{_n(y - 8)}" {size} class="bar"/>'
            if is_number(dot.low) and is_number(dot.high):
                drawn += _line(at(dot.low), y, at(dot.high), y, "whisker")
        end = at(max(_finite(dot.value, dot.high), default=0.0))
        parts.append(
            f'<g class="{_classes(_kind(dot.kind), _hue(dot.hue))}">'
            + _linked(_text(0, y + 4, _cut(dot.label, label_width // 8), "label") + drawn, dot.href)
            + _text(end + 8, y + 4, words + (f" {dot.note}" if dot.note else ""), "value")
            + "</g>"
        )
    return _frame(width, row * len(dots) + 6, title, desc or _describe(dots, unit), parts)


def matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    counts: Sequence[Sequence[float]],
    *,
    title: str,
    desc: str = "",
    row_title: str = "",
    column_title: str = "",
    digits: int = 0,
    shade_by: str = "all",
    href: Sequence[Sequence[str]] | None = None,
) -> SafeString:
    """Draw a heat map with its numbers in the cells; shade is relative to the largest of `all` or of each `row`."""
    if any(len(line) != len(columns) for line in counts) or len(counts) != len(rows):
        raise ValueError("a matrix needs one count for each row and column")
    label_width, cell_w, cell_h, top = 120, 84, 44, 46 if column_title else 28
    largest = max((value for line in counts for value in line), default=0) or 1
    parts: list[str] = []
    if column_title:
        parts.append(_text(label_width + cell_w * len(columns) / 2, 14, column_title, "label", "middle"))
    for j, name in enumerate(columns):
        parts.append(_text(label_width + cell_w * (j + 0.5), top - 8, _cut(name, 12), anchor="middle"))
    if row_title:
        parts.append(_text(0, top - 8, row_title, "label"))
    for i, name in enumerate(rows):
        y = top + cell_h * i
        parts.append(_text(label_width - 10, y + cell_h / 2 + 4, _cut(name, 16), anchor="end"))
        scale = (max(counts[i], default=0) or 1) if shade_by == "row" else largest
        for j, value in enumerate(counts[i]):
            share = max(0.0, min(1.0, value / scale))
            x = label_width + cell_w * j
            dark = " on-dark" if share > 0.55 else ""
            inner = (
                f"<g><title>{escape(f'{name} / {columns[j]}: {value:,.{digits}f}')}</title>"
                f'<rect x="{_n(x)}" y="{_n(y)}" width="{cell_w}" height="{cell_h}" rx="4" class="cell" '
                f'fill-opacity="{0.04 + 0.81 * share:.3f}"/>'
                + _text(x + cell_w / 2, y + cell_h / 2 + 5, f"{value:,.{digits}f}", f"cell-text{dark}", "middle")
                + "</g>"
            )
            parts.append(_linked(inner, href[i][j]) if href else inner)
    words = desc or "; ".join(
        f"{name}: " + ", ".join(f"{columns[j]} {value:,.{digits}f}" for j, value in enumerate(counts[i]))
        for i, name in enumerate(rows)
    )
    return _frame(label_width + cell_w * len(columns) + 4, top + cell_h * len(rows) + 4, title, words, parts)


def sparkline(values: Sequence[float | None], *, title: str, domain: tuple[float, float] | None = None) -> SafeString:
    """Draw a small line without axes; its last point is marked. Gaps (None) break the line."""
    width, height, pad = 96.0, 24.0, 3.0
    known = _finite(*values)
    low, high = _domain(known, domain)
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
        f'<polyline points="{" ".join(f"{_n(x)},{_n(y)}" for x, y in run)}" class="line"/>'
        for run in runs
        if len(run) > 1
    ]
    last = next((run[-1] for run in reversed(runs) if run), None)
    if last is not None:
        parts.append(f'<circle cx="{_n(last[0])}" cy="{_n(last[1])}" r="2.5" class="mark is-human"/>')
    words = ", ".join(show(value) if is_number(value) else "gap" for value in values) or "no values yet"
    return _frame(width, height, title, words, parts, css="chart sparkline")


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
    """Draw lines through points with their intervals, each named at its end (no legend to look up).

    `x_whole`: the x axis counts, so it has ticks at whole numbers only.

    With `labels_at_edge` the names stand in the right margin, led to from the ends: for lines that end in the middle.
    """
    points = [point for one in series for point in one.points]
    x_low, x_high = _domain([n for p in points for n in _finite(p.x, p.x_low, p.x_high)], x_domain)
    ys = [n for point in points for n in _finite(point.y, point.low, point.high)] + [guide.value for guide in guides]
    y_low, y_high = _domain(ys, y_domain)
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
    for tick, text in _ticks(y_low, y_high, y_unit):
        parts.append(_line(left, at_y(tick), right, at_y(tick), "gridline"))
        parts.append(_text(left - 8, at_y(tick) + 4, text, anchor="end"))
    for tick, text in _ticks(x_low, x_high, x_unit, 6):
        if x_whole and tick != int(tick):
            continue
        parts.append(_line(at_x(tick), bottom, at_x(tick), bottom + 4, "axis"))
        parts.append(_text(at_x(tick), bottom + 18, text, anchor="middle"))
    parts.append(_line(left, bottom, right, bottom, "axis"))
    if y_label:
        parts.append(_text(0, 12, y_label, "label"))
    if x_label:
        parts.append(_text((left + right) / 2, height - 6, x_label, "label", "middle"))
    for guide in guides:
        parts.append(_line(left, at_y(guide.value), right, at_y(guide.value), "guide"))
        if guide.label:
            parts.append(_text(right, at_y(guide.value) - 5, guide.label, anchor="end"))
    ends: list[float] = []
    last_ys = [
        at_y(known[-1].y) for one in series if (known := [p for p in one.points if is_number(p.x) and is_number(p.y)])
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
        if len(where) > 1:
            joined = " ".join(f"{_n(x)},{_n(y)}" for x, y, _ in where)
            inner += f'<polyline points="{joined}" class="line{" is-dotted" if one.dotted else ""}"/>'
        for x, y, point in where:
            if not point.mark:
                continue
            drawn = ""
            words = (
                " ".join(filter(None, (one.label, point.label))) + f": {show(point.x, x_unit)}, {show(point.y, y_unit)}"
            )
            if is_number(point.low) and is_number(point.high):
                drawn += _line(x, at_y(point.low), x, at_y(point.high), "whisker")
                words += f" [{show(point.low, y_unit)}, {show(point.high, y_unit)}]"
            if is_number(point.x_low) and is_number(point.x_high):
                drawn += _line(at_x(point.x_low), y, at_x(point.x_high), y, "whisker")
            drawn += f'<circle cx="{_n(x)}" cy="{_n(y)}" r="4.5" class="mark"/>'
            if point.tag:
                drawn += _text(x + 5, y + 17, point.tag)
            inner += _linked(f"<g><title>{escape(words)}</title>{drawn}</g>", point.href)
        name = _cut(one.label, max(6, label_width // 7))
        if labels_at_edge:
            y_edge = next(edges)
            parts.insert(below, _line(where[-1][0], where[-1][1], right + 12, y_edge, "gridline"))
            inner += f'<circle cx="{_n(right + 12)}" cy="{_n(y_edge)}" r="3" class="bar"/>'
            inner += _text(right + 20, y_edge + 4, name, "label")
        else:
            y_end = where[-1][1] + 4
            while any(abs(y_end - other) < 14 for other in ends):
                y_end += 14
            ends.append(y_end)
            inner += _text(where[-1][0] + 10, y_end, name, "label")
        colour = _hue(one.hue) or f"series-{(index if one.series is None else one.series) % 6}"
        parts.append(f'<g class="{_classes(_kind(one.kind), colour)}">{inner}</g>')
    words = desc or "; ".join(
        f"{one.label}: "
        + ", ".join(f"({show(p.x, x_unit)}, {show(p.y, y_unit)})" for p in one.points if is_number(p.y))
        for one in series
    )
    return _frame(width, height, title, words, parts)
