"""The overview's one chart."""

from __future__ import annotations

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from apps.core.axis import Guide
from apps.core.line_charts import Point, Series, lines
from apps.dashboard.selectors import Better


def win_rate_against_kl(better: Better) -> SafeString:
    """Draw the best loop: a point per round, with its interval, against its distance from the start."""
    points = []
    for row in better.rows:
        low, high = row["win_rate_ci95"] or (None, None)
        points.append(
            Point(row["kl"], row["win_rate_vs_initial"], low, high, label=_("round %(n)d") % {"n": row["round"]})
        )
    return lines(
        [Series(_("loop %(n)d") % {"n": better.loop.pk}, tuple(points))],
        title=_("Win rate against KL"),
        x_label=_("KL from the start, nats"),
        y_unit="%",
        guides=[Guide(0.5)],
        width=440,
        height=210,
    )
