"""The reports' charts: from figures to SVG, with their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.core.axis import Guide
from apps.core.line_charts import Point, Series, lines
from apps.core.row_charts import Dot, bars, forest, matrix
from apps.reports.figures import Baselines, Figure, JudgeCard
from apps.reports.selectors import Overrides
from apps.reports.words import strength_key
from prefloop.stats.intervals import wilson_interval
from prefloop.types import OUTCOMES

WORDS = {"first": "A", "second": "B", "tie": "tie", "both_bad": "both bad"}


def _n(figure: Figure) -> str:
    return f"n\u202f=\u202f{figure.n:,} {figure.unit}".rstrip()


def _ends(ci95: Sequence[float] | None) -> tuple[float | None, float | None]:
    return (None, None) if ci95 is None else (ci95[0], ci95[1])


@dataclass(frozen=True, slots=True)
class Sizes:
    """One chart drawn twice: for a desktop and for a phone, where a shrunk one would be unreadable."""

    wide: SafeString
    narrow: SafeString


def _forest(
    dots: Sequence[Dot],
    *,
    width: int,
    label_width: int,
    axis: str = "",
    narrow: Sequence[Dot] | None = None,
    **options: Any,
) -> Sizes:
    return Sizes(
        wide=forest(dots, width=width, label_width=label_width, axis=axis, **options),
        narrow=forest(dots if narrow is None else narrow, width=380, label_width=112, **options),
    )


def ladder(report: dict[str, Any], base: Baselines) -> Sizes:
    """Chance at the bottom of what is acceptable, people at the top, judges between. People are filled."""
    dots: list[Dot] = []
    if base.chance is not None:
        dots.append(Dot(_("Chance"), base.chance, hue="muted", note=_("a guess")))
    if base.commonest is not None:
        c = base.commonest
        dots.append(Dot(_("Baseline: most frequent outcome"), c.value, c.low, c.high, hue="muted", note=_n(c)))
    for judge in sorted(report["judges"], key=lambda j: (j["accuracy"] is None, j["accuracy"] or 0.0, j["name"])):
        low, high = judge["accuracy_ci95"] or (None, None)
        dots.append(Dot(judge["name"], judge["accuracy"], low, high, note=f"n\u202f=\u202f{judge['n']:,} verdicts"))
    for word, figure in ((_("One person"), base.person), (_("Two people (ceiling)"), base.ceiling)):
        if figure is not None:
            dots.append(Dot(word, figure.value, figure.low, figure.high, kind="human", note=_n(figure)))
    ends = [end for dot in dots for end in (dot.value, dot.low) if end is not None]
    low = min(0.4, *(end - 0.02 for end in ends)) if ends else 0.0
    guides = [Guide(base.ceiling.value, _("ceiling"))] if base.ceiling and base.ceiling.value is not None else []
    return _forest(
        dots,
        title=_("Agreement ladder"),
        domain=(max(0.0, low), 1.0),
        guides=guides,
        # xgettext:no-python-format
        axis=_("agreement with the truth; lines are 95 % intervals"),
        width=1080,
        label_width=250,
    )


def confusion(
    judge: dict[str, Any], *, path: str, kept: dict[str, str]
) -> tuple[SafeString, list[str], list[tuple[str, list[int]]]]:
    """Draw truth against the judge's labels, over the outcomes that occur; each cell links to its pairs."""
    table = judge["confusion"]
    used = [o for o in OUTCOMES if any(table[o].values()) or any(table[t][o] for t in OUTCOMES)] or list(OUTCOMES[:2])
    counts = [[table[t][o] for o in used] for t in used]
    words = [WORDS[o] for o in used]
    links = [
        [f"{path}?{urlencode({'judge': judge['name'], 'truth': t, 'said': o} | kept)}#disagreements" for o in used]
        for t in used
    ]
    drawn = matrix(
        words,
        words,
        counts,
        title=_("Confusion of %(name)s") % {"name": judge["name"]},
        row_title=_("truth"),
        column_title=_("the judge said"),
        href=links,
    )
    return drawn, words, list(zip(words, counts, strict=True))


def leaning(rows: Sequence[tuple[str, Figure]], *, title: str, guides: Sequence[Guide] = ()) -> Sizes:
    """Draw a share for each judge and its value without a bias."""
    dots = [Dot(name, f.value, f.low, f.high, note=f"n\u202f=\u202f{f.n:,}") for name, f in rows]
    return _forest(dots, title=title, domain=(0.0, 1.0), guides=guides, width=530, label_width=200)


def bias_charts(biases: Sequence[JudgeCard], report: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the panels of the bias section."""
    unbiased = [Guide(0.5, _("no bias"))]
    true = biases[0].truth_longer.value if biases else None
    longer = [Guide(true, _("truth"))] if true is not None else unbiased
    own = [
        (judge["name"], figure)
        for judge in report["judges"]
        if (figure := Figure.of(judge["self_preference"], "decisive verdicts"))
    ]
    panels = [
        {
            "term": gettext_noop("position bias"),
            "title": _("Chooses the answer shown first"),
            "chart": leaning([(b.name, b.first_slot) for b in biases], title=_("Position bias"), guides=unbiased),
        },
        {
            "term": gettext_noop("length bias"),
            "title": _("Chooses the longer answer"),
            "chart": leaning([(b.name, b.longer) for b in biases], title=_("Length bias"), guides=longer),
        },
        {
            "term": gettext_noop("order consistency"),
            "title": _("Prefers the same answer after swapping"),
            "chart": leaning([(b.name, b.same_in_both_orders) for b in biases], title=_("Order consistency")),
        },
    ]
    if own:
        panels.append(
            {
                "term": gettext_noop("self-preference"),
                "title": _("Chooses its own model's answer"),
                "chart": leaning(own, title=_("Self-preference")),
            }
        )
    return panels


def groups(rows: Sequence[dict[str, Any]], *, title: str, overall: float | None = None) -> Sizes:
    """Draw a judge's accuracy in each of several groups of comparisons."""
    dots = [Dot(r["name"], r["rate"], *_ends(r["ci95"]), note=f"n\u202f=\u202f{r['n']:,}") for r in rows]
    guides = [Guide(overall, _("all"))] if overall is not None else []
    return _forest(dots, title=title, domain=(0.0, 1.0), guides=guides, width=530, label_width=200)


def drift(judges: Sequence[dict[str, Any]], names: Sequence[str]) -> Sizes:
    """Draw each judge's accuracy over the rounds, in order."""
    place = {name: i for i, name in enumerate(names, start=1)}
    series = [
        Series(
            judge["name"],
            tuple(Point(place[r["name"]], r["rate"], *_ends(r["ci95"]), label=r["name"]) for r in judge["by_round"]),
            series=i % 6,
        )
        for i, judge in enumerate(judges)
        if judge["by_round"]
    ]
    options: dict[str, Any] = {
        "title": _("Agreement by round"),
        "x_label": _("rounds, in order"),
        "y_label": _("agreement with the truth"),
        "y_unit": "%",
        "y_domain": (0.0, 1.0),
        "x_domain": (1.0, float(len(names))),
        "x_whole": True,
    }
    return Sizes(
        lines(series, width=1080, height=340, label_width=200, **options),
        lines(series, width=380, height=300, label_width=90, **options),
    )


def calibration(judges: Sequence[dict[str, Any]]) -> Sizes:
    """Draw how often the first answer was truly better against the judge's probability; a calibrated judge is on the
    diagonal.
    """
    series = [Series(_("honest"), (Point(0, 0, mark=False), Point(1, 1, mark=False)), hue="muted", dotted=True)]
    for i, judge in enumerate(judges):
        points = tuple(
            Point(b["said"], b["true"], *_ends(b["ci95"]), label=f"n = {b['n']:,}")
            for b in judge["calibration"]["bins"]
        )
        series.append(Series(judge["name"], points, series=i % 6))
    options: dict[str, Any] = {
        "title": _("Reliability curve"),
        "x_label": _("the judge's probability that A is better"),
        "y_label": _("how often A was better"),
        "x_unit": "%",
        "y_unit": "%",
        "x_domain": (0.0, 1.0),
        "y_domain": (0.0, 1.0),
    }
    return Sizes(
        lines(series, width=720, height=420, label_width=190, **options),
        lines(series, width=380, height=340, label_width=90, **options),
    )


def judges_with_judges(pairs: Sequence[dict[str, Any]]) -> Sizes:
    """Draw how often each two judges agree."""
    dots = [
        Dot(
            f"{p['a']} · {p['b']}",
            p["agreement"],
            *_ends(p["agreement_ci95"]),
            note=f"n\u202f=\u202f{p['n']:,}",
        )
        for p in pairs
    ]
    return _forest(dots, title=_("Judges with judges"), domain=(0.0, 1.0), width=1080, label_width=360)


def override_rates(overrides: Sequence[Overrides]) -> Sizes:
    """Draw the share of reviewed labels that people changed."""
    dots = []
    for o in overrides:
        interval = wilson_interval(o.n_changed, o.n)
        ends = _ends((interval.low, interval.high) if interval else None)
        note = f"{o.n_changed:,} of {o.n:,} reviewed"
        dots.append(Dot(o.name, o.n_changed / o.n, *ends, kind="human", note=note))
    return _forest(dots, title=_("Labels changed by people"), domain=(0.0, 1.0), width=1080, label_width=250)


def override_reasons(override: Overrides) -> SafeString:
    dots = [Dot(reason or _("no reason given"), n, kind="human") for reason, n in override.reasons]
    return bars(dots, title=_("Reasons for overriding %(name)s") % {"name": override.name}, width=520, label_width=280)


def win_rates(section: dict[str, Any]) -> Sizes:
    """Draw each model's win rate by people, by the judge, and by both; people are filled."""
    words = (("human", _("people"), "human"), ("judge", _("judge"), "machine"), ("both", _("both"), "human"))
    dots = [
        Dot(
            f"{model['name']} · {word}",
            model[key]["rate"],
            *_ends(model[key]["ci95"]),
            kind=kind,
            hue="" if key != "judge" else "muted",
            note=f"n\u202f=\u202f{model[key]['n']:,}",
        )
        for model in section["models"]
        for key, word, kind in words
        if model[key]["n"]
    ]
    # a phone cuts the end of a name: whose labels they are must stand before it
    short = [replace(dot, label=" · ".join(reversed(dot.label.rsplit(" · ", 1)))) for dot in dots]
    return _forest(
        dots,
        narrow=short,
        title=_("Win rates with both kinds of labels"),
        domain=(0.0, 1.0),
        guides=[Guide(0.5)],
        # xgettext:no-python-format
        axis=_("win rate, ties half; lines are 95 % intervals"),
        width=1080,
        label_width=330,
    )


def strengths(report: dict[str, Any]) -> Sizes | None:
    """Draw the models by Bradley–Terry strength; None if strengths aren't known."""
    if report["reason"] or not report["models"]:
        return None
    by = strength_key(report)
    dots = [
        Dot(m["name"], m[by], m[f"{by}_ci95"][0], m[f"{by}_ci95"][1], note=f"n\u202f=\u202f{m['n']:,}")
        for m in report["models"]
    ]
    # xgettext:no-python-format
    axis = _("strength in log-odds (the mean is 0); lines are 95 % intervals")
    return _forest(
        dots, title=_("Models by strength"), unit="", guides=[Guide(0.0)], axis=axis, width=1080, label_width=280
    )


def rated_sources(sources: Sequence[dict[str, Any]], *, is_share: bool) -> Sizes:
    """Draw the mean rating of each source of answers on the whole scale."""
    dots = []
    for one in sources:
        low, high = _ends(one["ci95"])
        note = f"n\u202f=\u202f{one['n_answers']:,}"
        dots.append(Dot(one["name"] or _("no model named"), one["mean"], low, high, kind="human", note=note))
    return _forest(
        dots,
        title=_("Mean rating of each source"),
        unit="%" if is_share else "",
        domain=(0.0, 1.0) if is_share else (1.0, 5.0),
        # xgettext:no-python-format
        axis=_("mean over answers; lines are 95 % intervals, n counts answers"),
        width=1080,
        label_width=250,
    )
