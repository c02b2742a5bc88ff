"""The reports' charts: from figures to SVG, with the words that stand in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from apps.core.svg import Dot, Guide, forest, matrix
from apps.reports.figures import Baselines, Bias, Figure
from prefloop.types import OUTCOMES

WORDS = {"first": "A", "second": "B", "tie": "tie", "both_bad": "both bad"}


def _n(figure: Figure) -> str:
    return f"n\u202f=\u202f{figure.n:,} {figure.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Sizes:
    """One chart drawn twice: for a desk and for a phone, where it must not be shrunk until nobody can read it."""

    wide: SafeString
    narrow: SafeString


def _forest(dots: Sequence[Dot], *, width: int, label_width: int, axis: str = "", **options: Any) -> Sizes:
    return Sizes(
        wide=forest(dots, width=width, label_width=label_width, axis=axis, **options),
        narrow=forest(dots, width=380, label_width=112, **options),
    )


def ladder(report: dict[str, Any], base: Baselines) -> Sizes:
    """Chance at the bottom of what is acceptable, people at the top, judges between. People are filled."""
    dots: list[Dot] = []
    if base.chance is not None:
        dots.append(Dot(_("Chance"), base.chance, hue="muted", note=_("a guess")))
    if base.commonest is not None:
        c = base.commonest
        dots.append(Dot(_("Always the commonest"), c.value, c.low, c.high, hue="muted", note=_n(c)))
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
        axis=_("agreement with the truth; lines are 95\u202f% intervals"),
        width=1080,
        label_width=250,
    )


def confusion(judge: dict[str, Any], *, path: str) -> tuple[SafeString, list[str], list[tuple[str, list[int]]]]:
    """Draw truth against what the judge said, over the outcomes that occur; each cell leads to its pairs."""
    table = judge["confusion"]
    used = [o for o in OUTCOMES if any(table[o].values()) or any(table[t][o] for t in OUTCOMES)] or list(OUTCOMES[:2])
    counts = [[table[t][o] for o in used] for t in used]
    words = [WORDS[o] for o in used]
    links = [
        [f"{path}?{urlencode({'judge': judge['name'], 'truth': t, 'said': o})}#disagreements" for o in used]
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
    """Draw a share for each judge against where it would be without a bias."""
    dots = [Dot(name, f.value, f.low, f.high, note=f"n\u202f=\u202f{f.n:,}") for name, f in rows]
    return _forest(dots, title=title, domain=(0.0, 1.0), guides=guides, width=530, label_width=200)


def bias_charts(biases: Sequence[Bias], truth_longer: Figure) -> list[dict[str, Any]]:
    """Give the three panels of the bias section."""
    unbiased = [Guide(0.5, _("no bias"))]
    longer = [Guide(truth_longer.value, _("truth"))] if truth_longer.value is not None else unbiased
    return [
        {
            "term": "position bias",
            "title": _("Chooses the answer shown first"),
            "chart": leaning([(b.name, b.first_slot) for b in biases], title=_("Position bias"), guides=unbiased),
        },
        {
            "term": "length bias",
            "title": _("Chooses the longer answer"),
            "chart": leaning([(b.name, b.longer) for b in biases], title=_("Length bias"), guides=longer),
        },
        {
            "term": "order consistency",
            "title": _("Says the same when the answers swap places"),
            "chart": leaning([(b.name, b.same_in_both) for b in biases], title=_("Order consistency")),
        },
    ]


def strengths(report: dict[str, Any]) -> Sizes | None:
    """Draw the models by Bradley–Terry strength; None where strengths aren't known."""
    if report["reason"] or not report["models"]:
        return None
    dots = [
        Dot(m["name"], m["bt"], m["bt_ci95"][0], m["bt_ci95"][1], note=f"n\u202f=\u202f{m['n']:,} games")
        for m in report["models"]
    ]
    axis = _("strength in log-odds (the mean is 0); lines are 95\u202f% intervals")
    return _forest(
        dots, title=_("Models by strength"), unit="", guides=[Guide(0.0)], axis=axis, width=1080, label_width=280
    )
