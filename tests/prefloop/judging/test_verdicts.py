from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.judging.parse import ParsedVerdict
from prefloop.judging.verdicts import (
    BOTH_ORDERS,
    EffectiveLabel,
    OrderedVerdict,
    as_shown,
    combine,
    labelled,
    orders_to_ask,
    outcome_of,
    p_first_of,
)
from prefloop.types import AS_STORED, OUTCOMES, SWAPPED, LabelledVerdict, Outcome


def said(order: tuple[int, int], outcome: Outcome, p_first: float | None = None) -> OrderedVerdict:
    return OrderedVerdict(order, LabelledVerdict(state="ok", outcome=outcome, p_first=p_first))


def failed(order: tuple[int, int], state: Any) -> OrderedVerdict:
    return OrderedVerdict(order, LabelledVerdict(state=state))


@pytest.mark.parametrize(
    ("choice", "order", "outcome"),
    [
        ("A", AS_STORED, "first"),
        ("B", AS_STORED, "second"),
        ("A", SWAPPED, "second"),
        ("B", SWAPPED, "first"),
        ("C", AS_STORED, "tie"),
        ("C", SWAPPED, "tie"),
    ],
)
def test_a_choice_on_the_screen_is_mapped_to_the_canonical_pair(choice: Any, order: Any, outcome: str) -> None:
    assert outcome_of(choice, order) == outcome


@pytest.mark.parametrize("order", BOTH_ORDERS)
def test_whoever_prefers_one_text_prefers_it_in_either_order(order: tuple[int, int]) -> None:
    shown = as_shown(order, "good", "bad")
    choice = "A" if shown[0] == "good" else "B"
    assert outcome_of(choice, order) == "first"  # type: ignore[arg-type]


def test_a_swapped_probability_is_mapped_back() -> None:
    assert p_first_of(0.45, AS_STORED) == 0.45
    assert p_first_of(0.45, SWAPPED) == 0.55


def test_the_worked_average_of_both_orders() -> None:
    # METHODS 7: P("1") = 0.7 as stored, 0.45 with the answers exchanged: 0.5 (0.7 + 0.55) = 0.625
    one = labelled(ParsedVerdict("A", 0.7), AS_STORED, raw="")
    two = labelled(ParsedVerdict("B", 0.45), SWAPPED, raw="")
    label = combine([OrderedVerdict(AS_STORED, one), OrderedVerdict(SWAPPED, two)], "average")
    assert label == EffectiveLabel("ok", "first", pytest.approx(0.625))


def test_orders_that_disagree_are_inconsistent_or_averaged_as_the_policy_says() -> None:
    pair = [said(AS_STORED, "first"), said(SWAPPED, "second")]
    assert combine(pair, "both_agree") == EffectiveLabel("inconsistent")
    assert combine(pair, "average") == EffectiveLabel("ok", "tie", 0.5)
    soft = [said(AS_STORED, "first", 0.9), said(SWAPPED, "second", 0.4)]
    assert combine(soft, "both_agree") == EffectiveLabel("inconsistent")
    assert combine(soft, "average") == EffectiveLabel("ok", "first", pytest.approx(0.65))


def test_a_tie_against_a_win_is_no_agreement() -> None:
    pair = [said(AS_STORED, "tie"), said(SWAPPED, "first")]
    assert combine(pair, "both_agree") == EffectiveLabel("inconsistent")
    assert combine(pair, "average") == EffectiveLabel("ok", "first", 0.75)


@pytest.mark.parametrize(("outcome", "p"), [("first", 1.0), ("second", 0.0), ("tie", 0.5), ("both_bad", None)])
@pytest.mark.parametrize("policy", ["both_agree", "average"])
def test_orders_that_agree_give_their_outcome(outcome: Any, p: float | None, policy: Any) -> None:
    assert combine([said(AS_STORED, outcome), said(SWAPPED, outcome)], policy) == EffectiveLabel("ok", outcome, p)


@pytest.mark.parametrize("policy", ["both_agree", "average"])
def test_both_bad_in_one_order_only_is_inconsistent(policy: Any) -> None:
    assert combine([said(AS_STORED, "both_bad"), said(SWAPPED, "first")], policy) == EffectiveLabel("inconsistent")


@pytest.mark.parametrize("policy", ["both_agree", "average"])
@pytest.mark.parametrize("state", ["unparseable", "error", "skipped"])
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("bad_order", BOTH_ORDERS)
def test_an_order_that_could_not_be_read_is_never_made_up_for(
    policy: Any, state: Any, outcome: Any, bad_order: tuple[int, int]
) -> None:
    good = SWAPPED if bad_order == AS_STORED else AS_STORED
    assert combine([said(good, outcome), failed(bad_order, state)], policy) == EffectiveLabel(state)


@pytest.mark.parametrize("policy", ["both_agree", "average"])
def test_a_comparison_judged_in_one_order_has_no_label_yet(policy: Any) -> None:
    assert combine([said(AS_STORED, "first")], policy) is None
    assert combine([], policy) is None


def test_the_random_policy_asks_one_order_fixed_by_seed_and_comparison() -> None:
    asked = [orders_to_ask("random", seed=1, comparison_id=str(n)) for n in range(2000)]
    assert asked == [orders_to_ask("random", seed=1, comparison_id=str(n)) for n in range(2000)]
    assert all(len(orders) == 1 for orders in asked)
    assert 900 < sum(orders == (AS_STORED,) for orders in asked) < 1100  # within 4.5 standard deviations of a half
    assert asked != [orders_to_ask("random", seed=2, comparison_id=str(n)) for n in range(2000)]


def test_the_random_policy_takes_what_was_said_in_its_order() -> None:
    (order,) = orders_to_ask("random", seed=0, comparison_id="q")
    other = SWAPPED if order == AS_STORED else AS_STORED
    both = [said(order, "first", 0.8), said(other, "second", 0.1)]
    assert combine(both, "random", seed=0, comparison_id="q") == EffectiveLabel("ok", "first", 0.8)
    assert combine([both[1]], "random", seed=0, comparison_id="q") == EffectiveLabel("ok", "second", 0.1)


def test_several_samples_of_an_order_are_averaged_before_the_orders_are() -> None:
    # as stored (1 + 1 + 0) / 3, swapped 0: p = (2/3 + 0) / 2 = 1/3, whatever the numbers of samples
    verdicts = [said(AS_STORED, "first")] * 2 + [said(AS_STORED, "second"), said(SWAPPED, "second")]
    assert combine(verdicts, "average") == EffectiveLabel("ok", "second", pytest.approx(1 / 3))
    with_noise = [*verdicts, failed(AS_STORED, "unparseable")]
    assert combine(with_noise, "average") == combine(verdicts, "average")


outcomes = st.sampled_from(["first", "second", "tie", "both_bad"])
SWAP = {"first": "second", "second": "first", "tie": "tie", "both_bad": "both_bad", None: None}


@given(
    st.lists(st.tuples(st.sampled_from(BOTH_ORDERS), outcomes), max_size=6), st.sampled_from(["both_agree", "average"])
)
def test_exchanging_the_canonical_pair_exchanges_the_label(verdicts: list[Any], policy: Any) -> None:
    label = combine([said(order, outcome) for order, outcome in verdicts], policy)
    mirrored = combine([said((order[1], order[0]), SWAP[outcome]) for order, outcome in verdicts], policy)
    if label is None or mirrored is None:
        assert label is mirrored is None
        return
    assert (mirrored.state, mirrored.outcome) == (label.state, SWAP[label.outcome])
    if label.p_first is not None:
        assert mirrored.p_first == pytest.approx(1 - label.p_first)


@given(
    st.lists(st.tuples(st.sampled_from(BOTH_ORDERS), outcomes), max_size=6),
    st.sampled_from(["both_agree", "average", "random"]),
)
def test_the_order_of_arrival_does_not_matter(verdicts: list[Any], policy: Any) -> None:
    items = [said(order, outcome) for order, outcome in verdicts]
    assert combine(items, policy) == combine(reversed(items), policy)


def test_an_unparseable_reply_keeps_its_raw_text_and_says_why() -> None:
    verdict = labelled(ParsedVerdict(None, why="no label"), AS_STORED, raw="hm")
    assert verdict == LabelledVerdict(state="unparseable", raw="hm", rationale="no label")
