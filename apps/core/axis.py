"""Axes of charts: which numbers can be drawn, where ticks are, how values are written, where labels fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard


@dataclass(frozen=True, slots=True)
class Guide:
    """A vertical (forest) or horizontal (lines) reference such as chance or the human ceiling."""

    value: float
    label: str = ""


def is_number(value: float | None) -> TypeGuard[float]:
    """Say whether there is a number to draw: not None, NaN, infinite, or beyond any axis."""
    return value is not None and math.isfinite(value) and abs(value) < 1e15


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high` in steps of 1, 2 or 5 times a power of ten, about `n` of them."""
    if not (is_number(low) and is_number(high)) or high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        return [low]
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def show(value: float, unit: str = "") -> str:
    """Write a number as an axis does: as short as it may be, with a real minus sign; "%" multiplies by 100."""
    if unit == "%":
        text = f"{100 * value:.1f}".rstrip("0").rstrip(".")
        text += "\u202f%"
    else:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        text += f"\u202f{unit}" if unit else ""
    return text.replace("-", "\u2212")


def tick_texts(values: Sequence[float], unit: str = "") -> list[str]:
    """Write ticks with as many decimals as their step needs, so that no two read the same and none is rounded."""
    if len(values) < 2:
        return [show(value, unit) for value in values]
    scale = 100.0 if unit == "%" else 1.0
    decimals = max(0, -math.floor(math.log10(scale * (values[1] - values[0])) + 1e-9))
    behind = f"\u202f{unit}" if unit else ""
    texts = [f"{scale * value:,.{decimals}f}" for value in values]
    if decimals:
        texts = [text.rstrip("0").rstrip(".") for text in texts]
    return [("0" if text == "-0" else text.replace("-", "\u2212")) + behind for text in texts]


def spread(ys: Sequence[float], top: float, bottom: float, apart: float = 16.0) -> list[float]:
    """Move heights as little as possible so that they are `apart`, in order, and above `bottom` if there is room."""
    order = sorted(range(len(ys)), key=lambda i: ys[i])
    placed = dict.fromkeys(order, 0.0)
    before = top - apart
    for i in order:
        before = placed[i] = max(ys[i], before + apart)
    after = max(bottom, top + apart * (len(ys) - 1)) + apart
    for i in reversed(order):
        after = placed[i] = min(placed[i], after - apart)
    return [placed[i] for i in range(len(ys))]


def finite(*values: float | None) -> list[float]:
    """Keep the numbers that can be drawn."""
    return [float(value) for value in values if is_number(value)]


def figure(value: float, unit: str) -> str:
    """Write a number for a column of figures: percentages all with one decimal."""
    return f"{100 * value:.1f}\u202f%".replace("-", "\u2212") if unit == "%" else show(value, unit)


def extent(values: Sequence[float], given: tuple[float, float] | None) -> tuple[float, float]:
    """Give the ends of an axis: as given, else around the values with some room."""
    if given is not None:
        return given
    if not values:
        return (0.0, 1.0)
    low, high = min(values), max(values)
    span = high - low
    pad = span * 0.08 if span > 1e-6 * max(abs(low), abs(high), 1e-6) else max(abs(high) * 0.1, 0.05)
    return (low - pad, high + pad)


def labelled_ticks(
    low: float, high: float, unit: str, about: int = 5, *, width: float | None = None
) -> list[tuple[float, str]]:
    """Return ticks with their labels; on an axis `width` wide only as many as fit without touching."""
    found: list[float] = []
    texts: list[str] = []
    for fewer in range(about, 1, -1):
        found = ticks(low, high, fewer)
        texts = tick_texts(found, unit)
        widest = max(map(len, texts), default=0)
        if width is None or len(found) < 2 or (found[1] - found[0]) / (high - low) * width >= 6.5 * widest + 6:
            return list(zip(found, texts, strict=True))
    return [(found[0], texts[0]), (found[-1], texts[-1])]
