"""Several loops in one chart: their curves, and where their settings differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.core.axis import Guide
from apps.core.line_charts import Point, Series, lines
from apps.training.changes import recipe_of
from apps.training.lineage.figures import FIGURES, WIN_RATE
from apps.training.lineage.selectors import curves, loop_rows
from apps.training.models import Loop
from prefloop.config import describe

MOST_LOOPS = 5  # the sixth colour of line_charts.py is the grey of references
MOST_POINTS = 160  # of a line: a chart has no room for more, and the numbers stand in the loop's own tables

BY_STEP = (
    ("loss", gettext_noop("Loss"), ""),
    ("rewards/margins", gettext_noop("Reward margin"), ""),
    ("rewards/accuracies", gettext_noop("Reward accuracy"), "%"),
    ("logps/chosen", gettext_noop("Log-probs of chosen answers"), ""),
    ("objective/scores", gettext_noop("Score of fresh answers"), ""),
    ("objective/kl", gettext_noop("KL of fresh answers from the initial policy"), ""),
    ("objective/entropy", gettext_noop("Entropy of fresh answers"), ""),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of several loops, drawn for a desktop and for a phone, where a loop is only its number."""

    title: str
    wide: SafeString
    narrow: SafeString


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting and its value in each loop, in their order; None: the loop's recipe has no such setting."""

    key: str
    values: tuple[Any, ...]


def loop_name(loop: Loop) -> str:
    return f"{loop.recipe} {loop.pk}"


def overlay(loops: Sequence[Loop]) -> list[Chart]:
    """Return a chart for every figure that at least one of the loops has."""
    points = {loop.pk: _by_step(loop) for loop in loops}
    rows = {loop.pk: loop_rows(loop) for loop in loops}
    charts = []
    for figure in FIGURES:
        if figure.charted:
            series = [
                Series(loop_name(loop), _round_points(rows[loop.pk], figure.key, figure.bounds), series=at)
                for at, loop in enumerate(loops)
            ]
            guide = 0.5 if figure is WIN_RATE else None
            unit = "%" if figure.unit == "%" else ""  # another stands in the title
            charts += _chart(series, figure.title_with_unit, unit, _("round"), guide=guide)
    for key, title, unit in BY_STEP:
        series = [
            Series(loop_name(loop), _step_points(points[loop.pk], key), series=at) for at, loop in enumerate(loops)
        ]
        charts += _chart(series, _(title), unit, _("step, counted across rounds"))
    return charts


def differences(loops: Sequence[Loop]) -> tuple[list[Difference], int]:
    """Return the settings in which loops differ, after every change, and how many are the same."""
    settings: list[dict[str, Any]] = []
    for loop in loops:
        general = {
            "recipe": loop.recipe,
            "start": loop.initial.name if loop.initial else None,
            "judge": loop.judge.name if loop.judge else None,
            "rounds": loop.n_rounds,
            "seed": loop.seed,
        }
        settings.append(general | {info.key: info.default for info in describe(recipe_of(loop))})
    keys = dict.fromkeys(key for one in settings for key in one)
    rows = [Difference(key, tuple(one.get(key) for one in settings)) for key in keys]
    differing = [row for row in rows if any(value != row.values[0] for value in row.values)]
    return differing, len(rows) - len(differing)


def _by_step(loop: Loop) -> list[tuple[int, dict[str, Any]]]:
    """The loop's metrics with steps counted across rounds."""
    found = curves(loop)["points"]
    ends: dict[int, int] = {}
    for point in found:
        ends[point["round"]] = max(ends.get(point["round"], 0), point["step"])
    begins, at = {}, 0
    for index in sorted(ends):
        begins[index] = at
        at += ends[index]
    return [(begins[point["round"]] + point["step"], point) for point in found]


def _step_points(rows: Sequence[tuple[int, dict[str, Any]]], key: str) -> tuple[Point, ...]:
    found = [(step, float(values[key])) for step, values in rows if isinstance(values.get(key), int | float)]
    every = -(-len(found) // MOST_POINTS) or 1
    few = len(found) < 3  # seen by its points alone
    return tuple(Point(step, value, mark=few) for step, value in found[::every])


def _round_points(rows: Sequence[dict[str, Any]], key: str, bounds: str) -> tuple[Point, ...]:
    points = []
    for row in rows:
        if isinstance(row.get(key), int | float):
            low, high = row.get(bounds) or (None, None)
            label = _("round %(n)d") % {"n": row["round"]}
            points.append(Point(row["round"], float(row[key]), low, high, label=label))
    return tuple(points)


def _chart(series: Sequence[Series], title: str, unit: str, x_label: str, *, guide: float | None = None) -> list[Chart]:
    drawn = [one for one in series if one.points]
    if not drawn:
        return []
    last = max(point.x for one in drawn for point in one.points)
    options: dict[str, Any] = {
        "title": title,
        "x_label": x_label,
        "y_unit": unit,
        "x_domain": (0.0, max(last, 1.0) * 1.03),
        "guides": [] if guide is None else [Guide(guide)],
        "height": 260,
        "labels_at_edge": True,
        "x_whole": True,
    }
    short = [replace(one, label=_("loop %(n)s") % {"n": one.label.rsplit(" ", 1)[-1]}) for one in drawn]
    return [
        Chart(
            title,
            wide=lines(drawn, width=560, label_width=150, **options),
            narrow=lines(short, width=380, label_width=84, **options),
        )
    ]
