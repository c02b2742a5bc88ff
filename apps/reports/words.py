"""Reports in words: one sentence that a busy person can act on. Plain functions of the report's JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

_VERSION = re.compile(r"(?P<name>.+) v(?P<version>\d+)")
NNBSP = "\u202f"
FEW = 100  # with fewer verdicts than this an interval is too wide to act on


def with_interval(
    value: float | None, ends: Sequence[float] | None = None, *, n: int | None = None, percent: bool = True
) -> str:
    """Write a number with its interval: "71.2 % [68.1, 74.0], n = 974"; "not known" if there is none."""
    if value is None:
        return _("not known")
    scale, digits, unit = (100.0, 1, f"{NNBSP}%") if percent else (1.0, 2, "")
    text = f"{scale * value:.{digits}f}{unit}"
    if ends is not None:
        text += f" [{scale * ends[0]:.{digits}f}, {scale * ends[1]:.{digits}f}]"
    if n is not None:
        text += f", n{NNBSP}={NNBSP}{n:,}"
    return text.replace("-", "\u2212")


def n_truth(report: dict[str, Any]) -> int:
    """Count items of the confusion's truth that the best-covered judge was measured on."""
    return max((judge["n"] for judge in report["judges"]), default=0)


def counted(judge: dict[str, Any]) -> str:
    """Write what a judge's agreement is based on, in both units: "349 comparisons, 698 verdicts"."""
    comparisons = ngettext("%(n)s comparison", "%(n)s comparisons", judge["n_comparisons"])
    verdicts = ngettext("%(n)s verdict", "%(n)s verdicts", judge["n"])
    return ", ".join((comparisons % {"n": f"{judge['n_comparisons']:,}"}, verdicts % {"n": f"{judge['n']:,}"}))


def best_judge(report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the judge with the highest κ, by accuracy if κ is undefined; None if none was measured.

    A judge with too few verdicts is returned only if all have too few, and then the one with the most.
    """
    measured: list[dict[str, Any]] = [judge for judge in report["judges"] if judge["accuracy"] is not None]
    known = [judge for judge in measured if judge["n"] >= FEW]
    if not known:
        return max(measured, key=lambda j: j["n"], default=None)
    return max(known, key=lambda j: (j["cohen_kappa"] or 0.0, j["accuracy"]))


def human_agreement(report: dict[str, Any]) -> dict[str, Any] | None:
    """Pool the agreement of any two people on the same comparison: the agreement, and the number of such pairs of
    votes.
    """
    pairs = report["human_human"]["pairs"]
    n = sum(pair["n"] for pair in pairs)
    if not n:
        return None
    return {"agreement": sum(pair["agreement"] * pair["n"] for pair in pairs) / n, "n": n, "n_pairs": len(pairs)}


def agreement_sentence(report: dict[str, Any]) -> str:
    """Say whether a judge can be trusted, what is wrong with it, and what to do about it."""
    if not report["n_items"]:
        return _("There is nothing to compare yet: import records or sample some answers first.")
    if not report["judges"]:
        if not report["n_majority"]:
            return _(
                "Nobody has judged anything yet: people vote on the Annotate page, judges run from the Judges page."
            )
        return _("People have decided %(n)s comparisons, and no judge has been asked yet: run one on them.") % {
            "n": f"{report['n_majority']:,}"
        }
    best = best_judge(report)
    if best is None:
        return _("There are verdicts, but no truth to check them against: vote on some comparisons blind.")
    kappa = best["cohen_kappa"]
    score = _("agrees with the truth %(share)s, %(counted)s") % {
        "share": with_interval(best["accuracy"], best["accuracy_ci95"]),
        "counted": counted(best),
    }
    said: dict[str, Any] = {"judge": best["name"], "score": score}
    ceiling = human_agreement(report)
    low = best["kappa_ci95"][0] if best["kappa_ci95"] else None
    if best["n"] < FEW:
        return _("%(judge)s %(score)s: too few verdicts to rely on; label more comparisons.") % said
    if kappa is None or low is None or low <= 0:
        if len(report["judges"]) == 1:
            return _("Do not rely on any judge yet: %(judge)s, %(score)s, which may be no better than chance.") % said
        return _(
            "Do not rely on any judge yet: %(judge)s, the best of %(n)s, %(score)s, which may be no better than chance."
        ) % (said | {"n": len(report["judges"])})
    consistency = best["order_consistency"]
    if consistency is not None and consistency < 0.8:
        return _(
            "%(judge)s %(score)s, but prefers the same answer after swapping them only %(share)s: ask it in both "
            "orders "
            "and keep the verdicts that agree."
        ) % (said | {"share": with_interval(consistency, n=best["n_both_parsed"])})
    if ceiling is not None and best["accuracy_ci95"] and best["accuracy_ci95"][1] >= ceiling["agreement"]:
        return _(
            "You can rely on %(judge)s: it %(score)s, no worse than two people agree with each other (%(share)s)."
        ) % (said | {"share": with_interval(ceiling["agreement"], n=ceiling["n"])})
    said |= {"kappa": with_interval(kappa, best["kappa_ci95"], percent=False)}
    if low >= 0.6:
        return _("You can rely on %(judge)s where a few mistakes are harmless: it %(score)s, κ %(kappa)s.") % said
    return _("Let people review what %(judge)s says: it %(score)s, κ only %(kappa)s.") % said


def judge_use(judge: dict[str, Any], ceiling: float | None) -> dict[str, str]:
    """Say what a judge is good enough for, from most to least: {"level", "word", "why"}."""
    low = judge["kappa_ci95"][0] if judge["kappa_ci95"] else None
    n, accuracy = judge["n"], with_interval(judge["accuracy"], judge["accuracy_ci95"])
    test = judge["alternative_annotator"]
    epsilon = f"ε{NNBSP}={NNBSP}{test['epsilon']:g}"
    if not n:
        return {"level": "unknown", "word": _("Not known"), "why": _("There is no truth to check it against.")}
    if n < FEW or low is None:
        why = _("%(n)s verdicts are too few to tell: at least %(few)s are needed.") % {"n": f"{n:,}", "few": FEW}
        return {"level": "unknown", "word": _("Not known yet"), "why": why}
    if low <= 0:
        why = _("It agrees with the truth %(share)s, which may be no better than chance.") % {"share": accuracy}
        return {"level": "no", "word": _("Nothing"), "why": why}
    rate = "" if test["winning_rate"] is None else f"{test['winning_rate']:.2f}"
    if test["passed"]:
        why = _(
            "It agrees with the others at least as well as %(people)s do, within %(epsilon)s: winning rate %(rate)s, "
            "advantage %(advantage)s."
        ) % {"people": _people(test), "epsilon": epsilon, "rate": rate, "advantage": f"{test['advantage']:.2f}"}
        return {"level": "yes", "word": _("In place of one of your people"), "why": why}
    failed = (
        _("It does not pass as one of your people (winning rate %(rate)s, %(epsilon)s).")
        % {"rate": rate, "epsilon": epsilon}
        if test["passed"] is False
        else _("Whether it can replace a person has not been tested: %(reason)s.") % {"reason": test["reason"]}
    )
    if low >= 0.6 or (ceiling is not None and judge["accuracy_ci95"] and judge["accuracy_ci95"][1] >= ceiling):
        why = _("It agrees with the truth %(share)s.") % {"share": accuracy}
        return {"level": "care", "word": _("Training labels, with a sample reviewed"), "why": f"{why} {failed}"}
    why = _("It agrees with the truth %(share)s: better than chance, but too often wrong to train on alone.")
    return {
        "level": "care",
        "word": _("Ordering the review queue, and win rates corrected by people's votes"),
        "why": f"{why % {'share': accuracy}} {failed}",
    }


def versions(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Group the versions of each judge: [{"name", "rows": [{"name", "rate", "ci95", "n"}]}], two or more each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for judge in report["judges"]:
        match = _VERSION.fullmatch(judge["name"])
        name, version = (match["name"], int(match["version"])) if match else (judge["name"], 1)
        row = {
            "name": _("version %(n)s") % {"n": version},
            "rate": judge["accuracy"],
            "ci95": judge["accuracy_ci95"],
            "n": judge["n"],
        }
        found.setdefault(name, []).append(row)
    return [{"name": name, "rows": rows} for name, rows in found.items() if len(rows) > 1]


def _people(test: dict[str, Any]) -> str:
    won = sum(person["rejected"] for person in test["people"])
    return _("%(k)s of %(n)s people") % {"k": won, "n": len(test["people"])}


def win_rates_sentence(section: dict[str, Any]) -> str:
    """Sum up the result of both kinds of labels together."""
    measured = [m for m in section["models"] if m["both"]["ci95"]]
    if not measured:
        most = max((m["both"]["n"] for m in section["models"]), default=0)
        return _(
            "People and %(judge)s have labelled too few of the same comparisons (%(n)s): with ten or more for each "
            "model, "
            "votes and verdicts can be combined into one interval."
        ) % {"judge": section["judge"], "n": f"{most:,}"}
    best = max(measured, key=lambda m: m["both"]["rate"])
    width = (best["both"]["ci95"][1] - best["both"]["ci95"][0]) / 2
    said = {
        "model": best["name"],
        "share": with_interval(best["both"]["rate"], best["both"]["ci95"]),
        "judged": f"{best['judge']['n']:,}",
        "judge": section["judge"],
        "voted": f"{best['both']['n']:,}",
        "width": f"{100 * width:.1f}",
    }
    if not best["human"]["ci95"]:
        return (
            _(
                "%(model)s wins %(share)s of its comparisons, from %(judged)s that %(judge)s labelled and the "
                "%(voted)s of "
                "these that people voted on too, which take its bias out (±%(width)s)."
            )
            % said
        )
    alone = 50 * (best["human"]["ci95"][1] - best["human"]["ci95"][0])
    return _(
        "%(model)s wins %(share)s of its comparisons, from %(judged)s that %(judge)s labelled and the %(voted)s of "
        "these "
        "that people voted on too, which take its bias out (±%(width)s; people alone ±%(alone)s)."
    ) % (said | {"alone": f"{alone:.1f}"})


def strength_key(report: dict[str, Any]) -> str:
    """Name the strength by which a leaderboard is ordered: that at equal style where it was asked for and found."""
    return "style_bt" if report.get("style") and report["style"]["effects"] else "bt"


def style_effects(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Name the effects of style for people; empty where none were asked for or found."""
    named = {
        "length": _("length, in characters"),
        "headers": _("headers"),
        "lists": _("list items"),
        "bold": _("bold passages"),
    }
    found = (report.get("style") or {}).get("effects", [])
    return [effect | {"name": named[effect["name"]]} for effect in found]


def leaderboard_sentence(report: dict[str, Any]) -> str:
    """Say which model is first and whether that is certain."""
    models = report["models"]
    if not models:
        return _("No pairs compare two named models yet.")
    if report["reason"]:
        return _("The models can't be ranked by strength: %(reason)s.") % {"reason": report["reason"]}
    if len(models) == 1:
        return _("There is only one model: %(model)s.") % {"model": models[0]["name"]}
    first, second = models[0], models[1]
    labels = ngettext("%(n)s label", "%(n)s labels", report["n_used"]) % {"n": f"{report['n_used']:,}"}
    said = {"first": first["name"], "second": second["name"], "n": len(models), "labels": labels}
    by = f"{strength_key(report)}_ci95"
    if first[by][0] > second[by][1]:
        return _("%(first)s is the strongest of %(n)s models, clearly ahead of %(second)s (%(labels)s).") % said
    return _("%(first)s leads, but %(second)s may be as strong: their intervals overlap (%(labels)s).") % said
