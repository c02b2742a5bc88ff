"""Reports in words: one sentence that a busy person can act on. Plain functions of the report's JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_VERSION = re.compile(r"(?P<name>.+) v(?P<version>\d+)")
NNBSP = "\u202f"
FEW = 100  # with fewer verdicts than this an interval is too wide to act on


def with_interval(
    value: float | None, ends: Sequence[float] | None = None, *, n: int | None = None, percent: bool = True
) -> str:
    """Write a number with its interval: "71.2 % [68.1, 74.0], n = 974"; "not known" if there is none."""
    if value is None:
        return "not known"
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
    return f"{judge['n_comparisons']:,} comparisons, {judge['n']:,} verdicts"


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
        return "There is nothing to compare yet: import records or sample some answers first."
    if not report["judges"]:
        voted = report["n_majority"]
        if voted:
            return f"People have decided {voted:,} comparisons, and no judge has been asked yet: run one on them."
        return "Nobody has judged anything yet: people vote on the Annotate page, judges run from the Judges page."
    best = best_judge(report)
    if best is None:
        return "There are verdicts, but no truth to check them against: vote on some comparisons blind."
    kappa = best["cohen_kappa"]
    score = f"agrees with the truth {with_interval(best['accuracy'], best['accuracy_ci95'])}, {counted(best)}"
    ceiling = human_agreement(report)
    low = best["kappa_ci95"][0] if best["kappa_ci95"] else None
    if best["n"] < FEW:
        return f"{best['name']} {score}: too few verdicts to rely on; label more comparisons."
    if kappa is None or low is None or low <= 0:
        of = f"the best of {len(report['judges'])}, " if len(report["judges"]) > 1 else ""
        return f"Do not rely on any judge yet: {best['name']}, {of}{score}, which may be no better than chance."
    consistency = best["order_consistency"]
    if consistency is not None and consistency < 0.8:
        return (
            f"{best['name']} {score}, but prefers the same answer after swapping them only "
            f"{with_interval(consistency, n=best['n_both_parsed'])}: ask it in both orders and keep the "
            "verdicts that agree."
        )
    if ceiling is not None and best["accuracy_ci95"] and best["accuracy_ci95"][1] >= ceiling["agreement"]:
        return (
            f"You can rely on {best['name']}: it {score}, no worse than two people agree with each other "
            f"({with_interval(ceiling['agreement'], n=ceiling['n'])})."
        )
    beyond_chance = with_interval(kappa, best["kappa_ci95"], percent=False)
    if low >= 0.6:
        return f"You can rely on {best['name']} where a few mistakes are harmless: it {score}, κ {beyond_chance}."
    return f"Let people review what {best['name']} says: it {score}, κ only {beyond_chance}."


def judge_use(judge: dict[str, Any], ceiling: float | None) -> dict[str, str]:
    """Say what a judge is good enough for, from most to least: {"level", "word", "why"}."""
    low = judge["kappa_ci95"][0] if judge["kappa_ci95"] else None
    n, accuracy = judge["n"], with_interval(judge["accuracy"], judge["accuracy_ci95"])
    test = judge["alternative_annotator"]
    epsilon = f"ε{NNBSP}={NNBSP}{test['epsilon']:g}"
    if not n:
        return {"level": "unknown", "word": "Not known", "why": "There is no truth to check it against."}
    if n < FEW or low is None:
        return {
            "level": "unknown",
            "word": "Not known yet",
            "why": f"{n:,} verdicts are too few to tell: at least {FEW} are needed.",
        }
    if low <= 0:
        return {
            "level": "no",
            "word": "Nothing",
            "why": f"It agrees with the truth {accuracy}, which may be no better than chance.",
        }
    if test["passed"]:
        return {
            "level": "yes",
            "word": "In place of one of your people",
            "why": f"It agrees with the others at least as well as {_people(test)} do, within {epsilon}: "
            f"winning rate {test['winning_rate']:.2f}, advantage {test['advantage']:.2f}.",
        }
    failed = (
        f" It does not pass as one of your people (winning rate {test['winning_rate']:.2f}, {epsilon})."
        if test["passed"] is False
        else f" Whether it can replace a person has not been tested: {test['reason']}."
    )
    if low >= 0.6 or (ceiling is not None and judge["accuracy_ci95"] and judge["accuracy_ci95"][1] >= ceiling):
        return {
            "level": "care",
            "word": "Training labels, with a sample reviewed",
            "why": f"It agrees with the truth {accuracy}.{failed}",
        }
    return {
        "level": "care",
        "word": "Ordering the review queue, and win rates corrected by people's votes",
        "why": f"It agrees with the truth {accuracy}: better than chance, but too often wrong to train on "
        f"alone.{failed}",
    }


def versions(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Group the versions of each judge: [{"name", "rows": [{"name", "rate", "ci95", "n"}]}], two or more each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for judge in report["judges"]:
        match = _VERSION.fullmatch(judge["name"])
        name, version = (match["name"], int(match["version"])) if match else (judge["name"], 1)
        row = {"name": f"version {version}", "rate": judge["accuracy"], "ci95": judge["accuracy_ci95"], "n": judge["n"]}
        found.setdefault(name, []).append(row)
    return [{"name": name, "rows": rows} for name, rows in found.items() if len(rows) > 1]


def _people(test: dict[str, Any]) -> str:
    won = sum(person["rejected"] for person in test["people"])
    return f"{won} of {len(test['people'])} people"


def win_rates_sentence(section: dict[str, Any]) -> str:
    """Sum up the result of both kinds of labels together."""
    measured = [m for m in section["models"] if m["both"]["ci95"]]
    if not measured:
        most = max((m["both"]["n"] for m in section["models"]), default=0)
        return (
            f"People and {section['judge']} have labelled too few of the same comparisons ({most:,}): "
            "with ten or more for each model, votes and verdicts can be combined into one interval."
        )
    best = max(measured, key=lambda m: m["both"]["rate"])
    width = (best["both"]["ci95"][1] - best["both"]["ci95"][0]) / 2
    text = (
        f"{best['name']} wins {with_interval(best['both']['rate'], best['both']['ci95'])} of its comparisons, "
        f"from {best['judge']['n']:,} that {section['judge']} labelled and the {best['both']['n']:,} of these that "
        f"people voted on too, which take its bias out (±{100 * width:.1f}"
    )
    if best["human"]["ci95"]:
        text += f"; people alone ±{50 * (best['human']['ci95'][1] - best['human']['ci95'][0]):.1f}"
    return text + ")."


def leaderboard_sentence(report: dict[str, Any]) -> str:
    """Say which model is first and whether that is certain."""
    models = report["models"]
    if not models:
        return "No pairs compare two named models yet."
    if report["reason"]:
        return f"The models can't be ranked by strength: {report['reason']}."
    if len(models) == 1:
        return f"There is only one model: {models[0]['name']}."
    first, second = models[0], models[1]
    n = f"{report['n_used']:,} games"
    if first["bt_ci95"][0] > second["bt_ci95"][1]:
        return f"{first['name']} is the strongest of {len(models)} models, clearly ahead of {second['name']} ({n})."
    return f"{first['name']} leads, but {second['name']} may be as strong: their intervals overlap ({n})."
