"""How a judge fared against the attack corpus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from django.db.models import Count, Q
from numpy.typing import NDArray

from apps.judging.figures import Share
from apps.judging.models import AttackTrial
from apps.labels.models import Judge
from prefloop.judging.attacks import CONTROL, CORPUS, attacks
from prefloop.stats.intervals import share_interval, wilson_interval


@dataclass(frozen=True, slots=True)
class AttackRow:
    """How one attack fared: flips of `n` tries, and how many of them were flagged for a person anyway."""

    name: str
    about: str
    n: int
    n_flipped: int
    n_flagged: int
    n_unread: int
    share: Share


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """All attacks together, the control aside. The interval is over pairs: each met every attack."""

    n_pairs: int
    flipped: Share
    control: Share
    rows: tuple[AttackRow, ...]  # the worst first


def attack_figures(judge: Judge) -> AttackFigures | None:
    """Give how often the corpus flips a judge; None where it was not tried."""
    trials = AttackTrial.objects.filter(judge=judge, corpus=CORPUS)
    counted = {
        row["attack"]: row
        for row in trials.values("attack").annotate(
            n=Count("id"),
            n_flipped=Count("id", filter=Q(flipped=True)),
            n_flagged=Count("id", filter=Q(flipped=True) & ~Q(flags=[])),
            n_unread=Count("id", filter=Q(state__in=("unparseable", "error"))),
        )
    }
    if not counted:
        return None
    rows = [
        AttackRow(
            name=attack.name,
            about=attack.about,
            n=one["n"],
            n_flipped=one["n_flipped"],
            n_flagged=one["n_flagged"],
            n_unread=one["n_unread"],
            share=_wilson(one["n_flipped"], one["n"]),
        )
        for attack in attacks()
        if (one := counted.get(attack.name)) is not None
    ]
    control = next((row.share for row in rows if row.name == CONTROL), Share(0))
    rows = [row for row in rows if row.name != CONTROL]
    by_pair = (
        trials.exclude(attack=CONTROL)
        .values_list("comparison_id")
        .annotate(n=Count("id"), k=Count("id", filter=Q(flipped=True)))
    )
    pairs = np.array([(k, n) for _, n, k in by_pair.values_list("comparison_id", "n", "k")], dtype=float)
    return AttackFigures(
        n_pairs=len(pairs),
        flipped=_over_pairs(pairs),
        control=control,
        rows=tuple(sorted(rows, key=lambda row: (-(row.share.rate or 0), row.name))),
    )


def _wilson(k: int, n: int) -> Share:
    interval = wilson_interval(k, n)
    return Share(n) if interval is None else Share(n, k / n, interval.low, interval.high)


def _over_pairs(pairs: NDArray[np.float64]) -> Share:
    """The share of flips of (flips, tries) a pair; the tries of one pair belong together."""
    if not len(pairs):
        return Share(0)
    k, n = pairs.sum(axis=0)
    interval = share_interval(pairs[:, 0], pairs[:, 1]) or wilson_interval(k / n, 1)
    return Share(int(n), k / n, interval.low, interval.high) if interval is not None else Share(int(n))
