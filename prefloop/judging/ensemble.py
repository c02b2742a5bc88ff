"""Several judges' labels of one comparison to one.

`majority` counts heads; `weighted` adds log-odds: for judges that err independently, each right with probability a, the
most probable truth is that of the sum of log(a / (1 - a)) over those for, less that over those against (Nitzan and
Paroush 1982, International Economic Review 23(2); a one-coin Dawid-Skene model with known accuracies).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prefloop.judging.verdicts import EffectiveLabel, outcome_at
from prefloop.types import Outcome, mean

_P_OF: dict[Outcome, float] = {"first": 1.0, "second": 0.0, "tie": 0.5}


@dataclass(frozen=True, slots=True)
class MemberLabel:
    """One member's label, and its weight in log-odds (nats); majority looks at no weights."""

    label: EffectiveLabel
    weight: float = 1.0


def weight_of_agreement(n_right: float, n: int) -> float:
    """log(a / (1 - a)) of the agreement a = (n_right + 1) / (n + 2); 0 for a judge no better than a coin.

    With n = 0 nothing is known of the judge, and it has no weight.
    """
    if not 0 <= n_right <= n:
        raise ValueError(f"{n_right} right of {n}")
    a = (n_right + 1) / (n + 2)
    return max(0.0, math.log(a / (1 - a)))


def majority(members: Sequence[MemberLabel]) -> EffectiveLabel:
    """The outcome that most members with a label gave; p is the mean of theirs.

    No outcome in front makes it `inconsistent`; no member with a label makes it `unparseable`.
    """
    labels = [member.label for member in members if member.label.outcome is not None]
    counts = Counter(label.outcome for label in labels).most_common(2)
    if not counts:
        return EffectiveLabel("unparseable")
    if len(counts) == 2 and counts[0][1] == counts[1][1]:
        return EffectiveLabel("inconsistent")
    outcome = counts[0][0]
    ps = [p for label in labels if (p := _p(label)) is not None]
    return EffectiveLabel("ok", outcome, None if outcome == "both_bad" else mean(ps))


def weighted(members: Sequence[MemberLabel]) -> EffectiveLabel:
    """The outcome of the summed log-odds; p is their logistic.

    A member's label counts by how far its p is from a half, a tie for nothing. `both_bad` where the members that say
    so outweigh the others. Members with a label but no weight at all make it `inconsistent`: there is nothing to go by.
    """
    told = [member for member in members if member.label.outcome is not None]
    if not told:
        return EffectiveLabel("unparseable")
    total = sum(member.weight for member in told)
    if total <= 0:
        return EffectiveLabel("inconsistent")
    bad = sum(member.weight for member in told if member.label.outcome == "both_bad")
    if 2 * bad > total:
        return EffectiveLabel("ok", "both_bad")
    log_odds = sum(member.weight * (2 * p - 1) for member in told if (p := _p(member.label)) is not None)
    p = 1 / (1 + math.exp(-log_odds)) if log_odds >= 0 else math.exp(log_odds) / (1 + math.exp(log_odds))
    return EffectiveLabel("ok", outcome_at(p), p)


def _p(label: EffectiveLabel) -> float | None:
    if label.outcome is None or label.outcome == "both_bad":
        return None
    return _P_OF[label.outcome] if label.p_first is None else label.p_first
