"""Combining several judges' labels of one comparison into one.

`majority` counts heads; `weighted` adds log-odds: for judges that err independently, each right with probability a, the
most probable truth is that of the sum of log(a / (1 - a)) over those for, less that over those against (Nitzan and
Paroush 1982, International Economic Review 23(2); a one-coin Dawid-Skene model with known accuracies).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prefloop.judging.verdicts import EffectiveLabel
from prefloop.preference import outcome_at, p_of, sigmoid
from prefloop.types import LabelledVerdict, mean


@dataclass(frozen=True, slots=True)
class MemberLabel:
    """One member's label, and its weight in log-odds (nats), which majority ignores."""

    label: EffectiveLabel
    weight: float = 1.0


def weight_of_agreement(n_right: float, n: int) -> float:
    """log(a / (1 - a)) of the agreement a = (n_right + 1) / (n + 2); 0 for a judge no better than chance.

    With n = 0 nothing is known about the judge, and it has no weight.
    """
    if not 0 <= n_right <= n:
        raise ValueError(f"{n_right} right of {n}")
    a = (n_right + 1) / (n + 2)
    return max(0.0, math.log(a / (1 - a)))


def together(rule: str, members: Sequence[tuple[str, MemberLabel]]) -> LabelledVerdict:
    """What members, each with its name, come to by a rule; in words what each of them said."""
    made = (weighted if rule == "weighted" else majority)([one for _, one in members])
    said = ", ".join(f"{name}: {one.label.outcome or one.label.state}" for name, one in members)
    return LabelledVerdict(state=made.state, outcome=made.outcome, p_first=made.p_first, rationale=said)


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
    ps = [p for label in labels if (p := p_of(label.outcome, label.p_first)) is not None]
    return EffectiveLabel("ok", outcome, None if outcome == "both_bad" else mean(ps))


def weighted(members: Sequence[MemberLabel]) -> EffectiveLabel:
    """The outcome of the summed log-odds; p is their logistic.

    A member's label counts by the distance of its p from a half; a tie counts nothing. `both_bad` if its members
    outweigh the others. If the members with a label have no weight at all, the result is `inconsistent`.
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
    log_odds = sum(
        member.weight * (2 * p - 1)
        for member in told
        if (p := p_of(member.label.outcome, member.label.p_first)) is not None
    )
    p = sigmoid(log_odds)
    return EffectiveLabel("ok", outcome_at(p), p)
