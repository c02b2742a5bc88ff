"""The frontier's chart: a line per loop, a point per checkpoint, best-of-N dotted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from apps.core.axis import Guide
from apps.core.line_charts import Point, Series, lines
from apps.reports.charts import Sizes
from apps.reports.frontier import MOST_N, Y_FIGURES, analytic_rows, best_of_n_win_rate, points_of, values
from prefloop.stats.best_of_n import kl_bound

COLOURS = 5  # the sixth of line_charts.py is the grey of the references
STEPS = 160


def reach(group: dict[str, Any], y: str) -> float:
    """Return the end of the KL axis: the furthest checkpoint's upper end and some room; with gold, measured
    best-of-n too.
    """
    ends = [(point["kl_ci95"] or [0.0, 0.0])[1] for point in points_of(group)]
    ends += [point["kl"] for point in points_of(group)]
    if y == "gold":
        ends += [row["kl_bound"] for one in group["best_of_n"] for row in one["rows"]]
    return 1.06 * max(ends, default=0.0) or 1.0


def win_range(group: dict[str, Any]) -> tuple[float, float]:
    """Return the win-rate axis: from 50 % to 100 %, and lower if a point or its interval is lower."""
    lows = [(point["win_rate_ci95"] or [1.0])[0] for point in points_of(group)]
    return max(0.0, min(0.5, *values(group, "win"), *lows, 0.5) - 0.04), 1.0


def analytic_points(most_kl: float, *, apart: float = 0.075) -> tuple[Point, ...]:
    """Give the curve of best-of-n for every real n from 1 whose KL bound is at most `most_kl`.

    2, 4, 8, … are marked and named if they are `apart` (a share of the axis) from the one before.
    """
    end = min(math.log(MOST_N), most_kl + 1.0)
    sizes = {round(math.exp(end * step / STEPS), 9) for step in range(STEPS + 1)}
    marked = {float(row["n"]) for row in analytic_rows(most_kl)}
    points: list[Point] = []
    tagged = 0.0
    for n in sorted(sizes | marked):
        kl = kl_bound(n)
        if kl > most_kl:
            break
        mark = n in marked and n > 1
        tag = f"n\u202f=\u202f{n:,.0f}" if mark and kl - tagged > apart * most_kl else ""
        tagged = kl if tag else tagged
        label = _("n = %(n)d, at most") % {"n": n} if mark else ""
        points.append(Point(kl, best_of_n_win_rate(n), label=label, tag=tag, mark=bool(tag)))
    return tuple(points)


def measured_points(
    rows: Sequence[dict[str, Any]], most_kl: float, *, apart: float = 0.075, tags: bool = True
) -> tuple[Point, ...]:
    """Give a measured best-of-n curve: its KL is the bound, its value the mean gold of the scorer's choice."""
    points: list[Point] = []
    tagged = 0.0
    for row in rows:
        low, high = row["ci95"] or (None, None)
        kl = row["kl_bound"]
        tag = f"n\u202f=\u202f{row['n']:,}" if tags and kl - tagged > apart * most_kl else ""
        tagged = kl if tag else tagged
        points.append(Point(kl, row["mean"], low, high, label=f"n = {row['n']}", tag=tag))
    return tuple(points)


def frontier(group: dict[str, Any], *, y: str, slug: str) -> Sizes:
    """Draw a group, for a desktop and for a phone."""
    most_kl = reach(group, y)
    options: dict[str, Any] = {
        "title": _("Gold against KL") if y == "gold" else _("Win rate against KL"),
        "x_label": _("KL from the start, nats"),
        "y_label": _("mean gold score") if y == "gold" else _("win rate against the start"),
        "y_unit": "" if y == "gold" else "%",
        "x_domain": (0.0, most_kl),
        "y_domain": None if y == "gold" else win_range(group),
        "labels_at_edge": True,
        "guides": [] if y == "gold" else [Guide(0.5, _("even"))],
    }

    def series(long: bool) -> list[Series]:
        apart = 0.075 if long else 0.2
        drawn = [
            Series(
                _("loop %(n)d") % {"n": line["loop"]} + (f" {line['recipe']}" if long else ""),
                tuple(_point(point, y, slug) for point in line["points"] if _value(point, y) is not None),
                series=at % COLOURS,
            )
            for at, line in enumerate(group["loops"])
        ]
        if y == "gold":
            drawn += [
                Series(
                    _("best of n, loop %(n)d") % {"n": one["loop"]} if long else _("best of n"),
                    measured_points(one["rows"], most_kl, apart=apart, tags=long),
                    hue="muted",
                    dotted=True,
                )
                for one in group["best_of_n"]
            ]
        else:
            drawn.append(Series(_("best of n"), analytic_points(most_kl, apart=apart), hue="muted", dotted=True))
        return drawn

    room = 18 * len(group["loops"])  # a name each
    return Sizes(
        wide=lines(series(True), width=1080, height=max(440, room + 90), label_width=190, **options),
        narrow=lines(series(False), width=380, height=max(340, room + 90), label_width=84, **options),
    )


def _value(point: dict[str, Any], y: str) -> float | None:
    found: float | None = point[Y_FIGURES[y].key]
    return found


def _point(point: dict[str, Any], y: str, slug: str) -> Point:
    low, high = point[Y_FIGURES[y].bounds] or (None, None)
    x_low, x_high = point["kl_ci95"] or (None, None)
    page = point["checkpoint_id"]
    return Point(
        point["kl"],
        _value(point, y) or 0.0,
        low,
        high,
        label=_round(point) + (f", {point['checkpoint']}" if point["checkpoint"] else ""),
        href=reverse("policies:checkpoint", args=[slug, page]) if page else "",
        x_low=x_low,
        x_high=x_high,
    )


def _round(point: dict[str, Any]) -> str:
    if point["step"] is None:
        return _("round %(n)d") % {"n": point["round"]}
    return _("round %(n)d, step %(step)d") % {"n": point["round"], "step": point["step"]}
