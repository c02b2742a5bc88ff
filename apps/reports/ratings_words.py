"""The report on ratings in words: one sentence about how far people agree, and the names of its numbers."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.reports.words import with_interval
from prefloop.rubrics import YES_NO

FEW_ANSWERS = 20  # rated by two people or more; with fewer, agreement is not put in the first sentence


def ratings_sentence(report: dict[str, Any]) -> str:
    """Sum the report up: how many ratings by how many people, and where they agree most and least."""
    people = ngettext("%(n)s person", "%(n)s people", report["n_people"]) % {"n": f"{report['n_people']:,}"}
    answers = ngettext("%(n)s answer", "%(n)s answers", report["n_answers"]) % {"n": f"{report['n_answers']:,}"}
    start = _("%(people)s rated %(answers)s.") % {"people": people, "answers": answers}
    known = [
        item
        for item in report["items"]
        if item["alpha"] and item["alpha"]["ci95"] and item["alpha"]["n_answers"] >= FEW_ANSWERS
    ]
    if not known:
        rest = _("Too few answers were rated by two people or more to say how far people agree.")
    elif len(known) == 1:
        rest = _("On “%(item)s” they agree with α %(alpha)s.") % _agreement(known[0])
    else:
        ordered = sorted(known, key=lambda item: (-item["alpha"]["value"], item["item"]))
        most, least = _agreement(ordered[0]), _agreement(ordered[-1])
        rest = _("They agree most on “%(most)s” (α %(most_alpha)s) and least on “%(least)s” (α %(least_alpha)s).") % {
            "most": most["item"],
            "most_alpha": most["alpha"],
            "least": least["item"],
            "least_alpha": least["alpha"],
        }
    return f"{start} {rest}"


def _agreement(item: dict[str, Any]) -> dict[str, str]:
    return {
        "item": item["item"],
        "alpha": with_interval(item["alpha"]["value"], item["alpha"]["ci95"], percent=False),
    }


def is_share(item: dict[str, Any]) -> bool:
    """Whether the item's mean is read as a share: yes of yes and no, or a total from 0 to 1."""
    return bool(item.get("kind", YES_NO) == YES_NO)
