"""Which of a crew labels in a way that a lead should look at, each with its evidence.

Nobody is accused by one figure near a bound: every rule needs a difference that matters (the bounds below) and one that
chance does not give. With thirty people and six rules something rare happens to somebody, so intervals are those of
99.9 % and tests of many pairs of people are corrected by Bonferroni. benchmarks/crew.py counts who is caught and who is
accused wrongly, on crews other than those on which the bounds were chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from prefloop.stats.annotators import (
    UNKNOWN,
    CrewColumns,
    Measured,
    chance_of_run,
    longest_run,
    measured,
    person_report,
    share_of,
)
from prefloop.stats.bias import FIRST, SECOND
from prefloop.stats.intervals import wilson_interval
from prefloop.stats.people import strict_majority

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Report = dict[str, Any]

CONFIDENCE = 0.999
LEAST = 20  # votes that say something of a person, below which no rule speaks
BELOW_CREW = 0.03  # less agreement than the median person's, beyond the interval
TOO_FAST = 0.5  # of the others' time on the same pairs
LEAN = 0.08  # from even, to one side
LONGER = 0.1  # more often the longer answer than the reference
DRIFT, DRIFT_Z = 0.1, 3.0  # less agreement in the last third than in the first
RUN_CHANCE = 1e-5  # of a run of one side as long as the longest
COPY_CHANCE = 0.01  # of as many equal answers, over all pairs of people
COPY_LEAST = 5  # departures of one that the other also voted on


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A pattern in one person's votes, with the figures that it rests on."""

    person: str
    kind: str  # disagrees | fast | side | longer | drift | run | copies | rates_off
    evidence: Report


def crew_with_suspicions(columns: CrewColumns) -> tuple[list[Report], list[Suspicion]]:
    """Describe each person, and name what is suspicious, person by person."""
    found = measured(columns)
    people = [person_report(found, person) for person in range(len(columns.raters))]
    usual = _usual([report["reference"] for report in people])
    copies = _copies(found)
    out: list[Suspicion] = []
    for person, report in enumerate(people):
        if report["n"] < LEAST:
            continue
        name = report["name"]
        rules = (
            ("disagrees", _below(report["reference"], usual)),
            ("fast", _fast(report, usual)),
            ("side", _side(report)),
            ("longer", _longer(report)),
            ("drift", _drift(report)),
            ("run", _run(found, person)),
        )
        out += [Suspicion(name, kind, evidence) for kind, evidence in rules if evidence is not None]
        out += [Suspicion(name, "copies", evidence) for evidence in copies.get(person, [])]
    return people, out


def rating_suspicions(agreement: Mapping[str, Report]) -> list[Suspicion]:
    """Name whose ratings of gold answers are right clearly less often than the median person's: each person's share of
    them that is right, as `share_of` gives it.
    """
    usual = _usual(list(agreement.values()))
    found = ((name, _below(figure, usual)) for name, figure in agreement.items())
    return [Suspicion(name, "rates_off", evidence) for name, evidence in found if evidence is not None]


def _usual(agreement: Sequence[Report | None]) -> float | None:
    """Give the median person's agreement with the reference, of those with enough votes; None below three people."""
    rates = [figure["rate"] for figure in agreement if figure and figure["n"] >= LEAST]
    return float(np.median(rates)) if len(rates) >= 3 else None


def _below(reference: Report | None, usual: float | None) -> Report | None:
    """Agreement that is clearly below the median person's."""
    if reference is None or usual is None or reference["n"] < LEAST:
        return None
    ends = wilson_interval(reference["k"], reference["n"], confidence=CONFIDENCE)
    if ends is None or ends.high >= usual - BELOW_CREW:
        return None
    return share_of(reference["k"], reference["n"]) | {"usual": usual}


def _fast(report: Report, usual: float | None) -> Report | None:
    """Clearly faster than the others on the same pairs, and not as good: who is fast and right is no suspect."""
    pace, reference = report["pace"], report["reference"]
    if pace is None or pace["ci95"] is None or reference is None or usual is None:
        return None
    if min(pace["n"], reference["n"]) < LEAST or pace["ci95"][1] >= TOO_FAST or reference["ci95"][1] >= usual:
        return None
    return dict(pace) | {"usual": usual, "agrees": reference["rate"], "seconds": report["seconds"]["median"]}


def _side(report: Report) -> Report | None:
    side = report["first_side"]
    if side is None or side["n"] < LEAST:
        return None
    ends = wilson_interval(side["k"], side["n"], confidence=CONFIDENCE)
    if ends is None or (ends.low <= 0.5 <= ends.high) or abs(side["rate"] - 0.5) < LEAN:
        return None
    return dict(side)


def _longer(report: Report) -> Report | None:
    lean = report["longer"]
    if lean is None or lean["n_both"] < LEAST or lean["excess_ci95"] is None:
        return None
    low = lean["excess"] + (lean["excess_ci95"][0] - lean["excess"]) * 1.7  # from 95 % to 99.9 %: 3.29 / 1.96
    return dict(lean) if low > 0 and lean["excess"] > LONGER else None


def _drift(report: Report) -> Report | None:
    change = report["drift"]
    if change is None or change["n"] < 3 * LEAST:
        return None
    return dict(change) if change["z"] < -DRIFT_Z and change["change"] < -DRIFT else None


def _run(found: Measured, person: int) -> Report | None:
    """A run of one side that is too long for this person's own share of it."""
    columns = found.columns
    rows = found.order[columns.rater[found.order] == person]
    chose = ((columns.outcome[rows] == FIRST) | (columns.outcome[rows] == SECOND)) & (columns.swapped[rows] != UNKNOWN)
    rows = rows[chose]
    if len(rows) < LEAST:
        return None
    left = (columns.outcome[rows] == SECOND) == (columns.swapped[rows] == 1)
    length, share = longest_run(left), float(left.mean())
    chance = chance_of_run(length, len(rows), share) + chance_of_run(length, len(rows), 1 - share)
    return {"length": length, "n": len(rows), "chance": chance} if chance < RUN_CHANCE else None


def _copies(found: Measured) -> dict[int, list[Report]]:
    """Find who gives another's answers although they saw the sides swapped, right or wrong.

    Two who favour one side, or saw the same order, agree for that reason: only pairs of votes with different orders are
    counted, on items that have a reference without the two. Where the other departs from it, a person joins by chance
    as often as the remaining voters on these items do, or as often as they depart at all, whichever is more. Where the
    other follows it, a person differs as often as the remaining voters do there, times how often they depart compared
    to the crew. The number of equal answers is then a sum of two binomials, and its tail, times the number of ordered
    pairs of people tested (Bonferroni), is the chance.
    """
    meetings = _meetings(found)
    out: dict[int, list[Report]] = {}
    if meetings is None:
        return out
    n_people = len(found.columns.raters)
    departs = _departures(found)
    usual = float(np.median(departs))
    of = {}
    for name, rows in (("off", meetings.departs), ("on", ~meetings.departs)):
        key = meetings.other[rows] * n_people + meetings.person[rows]
        of[name] = [
            np.bincount(key, None if weights is None else weights[rows], minlength=n_people**2)
            for weights in (None, meetings.same, meetings.joined, meetings.same * meetings.later)
        ]
    (n_off, k_off, joined, later), (n_on, k_on, followed, later_on) = of["off"], of["on"]
    tested = np.flatnonzero(n_off >= COPY_LEAST)
    for code in tested.tolist():
        other, person = divmod(code, n_people)
        p_off = max(joined[code] / n_off[code], departs[person])
        quality = departs[person] / usual if usual else 1.0
        p_on = 1.0 - min(1.0, quality) * (1.0 - followed[code] / n_on[code]) if n_on[code] else 0.0
        n, k = int(n_off[code] + n_on[code]), int(k_off[code] + k_on[code])
        chance = _tail(k, (int(n_off[code]), p_off), (int(n_on[code]), p_on)) * len(tested)
        after = int(later[code] + later_on[code])
        if chance < COPY_CHANCE and k_off[code] > p_off * n_off[code] and after * 2 > k:
            evidence = {
                "other": found.columns.raters[other],
                "n": n,
                "k": k,
                "n_off": int(n_off[code]),
                "k_off": int(k_off[code]),
                "later": after,
                "expected": float(p_off * n_off[code] + p_on * n_on[code]),
                "chance": chance,
            }
            out.setdefault(person, []).append(evidence)
    return out


def _tail(k: int, *parts: tuple[int, float]) -> float:
    """Give the probability that independent binomials (n, p) sum to k or more."""
    whole = np.ones(1)
    for n, p in parts:
        whole = np.convolve(whole, stats.binom.pmf(np.arange(n + 1), n, min(1.0, p)))
    return float(min(1.0, whole[k:].sum()))


@dataclass(frozen=True, slots=True)
class _Meetings:
    """Ordered pairs of votes on one item that were shown in different orders."""

    person: Ints
    other: Ints
    departs: NDArray[np.bool_]  # the other's vote from the reference without the two
    same: Floats
    later: Floats
    joined: Floats  # share of the remaining voters on the item who gave the other's answer


def _meetings(found: Measured) -> _Meetings | None:
    columns = found.columns
    rows = np.flatnonzero((columns.outcome >= 0) & (columns.swapped != UNKNOWN))
    rows = rows[np.argsort(columns.item[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(columns.item[rows], prepend=-1))
    sizes = np.diff(np.append(starts, len(rows)))
    a_parts, b_parts = [], []
    for size in np.unique(sizes).tolist():  # all ordered pairs of an item's votes, items of one size at once
        if size < 2:
            continue
        block = rows[starts[sizes == size][:, None] + np.arange(size)]
        i, j = np.nonzero(~np.eye(size, dtype=bool))
        a_parts.append(block[:, i].ravel())
        b_parts.append(block[:, j].ravel())
    if not a_parts:
        return None
    a, b = np.concatenate(a_parts), np.concatenate(b_parts)
    differs = columns.swapped[a] != columns.swapped[b]
    a, b = a[differs], b[differs]
    rest = found.counts[columns.item[a]]
    at = np.arange(len(a))
    rest[at, columns.outcome[a]] -= 1
    rest[at, columns.outcome[b]] -= 1
    gold = columns.gold[columns.item[a]]
    reference = np.where(gold >= 0, gold, strict_majority(rest))
    total = rest.sum(axis=1)
    kept = (reference >= 0) & (total > 0)
    a, b, rest, total, reference = a[kept], b[kept], rest[kept], total[kept], reference[kept]
    return _Meetings(
        person=columns.rater[b],
        other=columns.rater[a],
        departs=columns.outcome[a] != reference,
        same=(columns.outcome[a] == columns.outcome[b]).astype(np.float64),
        later=(columns.at[b] > columns.at[a]).astype(np.float64),
        joined=rest[np.arange(len(a)), columns.outcome[a]] / total,
    )


def _departures(found: Measured) -> Floats:
    """Give each person's share of votes that differ from the reference."""
    columns = found.columns
    known = found.reference >= 0
    n_people = len(columns.raters)
    n = np.bincount(columns.rater[known], minlength=n_people)
    off = np.bincount(columns.rater[known & (columns.outcome != found.reference)], minlength=n_people)
    return off / np.maximum(n, 1)
