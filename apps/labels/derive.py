"""The effective label of a comparison, derived from the labels that people and judges left.

    override > adjudication > human majority > edit > judge

`derive` is pure and its result does not depend on the order of the events. Preferences, training sets, pages and
exports all get their labels from it (selectors.labels_of).

Rules that are easy to get wrong:
1. An `agree` is not a correction: the label stays the judge's (its source says so) and is pinned to what was agreed to,
   below what people said blind.
2. Skips and withdrawn votes are kept but do not count.
3. Two equal answers have no label, whatever votes or verdicts they have.
4. What an excluded person said is kept and does not count: neither votes, nor adjudications, nor decisions.
5. Who edits an answer says that the edited one is better: a label below what others say of the pair blind.
6. A ranking comes with a vote, or with a verdict shown in no order, on each of its pairs; nothing else reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from apps.labels.types import JudgeLabel, Label, OverrideEvent, VoteEvent
from prefloop.judging.verdicts import BOTH_ORDERS, ORDER_OF_CODE, OrderedVerdict, combine
from prefloop.preference import P_OF_OUTCOME
from prefloop.types import OUTCOMES, LabelledVerdict, OrderPolicy, Outcome, VerdictState

if TYPE_CHECKING:
    from apps.labels.models import Verdict


def vote_of_each(votes: Iterable[VoteEvent], *, adjudications: bool = False) -> dict[str, VoteEvent]:
    """Give each person's vote that counts: their last one, unless it took the earlier ones back or they are excluded.

    Blind votes, or the adjudications: a person may have one of each on a comparison.
    """
    kept: dict[str, VoteEvent] = {}
    votes = [vote for vote in votes if vote.adjudication == adjudications]
    replaced = {vote.supersedes for vote in votes}
    for vote in votes:
        now = kept.get(vote.rater)
        if vote.id not in replaced and (now is None or (vote.at, vote.id) > (now.at, now.id)):
            kept[vote.rater] = vote
    return {rater: vote for rater, vote in kept.items() if vote.choice != "withdrawn" and not vote.excluded}


def standing_override(overrides: Iterable[OverrideEvent]) -> OverrideEvent | None:
    """Return the current decision: anybody's last one that was neither replaced nor withdrawn."""
    overrides = list(overrides)
    if not overrides:
        return None
    replaced = {event.supersedes for event in overrides}
    standing = [
        event for event in overrides if event.id not in replaced and event.kind != "withdrawn" and not event.excluded
    ]
    return max(standing, key=lambda event: (event.at, event.id), default=None)


def majority(votes: Iterable[VoteEvent]) -> Outcome | None:
    """Return the outcome with strictly the most votes, skips ignored; None if there is none."""
    choices = [vote.choice for vote in votes if vote.choice in OUTCOMES]
    if len(choices) == 1:  # most comparisons, and a Counter takes longer than all the rest
        return choices[0]
    counts = Counter(choices).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def derive(*, votes: Iterable[VoteEvent], overrides: Iterable[OverrideEvent], judge: JudgeLabel | None) -> Label | None:
    """Return the effective label of one comparison; None if it has no votes or verdicts."""
    votes = list(votes)
    decision = standing_override(overrides)
    if decision is not None and decision.kind == "override":
        without = derive(votes=votes, overrides=(), judge=judge)
        return _hard(decision.choice, "override", [f"override:{decision.id}"], without)
    unblind = [vote for vote in vote_of_each(votes, adjudications=True).values() if vote.choice in OUTCOMES]
    settled = [vote for vote in unblind if not vote.by_edit]
    if settled:
        last = max(settled, key=lambda vote: (vote.at, vote.id))
        return _hard(last.choice, "adjudication", [f"vote:{last.id}"])
    standing = vote_of_each(votes).values()
    chosen = majority(standing)
    if chosen is not None:
        counted = sorted(vote.id for vote in standing if vote.choice in OUTCOMES)
        return _hard(chosen, "human", [f"vote:{vote_id}" for vote_id in counted])
    if unblind:  # what an editor says of their own text gives way to what others say blind
        last = max(unblind, key=lambda vote: (vote.at, vote.id))
        return _hard(last.choice, "edit", [f"vote:{last.id}"])
    return _judges(judge, decision)


def _judges(judge: JudgeLabel | None, decision: OverrideEvent | None) -> Label | None:
    if decision is not None and decision.choice:  # an agree: what was confirmed stays, whatever is asked later
        same = judge is not None and judge.judge == decision.judge and judge.outcome == decision.choice
        p_first = judge.p_first if same and judge is not None else P_OF_OUTCOME[decision.choice]
        ids = [f"verdict:{verdict_id}" for verdict_id in judge.verdict_ids] if same and judge is not None else []
        return Label(decision.choice, p_first, f"judge:{decision.judge}", (*ids, f"override:{decision.id}"))
    if judge is None:
        return None
    ids = [f"verdict:{verdict_id}" for verdict_id in judge.verdict_ids]
    if judge.outcome is not None:
        return Label(judge.outcome, judge.p_first, f"judge:{judge.judge}", tuple(ids))
    if judge.state == "inconsistent":
        return Label("inconsistent", None, f"judge:{judge.judge}", tuple(ids))
    return None  # unparseable, error, skipped: the judge has said nothing that could be a label


def _hard(choice: str, source: str, ids: Sequence[str], replaced: Label | None = None) -> Label:
    return Label(choice, P_OF_OUTCOME[choice], source, tuple(ids), replaced)


def judge_label(*, judge: str, policy: OrderPolicy, verdicts: Iterable[Verdict]) -> JudgeLabel | None:
    """Combine a judge's verdicts on one comparison; None while an order that the policy needs is missing."""
    verdicts = sorted(verdicts, key=lambda verdict: verdict.pk)
    ranked = [verdict for verdict in verdicts if verdict.order == ""]
    if ranked:
        asked = [verdict for verdict in verdicts if verdict.order != ""]
        label = judge_label(judge=judge, policy=policy, verdicts=asked)
        if label is not None and (label.outcome is not None or label.state == "inconsistent"):
            return label  # what was said of the pair itself stands over what a ranking says of it
        verdicts = ranked
    if not verdicts:
        return None
    if policy == "random" or ranked:
        # One order was asked, by a seed of the run. That order's verdicts stand for both, so that the seed, which
        # imported verdicts lack, need not be known; the first order asked rules if there are two. A ranking shows its
        # answers in no order, and stands for both.
        verdicts = [verdict for verdict in verdicts if verdict.order == verdicts[0].order]
        read = [_ordered(verdict) for verdict in verdicts]
        both = [OrderedVerdict(order, item.verdict) for order in BOTH_ORDERS for item in read]
        combined = combine(both, "both_agree")
    else:
        combined = combine([_ordered(verdict) for verdict in verdicts], policy)
    if combined is None:
        return None
    ids = tuple(verdict.pk for verdict in verdicts)
    return JudgeLabel(judge, combined.state, combined.outcome, combined.p_first, ids)


def _ordered(verdict: Verdict) -> OrderedVerdict:
    outcome = cast(Outcome, verdict.outcome) if verdict.outcome else None
    return OrderedVerdict(
        ORDER_OF_CODE.get(verdict.order, BOTH_ORDERS[0]),
        LabelledVerdict(state=cast(VerdictState, verdict.state), outcome=outcome, p_first=verdict.p_first),
    )
