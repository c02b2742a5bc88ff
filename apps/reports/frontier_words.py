"""Sum up the frontier in one sentence: the checkpoint to take, or that more KL no longer pays."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from apps.reports.frontier import Y_FIGURES, points_of
from apps.reports.words import NNBSP, with_interval


def frontier_sentence(report: dict[str, Any], y: str) -> str:
    """Sum up the group with most checkpoints; if there are several groups, name its initial policy."""
    groups = report["groups"]
    if not groups:
        return _("No policy has been measured yet: run a loop, and each of its checkpoints becomes a point here.")
    said = group_sentence(groups[0], y)
    if len(groups) == 1:
        return said
    return _("From %(start)s, which has the most measurements: %(said)s") % {"start": name_of(groups[0]), "said": said}


def group_sentence(group: dict[str, Any], y: str) -> str:
    """Name the checkpoint with the best result for its KL, the best one, and say whether a loop went too far."""
    value = Y_FIGURES[y].key
    later = [point for point in points_of(group) if point["round"] > 0 and point[value] is not None]
    if not later:
        curves = [one for one in group["best_of_n"] if y == "gold"]
        return _best_of_n_sentence(curves[-1]) if curves else _("Only the starting policy is measured so far.")
    too_far = falls(group, y)
    if too_far:
        return _too_far_sentence(group, *too_far[0], _most(later, y), y)
    return _gold_sentence(group, later) if y == "gold" else _win_sentence(group, later)


def falls(group: dict[str, Any], y: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Find loops that went too far: (their peak, the last later point with a larger KL whose interval is wholly
    below it).
    """
    value, ends = Y_FIGURES[y].key, Y_FIGURES[y].bounds
    found = []
    for line in group["loops"]:
        known = [point | {"loop": line["loop"]} for point in line["points"] if point[ends] and point["kl"] is not None]
        if not known:
            continue
        peak = max(known, key=lambda point: (point[value], -point["kl"]))
        worse = [
            point
            for point in known
            if point["round"] > peak["round"] and point["kl"] > peak["kl"] and point[ends][1] < peak[ends][0]
        ]
        if worse:
            found.append((peak, worse[-1]))
    return found


def name_of(group: dict[str, Any]) -> str:
    return group["initial"]["name"] if group["initial"] else _("an unknown policy")


def _said(point: dict[str, Any], y: str) -> str:
    value, ends = Y_FIGURES[y].key, Y_FIGURES[y].bounds
    share = with_interval(point[value], point[ends], percent=y == "win")
    return _("%(value)s at %(kl)s") % {"value": share, "kl": f"{point['kl']:.2f}{NNBSP}nats"}


def _most(later: list[dict[str, Any]], y: str) -> dict[str, Any]:
    """The checkpoint with the highest lower end of its interval, so that luck counts for little."""
    value, ends = Y_FIGURES[y].key, Y_FIGURES[y].bounds
    return max(later, key=lambda point: (point[ends] or [point[value]])[0])


def _too_far_sentence(
    group: dict[str, Any], peak: dict[str, Any], last: dict[str, Any], most: dict[str, Any], y: str
) -> str:
    # a win rate by the loop's own judge may fall too, but only held-out truth shows that a judge was exploited
    exploited = peak["round"] > 0 and (y == "gold" or group["measured_by"] == "gold")
    said = {
        "loop": peak["loop"],
        "from": _said(peak, y),
        "to": _said(last, y),
        "why": _("over-optimisation") if exploited else _("it got worse"),
        "peak": _named(peak),
        "most": _named(most),
        "value": _said(most, y),
    }
    if most["checkpoint_id"] == peak["checkpoint_id"]:
        if y == "gold":
            return (
                _(
                    "Gold falls while KL grows in loop %(loop)s, from %(from)s to %(to)s: %(why)s, so take %(peak)s, "
                    "which has the highest gold of all checkpoints."
                )
                % said
            )
        return (
            _(
                "The win rate falls while KL grows in loop %(loop)s, from %(from)s to %(to)s: %(why)s, so take "
                "%(peak)s, which wins most of all checkpoints."
            )
            % said
        )
    if y == "gold":
        return (
            _(
                "Gold falls while KL grows in loop %(loop)s, from %(from)s to %(to)s: %(why)s after %(peak)s; %(most)s "
                "has the highest gold, %(value)s."
            )
            % said
        )
    return (
        _(
            "The win rate falls while KL grows in loop %(loop)s, from %(from)s to %(to)s: %(why)s after %(peak)s; "
            "%(most)s wins most, %(value)s."
        )
        % said
    )


def _win_sentence(group: dict[str, Any], later: list[dict[str, Any]]) -> str:
    most = _most(later, "win")
    better = [
        point for point in later if point["win_rate_ci95"] and point["win_rate_ci95"][0] > 0.5 and point["kl"] > 0
    ]
    if not better:
        return _("No checkpoint is clearly better than %(start)s: the best, %(most)s, wins %(value)s.") % {
            "start": name_of(group),
            "most": _named(most),
            "value": _said(most, "win"),
        }
    # by the worse end of both intervals, so that luck near KL 0 doesn't win
    thrifty = max(better, key=lambda p: (p["win_rate_ci95"][0] - 0.5) / (p["kl_ci95"][1] if p["kl_ci95"] else p["kl"]))
    if thrifty is most or thrifty["checkpoint_id"] == most["checkpoint_id"]:
        return _(
            "Take %(most)s: it beats %(start)s %(value)s, the most of all checkpoints and the most for its KL."
        ) % {"most": _named(most), "start": name_of(group), "value": _said(most, "win")}
    steeper = any((point["win_rate_per_nat"] or 0.0) > thrifty["win_rate_per_nat"] for point in better)
    said = {
        "thrifty": _named(thrifty),
        "for_little": _said(thrifty, "win"),
        "points": f"{100 * (thrifty['win_rate_vs_initial'] - 0.5):+.1f}",
        "kl": f"{thrifty['kl']:.2f}",
        "most": _named(most),
        "value": _said(most, "win"),
    }
    if steeper:
        return (
            _(
                "%(thrifty)s wins most for its KL, %(for_little)s (%(points)s points for %(kl)s KL, the most at the "
                "worse "
                "ends of both intervals); %(most)s wins most, %(value)s."
            )
            % said
        )
    return (
        _(
            "%(thrifty)s wins most for its KL, %(for_little)s (%(points)s points for %(kl)s KL); %(most)s wins most, "
            "%(value)s."
        )
        % said
    )


def _gold_sentence(group: dict[str, Any], later: list[dict[str, Any]]) -> str:
    most = _most(later, "gold")
    starts = [
        point
        for point in points_of(group)
        if point["round"] == 0 and point["gold_mean"] is not None and point["loop"] == most["loop"]
    ]
    if starts and not _above(most, starts[0]):
        return _(
            "No checkpoint is clearly better than %(start)s with gold %(had)s: the best, %(most)s, has %(value)s."
        ) % {
            "start": name_of(group),
            "had": with_interval(starts[0]["gold_mean"], starts[0]["gold_ci95"], percent=False),
            "most": _named(most),
            "value": _said(most, "gold"),
        }
    said = {"most": _named(most), "value": _said(most, "gold")}
    if not starts:
        return (
            _(
                "%(most)s has the highest gold, up to %(value)s; no loop clearly lost gold as its KL grew, so none is "
                "over-optimised yet."
            )
            % said
        )
    said |= {"begun": f"{starts[0]['gold_mean']:.2f}".replace("-", "\u2212")}
    return (
        _(
            "%(most)s has the highest gold, up from %(begun)s to %(value)s; no loop clearly lost gold as its KL "
            "grew, so "
            "none is over-optimised yet."
        )
        % said
    )


def _above(point: dict[str, Any], start: dict[str, Any]) -> bool:
    return bool(point["gold_ci95"] and start["gold_ci95"] and point["gold_ci95"][0] > start["gold_ci95"][1])


def _best_of_n_sentence(curve: dict[str, Any]) -> str:
    last = curve["rows"][-1]
    return _(
        "Best of %(n)s reaches gold %(value)s at no more than %(kl)s; no loop has trained a policy to compare it "
        "with yet."
    ) % {
        "n": last["n"],
        "value": with_interval(last["mean"], last["ci95"], percent=False),
        "kl": f"{last['kl_bound']:.2f}{NNBSP}nats",
    }


def _named(point: dict[str, Any]) -> str:
    return point["checkpoint"] or _("round %(k)s of loop %(loop)s") % {
        "k": point["round"],
        "loop": point["loop"],
    }
