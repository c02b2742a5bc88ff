"""Alarms of a training run: signs in its numbers that something went wrong. Pure functions; None means no alarm.

A change raises an alarm only if it is larger than its own noise *and* larger than a given limit: a small but certain
change is none, nor is a large one that may be chance. The limits are prefloop's own; the problems are known in the
field: chosen log-probs fall while the margin rises (Pal et al., arXiv:2402.13228; Razin et al., arXiv:2410.08847), a
judge's score rises while the truth falls (Gao et al., arXiv:2210.10760), answers get longer for their own sake (Yuan et
al., arXiv:2401.10020, Table 1), and a policy repeats itself (entropy).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean, variance
from typing import Literal

Kind = Literal["chosen", "kl", "length", "divergence", "entropy"]

LEAST_STEPS = 20  # fewer have no beginning and end to compare
CHOSEN_LIMIT = 0.10  # share of the log-prob at the beginning
KL_BUDGET = 10.0  # nats: farther than best of 50,000 may go (log n - (n-1)/n = 9.8)
LENGTH_LIMIT = 1.25  # times
ENTROPY_LIMIT = 0.5  # times
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Alarm:
    """`before`, `after`: what changed, in its own unit; `second`: (before, after) of the other number, if there is one.

    `limit` is the value that `after` had to pass.
    """

    kind: Kind
    before: float
    after: float
    limit: float
    second: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and half the width of its 95% interval (0: known exactly, or not known how well)."""

    value: float
    half: float = 0.0


@dataclass(frozen=True, slots=True)
class Shift:
    """The means at the beginning and the end of a series, and half the 95% interval of their difference."""

    before: float
    after: float
    noise: float


def window_shift(values: Sequence[float]) -> Shift | None:
    """Compare the first fifth of a series with its last; None where it is shorter than LEAST_STEPS.

    The noise is 1.96 · sqrt(s₁²/k + s₂²/k) of the two windows of k steps: steps use batches of their own, and a trend
    inside a window makes it only wider.
    """
    if len(values) < LEAST_STEPS:
        return None
    k = len(values) // 5
    first, last = list(values[:k]), list(values[-k:])
    return Shift(fmean(first), fmean(last), _Z * sqrt((variance(first) + variance(last)) / k))


def chosen_falls(logps: Sequence[float], *, limit: float = CHOSEN_LIMIT) -> Alarm | None:
    """Return an alarm if the mean log-prob (nats, negative) of chosen answers fell by the share `limit` of its first
    value.
    """
    shift = window_shift(logps)
    if shift is None:
        return None
    floor = shift.before - limit * abs(shift.before)
    if shift.after < floor and shift.before - shift.after > shift.noise:
        return Alarm("chosen", shift.before, shift.after, floor)
    return None


def kl_over(kl: Mean, *, budget: float = KL_BUDGET) -> Alarm | None:
    """Return an alarm if the whole interval of KL(policy ‖ start), in nats, is above the budget."""
    return Alarm("kl", 0.0, kl.value, budget) if kl.value - kl.half > budget else None


def length_grows(start: float, now: float, *, limit: float = LENGTH_LIMIT) -> Alarm | None:
    """Return an alarm if answers are `limit` times as long as those of the start (any unit, the same for both)."""
    return Alarm("length", start, now, limit * start) if start > 0 and now > limit * start else None


def judge_diverges(judge: tuple[Mean, Mean], gold: tuple[Mean, Mean]) -> Alarm | None:
    """Return an alarm if the judge's score rose and gold fell, each by more than the noise of its difference.

    The noise is sqrt(h₁² + h₂²): too wide if both were measured on the same prompts, never too narrow.
    """
    if _rise(*judge) > 0 and _rise(*reversed(gold)) > 0:
        return Alarm("divergence", gold[0].value, gold[1].value, gold[0].value, (judge[0].value, judge[1].value))
    return None


def _rise(before: Mean, after: Mean) -> float:
    """How far the difference exceeds its noise; not positive if it may be chance."""
    return after.value - before.value - sqrt(before.half**2 + after.half**2)


def entropy_collapses(start: float, now: float, *, limit: float = ENTROPY_LIMIT) -> Alarm | None:
    """Return an alarm if the policy's entropy (nats per token, or per answer) is `limit` times that of the start or
    less.
    """
    return Alarm("entropy", start, now, limit * start) if start > 0 and now <= limit * start else None
