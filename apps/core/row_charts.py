"""Charts of rows, drawn on the server: forest plot (or ladder), bars, matrix.

They can be printed, work without scripts, and come with a table: pure functions from numbers to an <svg> (svg.py).
Intervals are drawn if given. Numbers of unit "%" are fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import escape
from django.utils.safestring import SafeString

from apps.core import svg
from apps.core.axis import Guide, extent, figure, finite, is_number, labelled_ticks, show


@dataclass(frozen=True, slots=True)
class Dot:
    """One row of a forest plot or ladder. `low`, `high`: its interval. `note`: a short text at the right."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    kind: str = "machine"
    hue: str = ""
    note: str = ""
    href: str = ""


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
    """Draw one row per dot: label, dot with its interval, value. A ladder is a forest plot in a chosen order."""
    row, top = 34, 30 if any(guide.label for guide in guides) else 8
    known = [n for dot in dots for n in finite(dot.value, dot.low, dot.high)] + [guide.value for guide in guides]
    low, high = extent(known, domain)
    written = [_in_figures(dot, unit) for dot in dots]
    value_width = max(150, 20 + 7.5 * max(map(len, written), default=0))
    left, right = float(label_width), float(width - value_width)
    bottom = top + row * len(dots)

    def at(value: float) -> float:
        return left + (min(max(value, low), high) - low) / ((high - low) or 1) * (right - left)

    parts: list[str] = []
    for tick, text in labelled_ticks(low, high, unit, width=right - left):
        parts.append(svg.line(at(tick), top, at(tick), bottom, "gridline"))
        parts.append(svg.text(at(tick), bottom + 18, text, anchor="middle"))
    placed: list[float] = []
    for guide in sorted(guides, key=lambda guide: guide.value):
        x = at(guide.value)
        parts.append(svg.line(x, top, x, bottom, "guide"))
        if guide.label:
            crowded = any(abs(x - other) < 7 * len(guide.label) for other in placed)
            parts.append(svg.text(x, top - (18 if crowded else 6), guide.label, anchor="middle"))
            placed.append(x)
    for index, dot in enumerate(dots):
        y = top + row * index + row / 2
        drawn = ""
        if is_number(dot.value):
            if is_number(dot.low) and is_number(dot.high):
                drawn += svg.line(at(dot.low), y, at(dot.high), y, "whisker")
                bounds = f"{show(dot.low, unit)} to {show(dot.high, unit)}"
                tip = f"{dot.label}: {show(dot.value, unit)} ({bounds})"
            else:
                tip = f"{dot.label}: {show(dot.value, unit)}"
            drawn += f'<circle cx="{svg.px(at(dot.value))}" cy="{svg.px(y)}" r="5.5" class="mark"/>'
            drawn = f"<g><title>{escape(tip)}</title>{drawn}</g>"
        short = escape(svg.cut(dot.label, label_width // 8))
        name = f'<text x="0" y="{svg.px(y + 4)}" class="label"><title>{escape(dot.label)}</title>{short}</text>'
        value = svg.text(right + 16, y + 4 if not dot.note else y - 1, written[index], "value")
        note = svg.text(right + 16, y + 13, svg.cut(dot.note, 26)) if dot.note else ""
        css = svg.classes(svg.kind_class(dot.kind), svg.hue_class(dot.hue))
        parts.append(f'<g class="{css}">{svg.linked(name + drawn, dot.href)}{value}{note}</g>')
    height = bottom + 26
    if axis:
        parts.append(svg.text((left + right) / 2, bottom + 36, axis, anchor="middle"))
        height += 18
    return svg.frame(width, height, title, desc or _describe(dots, unit), parts)


def _in_figures(dot: Dot, unit: str) -> str:
    """Write a dot's value with its interval, for the end of its row."""
    if not is_number(dot.value):
        return "not known"
    words = figure(dot.value, unit)
    if is_number(dot.low) and is_number(dot.high):
        words += f" [{figure(dot.low, unit)}, {figure(dot.high, unit)}]".replace("\u202f%", "")
    return words


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
    known = [n for dot in dots for n in finite(dot.value, dot.high)]
    if any(n < 0 for n in known):
        raise ValueError("bars start at zero: a negative value needs a forest plot")
    most = maximum or max(known, default=1.0) or 1.0
    left, right = float(label_width), float(width - 100)

    def at(value: float) -> float:
        return left + min(value / most, 1.0) * (right - left)

    parts = [svg.line(left, 2, left, row * len(dots) + 2, "axis")]
    for index, dot in enumerate(dots):
        y = row * index + row / 2 + 2
        drawn, words = "", "not known"
        if is_number(dot.value):
            words = show(dot.value, unit)
            size = f'width="{svg.px(at(dot.value) - left)}" height="16" rx="2"'
            drawn = f'<rect x="{svg.px(left)}" y="{svg.px(y - 8)}" {size} class="bar"/>'
            if is_number(dot.low) and is_number(dot.high):
                drawn += svg.line(at(dot.low), y, at(dot.high), y, "whisker")
        end = at(max(finite(dot.value, dot.high), default=0.0))
        parts.append(
            f'<g class="{svg.classes(svg.kind_class(dot.kind), svg.hue_class(dot.hue))}">'
            + svg.linked(svg.text(0, y + 4, svg.cut(dot.label, label_width // 8), "label") + drawn, dot.href)
            + svg.text(end + 8, y + 4, words + (f" {dot.note}" if dot.note else ""), "value")
            + "</g>"
        )
    return svg.frame(width, row * len(dots) + 6, title, desc or _describe(dots, unit), parts)


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
        parts.append(svg.text(label_width + cell_w * len(columns) / 2, 14, column_title, "label", "middle"))
    for j, name in enumerate(columns):
        parts.append(svg.text(label_width + cell_w * (j + 0.5), top - 8, svg.cut(name, 12), anchor="middle"))
    if row_title:
        parts.append(svg.text(0, top - 8, row_title, "label"))
    for i, name in enumerate(rows):
        y = top + cell_h * i
        parts.append(svg.text(label_width - 10, y + cell_h / 2 + 4, svg.cut(name, 16), anchor="end"))
        scale = (max(counts[i], default=0) or 1) if shade_by == "row" else largest
        for j, value in enumerate(counts[i]):
            share = max(0.0, min(1.0, value / scale))
            x = label_width + cell_w * j
            dark = " on-dark" if share > 0.55 else ""
            inner = (
                f"<g><title>{escape(f'{name} / {columns[j]}: {value:,.{digits}f}')}</title>"
                f'<rect x="{svg.px(x)}" y="{svg.px(y)}" width="{cell_w}" height="{cell_h}" rx="4" class="cell" '
                f'fill-opacity="{0.04 + 0.81 * share:.3f}"/>'
                + svg.text(x + cell_w / 2, y + cell_h / 2 + 5, f"{value:,.{digits}f}", f"cell-text{dark}", "middle")
                + "</g>"
            )
            parts.append(svg.linked(inner, href[i][j]) if href else inner)
    words = desc or "; ".join(
        f"{name}: " + ", ".join(f"{columns[j]} {value:,.{digits}f}" for j, value in enumerate(counts[i]))
        for i, name in enumerate(rows)
    )
    return svg.frame(label_width + cell_w * len(columns) + 4, top + cell_h * len(rows) + 4, title, words, parts)
