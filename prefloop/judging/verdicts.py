"""From a judge's verdicts on answers in the order shown to a label of the canonical pair.

An order is a pair of positions: (0, 1) showed the canonical first answer first, (1, 0) the second one. A judge is asked
in one or both orders; its order policy combines them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prefloop.judging.parse import ParsedVerdict, ShownChoice
from prefloop.preference import outcome_at, p_of
from prefloop.types import AS_STORED, SWAPPED, LabelledVerdict, Order, OrderPolicy, Outcome, VerdictState, mean

BOTH_ORDERS: tuple[Order, Order] = (AS_STORED, SWAPPED)
ORDER_CODES: dict[Order, str] = {AS_STORED: "01", SWAPPED: "10"}  # as rows and logs hold them
ORDER_OF_CODE: dict[str, Order] = {code: order for order, code in ORDER_CODES.items()}


@dataclass(frozen=True, slots=True)
class OrderedVerdict:
    """One call's verdict, in canonical terms, and the order in which the answers were shown."""

    order: Order
    verdict: LabelledVerdict


@dataclass(frozen=True, slots=True)
class EffectiveLabel:
    """A judge's label of one comparison, from its verdicts. Only `ok` has an outcome.

    `p_first` is the probability that the canonical first answer is better; None for `both_bad` and for all but `ok`.
    """

    state: VerdictState
    outcome: Outcome | None = None
    p_first: float | None = None


def as_shown(order: Order, first: str, second: str) -> tuple[str, str]:
    """The two answers in the order in which they are shown."""
    pair = (first, second)
    return pair[order[0]], pair[order[1]]


def outcome_of(choice: ShownChoice, order: Order) -> Outcome:
    """The canonical outcome of a choice among the answers as shown in `order`."""
    if choice == "C":
        return "tie"
    return "first" if order[0 if choice == "A" else 1] == 0 else "second"


def p_first_of(p_first_shown: float, order: Order) -> float:
    """P(canonical first is better) from P(the one shown first is better)."""
    return p_first_shown if order == AS_STORED else 1.0 - p_first_shown


def labelled(parsed: ParsedVerdict, order: Order, *, raw: str, usage: dict[str, int] | None = None) -> LabelledVerdict:
    """A parsed reply in canonical terms. For an unparseable one `rationale` has the reason."""
    if parsed.choice is None:
        return LabelledVerdict(
            state="unparseable", raw=raw, rationale=parsed.why, usage=usage or {}, flags=parsed.flags
        )
    return LabelledVerdict(
        state="ok",
        outcome=outcome_of(parsed.choice, order),
        p_first=None if parsed.p_first_shown is None else p_first_of(parsed.p_first_shown, order),
        raw=raw,
        rationale=parsed.rationale,
        usage=usage or {},
        flags=parsed.flags,
    )


def orders_to_ask(policy: OrderPolicy, *, seed: int, comparison_id: str) -> tuple[Order, ...]:
    """The orders a comparison is to be judged in; for `random` one of the two, fixed by the seed and the comparison."""
    if policy != "random":
        return BOTH_ORDERS
    digest = hashlib.sha256(f"{seed}:{comparison_id}".encode()).digest()
    return (BOTH_ORDERS[digest[0] & 1],)


def combine(
    verdicts: Iterable[OrderedVerdict], policy: OrderPolicy, *, seed: int = 0, comparison_id: str = ""
) -> EffectiveLabel | None:
    """The effective label of one comparison by one judge; None while an order that the policy needs is not asked yet.

    `both_agree`: the orders' common outcome, with p averaged over them; `inconsistent` when they differ.
    `average`: p averaged over the orders after mapping the swapped one back (RLAIF, OAIF); the outcome is p's.
    `random`: what was said in the one order asked, the seeded one if there are both.
    An order where nothing could be read makes the label `error` or `unparseable`, and never a tie. Several samples of
    one order are averaged first, those that could be read.
    """
    by_order: dict[Order, list[LabelledVerdict]] = {}
    for item in verdicts:
        by_order.setdefault(item.order, []).append(item.verdict)
    needed = orders_to_ask(policy, seed=seed, comparison_id=comparison_id)
    if policy == "random" and len(by_order) == 1:
        needed = tuple(by_order)  # imported verdicts chose their order themselves
    if any(order not in by_order for order in needed):
        return None
    labels = [_one_order(by_order[order]) for order in needed]
    for state in ("error", "unparseable", "skipped", "inconsistent"):
        if any(label.state == state for label in labels):
            return EffectiveLabel(state)
    if len(labels) == 1:
        return labels[0]
    outcomes = {label.outcome for label in labels}
    if outcomes == {"both_bad"}:
        return EffectiveLabel("ok", "both_bad")
    if "both_bad" in outcomes or (policy == "both_agree" and len(outcomes) > 1):
        return EffectiveLabel("inconsistent")
    p = mean([label.p_first for label in labels if label.p_first is not None])
    return EffectiveLabel("ok", labels[0].outcome if len(outcomes) == 1 else outcome_at(p), p)


def _one_order(samples: Sequence[LabelledVerdict]) -> EffectiveLabel:
    read = [sample for sample in samples if sample.state == "ok" and sample.outcome is not None]
    if not read:
        states = Counter(sample.state for sample in samples if sample.state != "ok")
        return EffectiveLabel("error" if states["error"] or not states else states.most_common(1)[0][0])
    n_both_bad = sum(sample.outcome == "both_bad" for sample in read)
    if 2 * n_both_bad >= len(read):
        # Half of the samples finding both bad and half not is no agreement with oneself.
        return EffectiveLabel("ok", "both_bad") if 2 * n_both_bad > len(read) else EffectiveLabel("inconsistent")
    ps = [p for sample in read if (p := p_of(sample.outcome, sample.p_first)) is not None]
    p = mean(ps)
    only = read[0].outcome if len(read) == 1 else None
    return EffectiveLabel("ok", only or outcome_at(p), p)
