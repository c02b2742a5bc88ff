from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.judging.ensemble import MemberLabel, majority, weight_of_agreement, weighted
from prefloop.judging.verdicts import EffectiveLabel
from prefloop.types import Outcome

FIRST, SECOND, TIE, BAD = (EffectiveLabel("ok", outcome) for outcome in ("first", "second", "tie", "both_bad"))
UNREAD = EffectiveLabel("unparseable")
SOFT = EffectiveLabel("ok", "first", 0.7)


def members(*labels: EffectiveLabel, weights: tuple[float, ...] = ()) -> list[MemberLabel]:
    return [MemberLabel(label, weights[k] if weights else 1.0) for k, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        ((FIRST, FIRST, SECOND), EffectiveLabel("ok", "first", pytest.approx(2 / 3))),
        ((FIRST, TIE, TIE), EffectiveLabel("ok", "tie", pytest.approx(2 / 3))),
        ((FIRST, SOFT), EffectiveLabel("ok", "first", pytest.approx(0.85))),
        ((FIRST, SECOND), EffectiveLabel("inconsistent")),
        ((BAD, BAD, FIRST), EffectiveLabel("ok", "both_bad")),
        ((UNREAD, FIRST, UNREAD), EffectiveLabel("ok", "first", 1.0)),
        ((UNREAD, EffectiveLabel("inconsistent")), EffectiveLabel("unparseable")),
        ((), EffectiveLabel("unparseable")),
    ],
)
def test_majorities_by_hand(labels: tuple[EffectiveLabel, ...], label: EffectiveLabel) -> None:
    assert majority(members(*labels)) == label


def test_two_weak_judges_against_a_strong_one_by_hand() -> None:
    # 19 of 20 right (a = 20/22, log 10) for the first, twice 12 of 20 (a = 13/22, log 13/9) for the second:
    # odds 10 * (9/13)^2 = 810/169 for the first
    weights = tuple(weight_of_agreement(k, 20) for k in (19, 12, 12))
    assert weights[0] == pytest.approx(math.log(10))
    made = weighted(members(FIRST, SECOND, SECOND, weights=weights))
    assert made == EffectiveLabel("ok", "first", pytest.approx(810 / (810 + 169)))
    assert majority(members(FIRST, SECOND, SECOND)).outcome == "second"


def test_the_weighted_label_is_bayes_rule_on_independent_judges() -> None:
    """A second road: enumerate both truths under a prior of a half and each judge's probability of being right."""
    right = (0.9, 0.6, 0.7)
    weights = tuple(math.log(a / (1 - a)) for a in right)
    for said in itertools.product(("first", "second"), repeat=3):
        likelihood = {
            truth: math.prod(a if one == truth else 1 - a for one, a in zip(said, right, strict=True))
            for truth in ("first", "second")
        }
        p = likelihood["first"] / sum(likelihood.values())
        made = weighted(members(*(EffectiveLabel("ok", one) for one in said), weights=weights))
        assert made.p_first == pytest.approx(p)
        assert made.outcome == ("first" if p > 0.5 else "second")


SWAP: dict[Outcome, Outcome] = {"first": "second", "second": "first", "tie": "tie", "both_bad": "both_bad"}


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(["first", "second", "tie"]), st.floats(0, 1), st.floats(0, 5)), max_size=7))
def test_swapping_the_answers_swaps_the_label(rows: list[tuple[Outcome, float, float]]) -> None:
    for how in (majority, weighted):
        one = how([MemberLabel(EffectiveLabel("ok", outcome, p), w) for outcome, p, w in rows])
        two = how([MemberLabel(EffectiveLabel("ok", SWAP[outcome], 1 - p), w) for outcome, p, w in rows])
        assert one.state == two.state
        if one.p_first is not None and abs(one.p_first - 0.5) > 1e-9:
            assert two.p_first == pytest.approx(1 - one.p_first)
            assert one.outcome is not None
            assert two.outcome == SWAP[one.outcome]


def test_weights_know_nothing_of_the_unmeasured_and_never_turn_a_bad_judge_round() -> None:
    assert weight_of_agreement(0, 0) == 0.0
    assert weight_of_agreement(2, 20) == 0.0
    assert weight_of_agreement(10, 20) == 0.0
    assert weighted(members(FIRST, weights=(0.0,))) == EffectiveLabel("inconsistent")
    with pytest.raises(ValueError, match="3 right of 2"):
        weight_of_agreement(3, 2)
