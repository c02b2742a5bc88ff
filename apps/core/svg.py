"""Building blocks of the server's charts: an <svg> with its title and description, and the shapes in it.

Every text is escaped; colours come from classes only (components.css, ".chart"): `hue` is one of a, b, tie, both-bad,
muted or "", and a `kind` of "human" is filled, "machine" outlined. The charts themselves are in row_charts.py and
line_charts.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

HUES = frozenset({"", "a", "b", "tie", "both-bad", "muted"})
KINDS = frozenset({"human", "machine"})
_ids = itertools.count(1)


def px(value: float) -> str:
    """Write a coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def classes(*names: str) -> str:
    """Write the names that are not empty as a class attribute's value."""
    return escape(" ".join(name for name in names if name))


def hue_class(hue: str) -> str:
    """Return the class of a hue. Refuses unknown ones."""
    if hue not in HUES:
        raise ValueError(f"no hue {hue!r}; one of {sorted(HUES)}")
    return f"hue-{hue}" if hue else ""


def kind_class(kind: str) -> str:
    """Return the class of people's or machines' marks. Refuses anything else."""
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}; human or machine")
    return f"is-{kind}"


def frame(width: float, height: float, title: str, desc: str, parts: Sequence[str], css: str = "chart") -> SafeString:
    """Put the escaped parts of a drawing into an <svg> with a title and description."""
    key = f"chart-{next(_ids)}"
    role = "group" if any("<a " in part for part in parts) else "img"  # what is inside an image can't be reached
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{classes(css)}" viewBox="0 0 {px(width)} {px(height)}" '
        f'width="{px(width)}" height="{px(height)}" '
        f'role="{role}" aria-labelledby="{key}-t {key}-d"><title id="{key}-t">{escape(title)}</title>'
        f'<desc id="{key}-d">{escape(desc)}</desc>'
    )
    drawing = head + "".join(parts) + "</svg>"
    if css == "chart":  # wide charts scroll on a phone, and a region that scrolls must be reachable by keyboard
        drawing = f'<div class="chart-box" role="group" aria-label="{escape(title)}" tabindex="0">{drawing}</div>'
    return mark_safe(drawing)  # noqa: S308 (every part was built here from escaped values)


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    """Draw text at a point."""
    return f'<text x="{px(x)}" y="{px(y)}" text-anchor="{anchor}" class="{classes(css)}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """Draw a straight line."""
    return f'<line x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}" class="{classes(css)}"/>'


def linked(inner: str, href: str) -> str:
    """Make shapes a link, if the address is a path of this site: a chart never links elsewhere."""
    return f'<a href="{escape(href)}">{inner}</a>' if href.startswith("/") and not href.startswith("//") else inner


def cut(text: str, most: int) -> str:
    """Shorten a text to `n` characters, the last of them an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"
