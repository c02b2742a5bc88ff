"""The ladder override > adjudication > human majority > judge, by hand, by properties, and in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.labels.derive import derive
from apps.labels.selectors import labels_of
from apps.labels.services import preferences_derive
from apps.labels.types import JudgeLabel, OverrideEvent, VoteEvent

T0 = datetime(2026, 1, 1, tzinfo=UTC)
VOTES = ["first", "second", "tie", "both_bad", "skip", "withdrawn"]
JUDGE = JudgeLabel("gpt", "ok", "first", 0.8, (1, 2))


def vote(id: int, rater: str, choice: str, minute: int = 0, **more):
    return VoteEvent(id, rater, choice, T0 + timedelta(minutes=minute), **more)


def decision(id: int, kind: str, choice: str = "", minute: int = 0, rater: str = "lead", **more):
    return OverrideEvent(id, rater, "gpt", kind, choice, T0 + timedelta(minutes=minute), **more)


def test_each_step_of_the_ladder_beats_the_one_below():
    majority = [vote(1, "x", "second"), vote(2, "y", "second"), vote(3, "z", "first")]
    settled = [*majority, vote(4, "bob", "tie", adjudication=True)]
    corrected = [decision(9, "override", "both_bad")]
    assert derive(votes=(), overrides=(), judge=None) is None
    by_judge = derive(votes=(), overrides=(), judge=JUDGE)
    assert (by_judge.outcome, by_judge.p_first, by_judge.source) == ("first", 0.8, "judge:gpt")
    assert by_judge.label_ids == ("verdict:1", "verdict:2")
    by_people = derive(votes=majority, overrides=(), judge=JUDGE)
    assert (by_people.outcome, by_people.p_first, by_people.source) == ("second", 0.0, "human")
    assert by_people.label_ids == ("vote:1", "vote:2", "vote:3")
    by_lead = derive(votes=settled, overrides=(), judge=JUDGE)
    assert (by_lead.outcome, by_lead.p_first, by_lead.source) == ("tie", 0.5, "adjudication")
    over = derive(votes=settled, overrides=corrected, judge=JUDGE)
    assert (over.outcome, over.p_first, over.source, over.label_ids) == ("both_bad", None, "override", ("override:9",))
    assert over.replaced == by_lead
    assert over.p_without_overrides == 0.5


def test_an_equal_split_is_no_majority_and_skips_do_not_count():
    split = [vote(1, "x", "first"), vote(2, "y", "second"), vote(3, "z", "skip")]
    assert derive(votes=split, overrides=(), judge=JUDGE).source == "judge:gpt"
    assert derive(votes=split, overrides=(), judge=None) is None
    assert derive(votes=[vote(1, "x", "skip")], overrides=(), judge=None) is None


def test_agreeing_keeps_the_judges_soft_label_below_what_people_said_blind():
    agreed = [decision(5, "agree", "first")]
    label = derive(votes=(), overrides=agreed, judge=JUDGE)
    assert (label.outcome, label.p_first, label.source) == ("first", 0.8, "judge:gpt")
    assert label.label_ids == ("verdict:1", "verdict:2", "override:5")
    people = [vote(1, "x", "second")]
    assert derive(votes=people, overrides=agreed, judge=JUDGE).source == "human"
    later = JudgeLabel("gpt", "inconsistent", None, None, (1, 2, 3))
    pinned = derive(votes=(), overrides=agreed, judge=later)
    assert (pinned.outcome, pinned.p_first) == ("first", 1.0)
    left_out = derive(votes=(), overrides=[decision(6, "agree", "")], judge=later)
    assert (left_out.outcome, left_out.p_first, left_out.source) == ("inconsistent", None, "judge:gpt")


@pytest.mark.parametrize(
    ("state", "expected"), [("inconsistent", "inconsistent"), ("unparseable", None), ("error", None), ("skipped", None)]
)
def test_a_judge_that_said_nothing_usable_never_becomes_a_tie(state, expected):
    label = derive(votes=(), overrides=(), judge=JudgeLabel("gpt", state, None, None, (1,)))
    assert (label.outcome if label else None) == expected
    assert label is None or label.p_first is None


def test_a_change_of_mind_counts_once_and_taking_back_counts_for_nothing():
    changed = [vote(1, "x", "first", 0), vote(2, "x", "second", 5, supersedes=1)]
    assert derive(votes=changed, overrides=(), judge=None).outcome == "second"
    withdrawn = [*changed, vote(3, "x", "withdrawn", 6, supersedes=2)]
    assert derive(votes=withdrawn, overrides=(), judge=None) is None
    corrected = [decision(1, "override", "second", 0), decision(2, "withdrawn", "", 1, supersedes=1)]
    assert derive(votes=(), overrides=corrected, judge=JUDGE).source == "judge:gpt"
    other = [*corrected, decision(3, "override", "tie", -5, rater="other")]
    assert derive(votes=(), overrides=other, judge=JUDGE).outcome == "tie"


@st.composite
def said(draw):
    """A history of votes and decisions in which every replacement names what it replaces."""
    votes, overrides = [], []
    for rater in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        before = None
        for choice in draw(st.lists(st.sampled_from(VOTES), max_size=4)):
            event = vote(
                len(votes) + 1,
                rater,
                choice,
                len(votes),
                supersedes=before,
                adjudication=rater == "a" and draw(st.booleans()),
            )
            votes.append(event)
            before = event.id
    for rater in draw(st.lists(st.sampled_from("xy"), unique=True)):
        before = None
        for kind in draw(st.lists(st.sampled_from(["agree", "override", "withdrawn"]), max_size=3)):
            choice = "" if kind == "withdrawn" else draw(st.sampled_from(["first", "second", "tie", "both_bad"]))
            event = decision(100 + len(overrides), kind, choice, len(overrides), rater=rater, supersedes=before)
            overrides.append(event)
            before = event.id
    return votes, overrides


@pytest.mark.slow
@given(said(), st.randoms(use_true_random=False), st.sampled_from([None, JUDGE]))
def test_the_label_does_not_depend_on_the_order_in_which_events_arrive(history, rng, judge):
    votes, overrides = history
    expected = derive(votes=votes, overrides=overrides, judge=judge)
    votes, overrides = list(votes), list(overrides)
    rng.shuffle(votes)
    rng.shuffle(overrides)
    assert derive(votes=votes, overrides=overrides, judge=judge) == expected


@pytest.mark.slow
@given(said(), st.sampled_from([None, JUDGE]))
def test_swapping_the_two_answers_turns_the_label_round(history, judge):
    votes, overrides = history
    turned = {"first": "second", "second": "first"}
    flip = lambda event: type(event)(  # noqa: E731
        **{
            **{name: getattr(event, name) for name in event.__slots__},
            "choice": turned.get(event.choice, event.choice),
        }
    )
    mirrored = judge and JudgeLabel("gpt", "ok", "second", 1 - judge.p_first, judge.verdict_ids)
    label = derive(votes=votes, overrides=overrides, judge=judge)
    other = derive(votes=[flip(v) for v in votes], overrides=[flip(o) for o in overrides], judge=mirrored)
    assert (label is None) == (other is None)
    if label is not None:
        assert other.outcome == turned.get(label.outcome, label.outcome)
        assert other.source == label.source
        if label.p_first is None:
            assert other.p_first is None
        else:
            assert other.p_first == pytest.approx(1 - label.p_first)


@pytest.mark.slow
def test_deriving_again_changes_no_row(project, make_comparison, make_judge, make_verdict, make_vote):
    from apps.labels.models import Preference

    judge = make_judge(project, "gpt", order_policy="both_agree")
    project.label_judge = "gpt"
    project.save()
    comparisons = [make_comparison(project) for _ in range(6)]
    for order in ("01", "10"):
        make_verdict(comparisons[0], "first", judge=judge, order=order, p_first=0.75 if order == "01" else 0.65)
        make_verdict(comparisons[1], "first" if order == "01" else "second", judge=judge, order=order)
        make_verdict(comparisons[2], "second", judge=judge, order=order)
        make_verdict(comparisons[3], "", judge=judge, order=order)
    make_verdict(comparisons[4], "first", judge=judge, order="01")
    make_vote(comparisons[2], "first")
    assert preferences_derive(project=project, now=T0) == 3
    rows = {row.comparison_id: row for row in Preference.objects.all()}
    assert rows[comparisons[0].pk].p_first == pytest.approx(0.70)
    assert rows[comparisons[0].pk].source == "judge:gpt"
    assert (rows[comparisons[1].pk].outcome, rows[comparisons[1].pk].p_first) == ("inconsistent", None)
    assert (rows[comparisons[2].pk].outcome, rows[comparisons[2].pk].source) == ("first", "human")
    assert comparisons[3].pk not in rows, "an unreadable reply is no label"
    assert comparisons[4].pk not in rows, "one order of two is no label yet"
    before = list(Preference.objects.order_by("id").values())
    assert preferences_derive(project=project, now=T0 + timedelta(days=1)) == 0
    assert list(Preference.objects.order_by("id").values()) == before


@pytest.mark.slow
def test_a_preference_goes_when_all_that_was_said_is_taken_back(project, make_comparison, make_vote):
    from apps.labels.models import Preference

    comparison = make_comparison(project)
    first = make_vote(comparison, "first", rater="ann")
    preferences_derive(project=project, now=T0)
    assert Preference.objects.count() == 1
    make_vote(comparison, "withdrawn", rater="ann", supersedes=first)
    assert preferences_derive(project=project, comparison_ids=[comparison.pk], now=T0) == 1
    assert Preference.objects.count() == 0


def test_an_averaging_judge_keeps_its_soft_label_where_its_orders_disagree(
    project, make_comparison, make_judge, make_verdict
):
    judge = make_judge(project, "avg", order_policy="average")
    comparison = make_comparison(project)
    make_verdict(comparison, "first", judge=judge, order="01", p_first=0.9)
    make_verdict(comparison, "second", judge=judge, order="10", p_first=0.4)
    label = labels_of(comparison_ids=[comparison.pk], judge=judge)[comparison.pk]
    assert (label.outcome, label.p_first) == ("first", pytest.approx(0.65))


def test_a_judge_asked_in_one_random_order_needs_no_second(project, make_comparison, make_judge, make_verdict):
    judge = make_judge(project, "one", order_policy="random")
    comparison = make_comparison(project)
    make_verdict(comparison, "second", judge=judge, order="10", p_first=0.2)
    label = labels_of(comparison_ids=[comparison.pk], judge=judge)[comparison.pk]
    assert (label.outcome, label.p_first) == ("second", pytest.approx(0.2))


@pytest.mark.slow
def test_other_projects_and_unfinished_imports_are_left_alone(project, other_project, make_comparison, make_vote):
    from apps.labels.models import Preference
    from apps.prompts.models import ImportBatch

    batch = ImportBatch.objects.create(project=project, name="half", format="records", ready=False)
    for comparison in (make_comparison(project, batch=batch), make_comparison(other_project)):
        make_vote(comparison, "first")
        preferences_derive(project=project, comparison_ids=[comparison.pk], now=T0)
    assert Preference.objects.count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 40])
def test_the_number_of_queries_does_not_grow_with_the_number_of_comparisons(
    n, project, make_comparison, make_judge, make_verdict, make_vote, django_assert_max_num_queries
):
    judge = make_judge(project, "gpt")
    for _ in range(n):
        comparison = make_comparison(project)
        make_verdict(comparison, "first", judge=judge, order="01")
        make_verdict(comparison, "first", judge=judge, order="10")
        make_vote(comparison, "second")
    with django_assert_max_num_queries(11):  # one more than rows: their ids are reserved first
        assert preferences_derive(project=project, now=T0) == n
