"""The leads' page in words: what is suspicious about somebody's votes, in one sentence with its evidence."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.reports.words import NNBSP, with_interval
from prefloop.stats.suspicions import Suspicion


def sentence_of(found: Suspicion) -> str:
    """Say one suspicious pattern plainly, with the figures that it rests on."""
    return _SENTENCES[found.kind](found.person, found.evidence)


def crew_sentence(n_people: int, n_now: int, n_suspicious: int) -> str:
    """Sum the page up in one sentence."""
    start = _("Nobody has voted yet.")
    if n_people:
        start = ngettext(
            "%(people)d person has voted, %(now)d in the last ten minutes.",
            "%(people)d people have voted, %(now)d of them in the last ten minutes.",
            n_people,
        ) % {"people": n_people, "now": n_now}
    if n_suspicious:
        end = _("Look at the work of %(n)d.") % {"n": n_suspicious}
    else:
        end = _("Nothing looks suspicious.") if n_people else ""
    return f"{start} {end}".strip()


def _percent(share: float) -> str:
    return f"{100 * share:.0f}{NNBSP}%"


def _disagrees(who: str, e: dict[str, Any]) -> str:
    return _("%(who)s agrees with gold or with most others on %(rate)s of %(n)d votes; usual here is %(usual)s.") % {
        "who": who,
        "rate": with_interval(e["rate"], e["ci95"]),
        "n": e["n"],
        "usual": _percent(e["usual"]),
    }


def _fast(who: str, e: dict[str, Any]) -> str:
    return _(
        "%(who)s takes %(ratio)s of the others' time on the same %(n)d pairs (median %(seconds)s) and agrees less: "
        "%(agrees)s, usual here is %(usual)s."
    ) % {
        "who": who,
        "ratio": with_interval(e["median"], e["ci95"]),
        "n": e["n"],
        "seconds": f"{e['seconds']:.1f}{NNBSP}s",
        "agrees": _percent(e["agrees"]),
        "usual": _percent(e["usual"]),
    }


def _side(who: str, e: dict[str, Any]) -> str:
    text = (
        _("%(who)s chooses the answer on the left in %(rate)s of %(n)d votes; without a lean it would be half.")
        if e["rate"] > 0.5
        else _(
            "%(who)s chooses the answer on the left in only %(rate)s of %(n)d votes; without a lean it would be half."
        )
    )
    return text % {"who": who, "rate": with_interval(e["rate"], e["ci95"]), "n": e["n"]}


def _longer(who: str, e: dict[str, Any]) -> str:
    return _(
        "%(who)s chooses the longer answer in %(rate)s of %(n)d votes, which is %(excess)s more often than gold or "
        "most others do on the same pairs."
    ) % {
        "who": who,
        "rate": with_interval(e["rate"], e["ci95"]),
        "n": e["n"],
        "excess": with_interval(e["excess"], e["excess_ci95"]),
    }


def _drift(who: str, e: dict[str, Any]) -> str:
    return _(
        "%(who)s agreed with gold or with most others on %(first)s of the first third of the votes and on %(last)s of "
        "the last third (change %(change)s)."
    ) % {
        "who": who,
        "first": _percent(e["first"]["rate"]),
        "last": _percent(e["last"]["rate"]),
        "change": with_interval(e["change"], e["ci95"]),
    }


def _run(who: str, e: dict[str, Any]) -> str:
    return _("%(who)s chose the same side %(length)d times in a row; in %(n)d votes chance gives that %(chance)s.") % {
        "who": who,
        "length": e["length"],
        "n": e["n"],
        "chance": _("less than once in a hundred thousand crews"),
    }


def _copies(who: str, e: dict[str, Any]) -> str:
    return _(
        "%(who)s gave the same answer as %(other)s on %(k)d of %(n)d pairs that both saw in different order, where "
        "%(expected)d would be usual; on %(off)d of these %(other)s was against gold or most others, and %(who)s "
        "followed on %(joined)d. %(who)s voted later on %(later)d."
    ) % {
        "who": who,
        "other": e["other"],
        "k": e["k"],
        "n": e["n"],
        "expected": round(e["expected"]),
        "off": e["n_off"],
        "joined": e["k_off"],
        "later": e["later"],
    }


def _rates_off(who: str, e: dict[str, Any]) -> str:
    return _("%(who)s rates %(rate)s of %(n)d gold answers right; usual here is %(usual)s.") % {
        "who": who,
        "rate": with_interval(e["rate"], e["ci95"]),
        "n": e["n"],
        "usual": _percent(e["usual"]),
    }


_SENTENCES = {
    "disagrees": _disagrees,
    "fast": _fast,
    "side": _side,
    "longer": _longer,
    "drift": _drift,
    "run": _run,
    "copies": _copies,
    "rates_off": _rates_off,
}
