"""What a report says in words: one sentence that a busy person can act on. Plain functions of the report's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NNBSP = "\u202f"
FEW = 100  # with fewer verdicts than this an interval is too wide to act on


def with_interval(
    value: float | None, ends: Sequence[float] | None = None, *, n: int | None = None, percent: bool = True
) -> str:
    """Write a number as people should read it: "71.2 % [68.1, 74.0], n = 974"; "not known" where there is none."""
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


def best_judge(report: dict[str, Any]) -> dict[str, Any] | None:
    """Give the judge with the highest κ, by accuracy where κ is undefined; None where none was measured."""
    measured = [judge for judge in report["judges"] if judge["accuracy"] is not None]
    return max(measured, key=lambda j: (j["cohen_kappa"] or 0.0, j["accuracy"]), default=None)


def human_agreement(report: dict[str, Any]) -> dict[str, Any] | None:
    """Pool what any two people said of the same comparison: agreement, and on how many meetings it rests."""
    pairs = report["human_human"]["pairs"]
    n = sum(pair["n"] for pair in pairs)
    if not n:
        return None
    return {"agreement": sum(pair["agreement"] * pair["n"] for pair in pairs) / n, "n": n, "n_pairs": len(pairs)}


def agreement_sentence(report: dict[str, Any]) -> str:
    """Say whether a judge can be believed, what stands in its way, and what to do about it."""
    if not report["n_items"]:
        return "There is nothing to compare yet: import records or sample some answers first."
    if not report["judges"]:
        voted = report["n_majority"]
        if voted:
            return f"People have decided {voted:,} comparisons, and no judge has been asked yet: run one on them."
        return "Nobody has judged anything yet: people vote on the Annotate page, judges run from the Judges page."
    best = best_judge(report)
    if best is None:
        return "The judges have spoken, but there is no truth to hold them to: vote on some comparisons blind."
    kappa = best["cohen_kappa"]
    score = f"agrees with the truth {with_interval(best['accuracy'], best['accuracy_ci95'], n=best['n'])}"
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
            f"{best['name']} {score}, but says the same when the answers swap places only "
            f"{with_interval(consistency, n=best['n_both_parsed'])}: ask it in both orders and keep what agrees."
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


def leaderboard_sentence(report: dict[str, Any]) -> str:
    """Say who is first and whether that is certain."""
    models = report["models"]
    if not models:
        return "There are no games to rank by: comparisons of answers by different, named models are needed."
    if report["reason"]:
        return f"The models can't be ranked by strength: {report['reason']}."
    if len(models) == 1:
        return f"There is only one model: {models[0]['name']}."
    first, second = models[0], models[1]
    n = f"{report['n_used']:,} games"
    if first["bt_ci95"][0] > second["bt_ci95"][1]:
        return f"{first['name']} is the strongest of {len(models)} models, clearly ahead of {second['name']} ({n})."
    return f"{first['name']} leads, but {second['name']} may be as strong: their intervals overlap ({n})."
