"""What the review gate asks of a judge that is sure of itself and wrong about one thing."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.rankings.selectors.doubt import LEAST_DECISIONS, likely_wrong
from apps.rankings.services import override_create
from apps.samples.models import Comparison
from apps.training.loops.starting import loop_start
from apps.training.models import Round, Stage
from apps.training.rounds.review import review_choose
from prefloop.config import apply_settings
from prefloop.recipes.catalogue import get_recipe

N, BUDGET = 120, 30


@pytest.fixture
def judged(loop_project, at_once, make_comparison, make_judge, make_verdict):
    """Pairs of which the shorter answer is better; the judge prefers the longer of every other pair, always sure."""
    judge = make_judge(loop_project, "long-winded", order_policy="random")
    with at_once(loop_project):
        for number in range(N):
            short, long = (
                "Dear Maria." + "." * (number % 7),
                "Dear Maria, thank you." + " Thank you!" * (1 + number % 5),
            )
            comparison = make_comparison(loop_project, (short, long))
            said = "second" if number % 2 else "first"
            make_verdict(comparison, said, judge=judge, p_first=0.02 if said == "second" else 0.98)
    return judge


@pytest.fixture
def ask(loop_project, judged):
    """ask("uncertain", **{"review.budget": "9"}): a loop that stands at its gate, its round and its recipe."""

    def make(mode, **more):
        settings = {"label.judge": "long-winded", "review.mode": mode, "review.budget": str(BUDGET)} | more
        loop = loop_start(project=loop_project, recipe="dpo", settings=settings)
        round_ = Round.objects.create(loop=loop, index=1, policy=loop.initial, stage=Stage.REVIEW)
        return loop, round_, apply_settings(get_recipe("dpo"), settings)

    return make


def decide(comparison_ids, judge, user):
    wrong = 0
    for row in Comparison.objects.filter(pk__in=comparison_ids).prefetch_related("verdicts"):
        (verdict,) = row.verdicts.all()
        right = verdict.outcome == "first"
        wrong += not right
        how = {"kind": "agree"} if right else {"kind": "override", "choice": "first"}
        override_create(comparison=row, judge=judge, user=user, now=timezone.now(), **how)
    return wrong


@pytest.mark.slow
def test_the_second_part_of_the_budget_goes_where_the_first_found_the_judge_wrong(ask, judged, bob):
    loop, round_, recipe = ask("uncertain")
    first = review_choose(loop=loop, round_=round_, recipe=recipe)
    assert len(first) == BUDGET // 3
    decide(first, judged, bob)
    round_.review_comparison_ids = first
    second = review_choose(loop=loop, round_=round_, recipe=recipe)
    assert len(second) == BUDGET - len(first)
    assert not set(first) & set(second)
    assert decide(second, judged, bob) >= 0.8 * len(second)  # half of all labels are wrong
    round_.review_comparison_ids = first + second
    assert review_choose(loop=loop, round_=round_, recipe=recipe) == []


@pytest.mark.slow
def test_what_is_known_of_the_judge_already_spends_the_whole_budget_at_once(ask, judged, bob):
    decide(Comparison.objects.filter(verdicts__judge=judged).values_list("pk", flat=True)[:20], judged, bob)
    loop, round_, recipe = ask("uncertain")
    assert len(review_choose(loop=loop, round_=round_, recipe=recipe)) == BUDGET


@pytest.mark.slow
def test_a_sample_and_a_small_budget_are_asked_at_once(ask, judged, bob):
    for mode, more, n in (("sample", {}, BUDGET), ("uncertain", {"review.budget": "9"}, 9)):
        loop, round_, recipe = ask(mode, **more)
        asked = review_choose(loop=loop, round_=round_, recipe=recipe)
        assert len(asked) == n
        round_.review_comparison_ids = asked
        assert review_choose(loop=loop, round_=round_, recipe=recipe) == []


@pytest.mark.slow
def test_few_decisions_say_nothing_and_a_label_without_a_probability_has_no_chance(judged, bob, make_comparison):
    ids = list(Comparison.objects.filter(verdicts__judge=judged).values_list("pk", flat=True))
    decide(ids[: LEAST_DECISIONS - 1], judged, bob)
    assert likely_wrong(ids, judged) == {}
    decide(ids[LEAST_DECISIONS - 1 : LEAST_DECISIONS + 4], judged, bob)
    unseen = make_comparison(judged.project).pk
    chances = likely_wrong([*ids, unseen], judged)
    assert set(chances) == set(ids)
    assert all(0 < chance < 1 for chance in chances.values())
