"""A study's figure: for each arm a curve of its measure against KL, and under it every measured policy."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from apps.core.axis import Guide
from apps.core.line_charts import Point, Series, lines
from apps.reports.charts import Sizes
from prefloop.studies.claims import WORDS

COLOURS = 5  # the sixth of line_charts.py is the grey of references


def figure(report: dict[str, Any], *, slug: str) -> Sizes | None:
    """Draw a study for a desktop and for a phone; None where nothing is measured."""
    drawn = [(at, curve) for at, curve in enumerate(report["curves"]) if curve["points"]]
    if not drawn:
        return None
    measure = report["measure"]
    shares = measure == "win"

    def series(long: bool) -> list[Series]:
        curves = [
            Series(
                curve["title"] if long else curve["arm"],
                tuple(Point(point["kl"], point["mean"], *_ends(point["ci95"])) for point in curve["points"]),
                series=at % COLOURS,
            )
            for at, curve in drawn
        ]
        dots = [
            Series(
                run["title"],
                tuple(_dot(run, point, measure, slug) for point in run["points"] if point.get(measure) is not None),
                series=at % COLOURS,
                scattered=True,
            )
            for at, curve in drawn
            for run in report["runs"]
            if run["arm"] == curve["arm"] and run["seed"] in report["seeds_complete"]
        ]
        return [*dots, *curves]

    options: dict[str, Any] = {
        "title": _("%(what)s against KL") % {"what": capfirst(_(WORDS[measure]))},
        "x_label": _("KL from the start, nats"),
        "y_label": _(WORDS[measure]),
        "y_unit": "%" if shares else "",
        "x_domain": (0.0, 1.06 * _reach(report) or 1.0),
        "labels_at_edge": True,
        "guides": [Guide(0.5, _("even"))] if shares else [],
    }
    return Sizes(
        wide=lines(series(True), width=1080, height=440, label_width=190, **options),
        narrow=lines(series(False), width=380, height=340, label_width=84, **options),
    )


def _reach(report: dict[str, Any]) -> float:
    return max(
        (point["kl"] for one in (*report["curves"], *report["runs"]) for point in one["points"]),
        default=0.0,
    )


def _dot(run: dict[str, Any], point: dict[str, Any], measure: str, slug: str) -> Point:
    named = ", ".join(filter(None, (run["setting"], _("seed %(n)d") % {"n": run["seed"]})))
    return Point(
        point["kl"],
        point[measure],
        label=named + (f", {point['checkpoint']}" if point["checkpoint"] else ""),
        href=reverse("training:loop", args=[slug, run["loop"]]) if run["loop"] else "",
    )


def _ends(ci95: list[float] | None) -> tuple[float | None, float | None]:
    return (ci95[0], ci95[1]) if ci95 else (None, None)
