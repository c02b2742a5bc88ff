"""What is worth a second look, decisions, and what they change."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from apps.core.models import AuditEvent
from apps.labels.effect import OverrideEffect, override_effect, override_effect_kept
from apps.labels.models import Override, Preference, Verdict, Vote
from apps.labels.review_counts import reviews_counted
from apps.labels.services import preferences_derive
from apps.rankings import selectors, services

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def judge(project, make_judge):
    project.label_judge = "main"
    project.save()
    return make_judge(project, "main")


@pytest.fixture
def judged(project, judge, make_comparison, make_verdict):
    """judged(p, q): a comparison that the judge gave p in the stored order and q in the other."""

    def make(p, q, **fields):
        comparison = make_comparison(project, **fields)
        for order, value in (("01", p), ("10", q)):
            make_verdict(comparison, "first" if value > 0.5 else "second", judge=judge, order=order, p_first=value)
        return comparison

    return make


def decide(comparison, judge, user, kind="override", choice="second", **more):
    return services.override_create(
        comparison=comparison, judge=judge, user=user, kind=kind, choice=choice, now=T0, **more
    )


@pytest.mark.slow
def test_the_queue_puts_the_most_telling_first_and_says_why(
    project, judge, judged, make_judge, make_verdict, make_vote
):
    reward = make_judge(project, "rm", order_policy="random", kind="llm", endpoint=_endpoint(project))
    third = make_judge(project, "third", order_policy="random")
    orders = judged(0.8, 0.3)
    sure = judged(0.99, 0.97)
    narrow = judged(0.56, 0.52)
    against = judged(0.9, 0.9)
    make_verdict(against, "second", judge=reward, order="01")
    split = judged(0.9, 0.9)
    make_verdict(split, "second", judge=reward, order="01")
    make_verdict(split, "first", judge=third, order="01")
    people = judged(0.9, 0.9)
    make_vote(people, "second")
    unreadable = judged(0.9, 0.9)
    with reviews_counted([unreadable.pk]):
        unreadable.verdicts.update(state="unparseable", outcome="", p_first=None)
    queue = selectors.review_queue(project)
    assert [item.comparison_id for item in queue[:3]] == [orders.pk, unreadable.pk, people.pk]
    assert {item.comparison_id for item in queue[3:5]} == {against.pk, split.pk}
    assert [item.comparison_id for item in queue[5:]] == [narrow.pk, sure.pk]
    why = {item.comparison_id: item.worth.reason for item in queue}
    assert why[orders.pk] == "orders disagree"
    assert why[against.pk] == "rm disagrees"
    assert why[split.pk] == "judges split 2:1"
    assert why[people.pk] == "people say otherwise"
    assert why[narrow.pk] == "margin 0.04"
    assert why[sure.pk] == "random check"


def _endpoint(project):
    from apps.policies.models import Endpoint

    return Endpoint.objects.create(project=project, name="e", base_url="https://example.org/v1", model="m")


@pytest.mark.slow
def test_the_random_share_is_drawn_by_the_seed(project, judge, judged):
    ids = [judged(0.99, 0.99).pk for _ in range(12)]
    one, again, other = (selectors.uncertainty(ids, judge, seed=seed) for seed in (1, 1, 2))
    assert one == again
    by_worth = [sorted(ids, key=lambda key, worth=worth: worth[key].value) for worth in (one, other)]
    assert by_worth[0] != by_worth[1]


@pytest.mark.slow
def test_a_round_sees_its_own_comparisons_only(project, judge, judged):
    mine, other = judged(0.6, 0.6), judged(0.8, 0.2)
    assert [item.comparison_id for item in selectors.review_queue(project, comparison_ids=[mine.pk])] == [mine.pk]
    assert len(selectors.review_queue(project)) == 2
    decide(other, judge, None or _person(), choice="tie")
    assert [item.comparison_id for item in selectors.review_queue(project, decided=True)] == [other.pk]


def _person():
    from apps.accounts.models import User

    return User.objects.create(username="lead-of-all")


@pytest.mark.slow
def test_an_override_keeps_the_verdicts_and_says_who_when_and_why(project, bob, judge, judged):
    comparison = judged(0.9, 0.8)
    preferences_derive(project=project, now=T0)
    before = list(Verdict.objects.order_by("id").values())
    made = decide(comparison, judge, bob, reason="Wrong name")
    assert list(Verdict.objects.order_by("id").values()) == before
    assert (made.rater, made.at, made.reason, made.judge_outcome) == ("bob", T0, "Wrong name", "first")
    label = Preference.objects.get(comparison=comparison)
    assert (label.outcome, label.p_first, label.source) == ("second", 0.0, "override")
    assert AuditEvent.objects.get(verb="override.create").data["override"] == made.pk
    assert Vote.objects.count() == 0, "a decision made seeing the verdict is no vote"
    assert decide(comparison, judge, bob, reason="Wrong name").pk == made.pk
    services.override_withdraw(comparison=comparison, user=bob, now=T0)
    label.refresh_from_db()
    assert (label.outcome, label.p_first, label.source) == ("first", pytest.approx(0.85), "judge:main")
    with pytest.raises(services.NoDecision):
        services.override_withdraw(comparison=comparison, user=bob, now=T0)
    assert [row.kind for row in Override.objects.order_by("id")] == ["override", "withdrawn"]


@pytest.mark.slow
def test_an_override_is_no_vote_in_the_majority(project, bob, ann, judge, judged, make_vote):
    comparison = judged(0.9, 0.8)
    decide(comparison, judge, bob, choice="second")
    make_vote(comparison, "first", user=ann)
    services.override_withdraw(comparison=comparison, user=bob, now=T0)
    assert Preference.objects.get(comparison=comparison).label_ids == [f"vote:{Vote.objects.get().pk}"]


@pytest.mark.slow
def test_what_overrides_changed_is_counted_against_the_labels_without_them(project, bob, judge, judged):
    flipped, same, added, removed, agreed = (
        judged(0.9, 0.9),
        judged(0.9, 0.9),
        judged(0.9, 0.1),
        judged(0.9, 0.9),
        judged(0.9, 0.9),
    )
    decide(flipped, judge, bob, choice="second")
    decide(same, judge, bob, choice="first")
    decide(added, judge, bob, choice="first")
    decide(removed, judge, bob, choice="both_bad")
    decide(agreed, judge, bob, kind="agree", choice="")
    effect = override_effect_kept(judge)
    assert effect == OverrideEffect(5, 3, 3, 1, 1, 1)
    ids = [comparison.pk for comparison in (flipped, same, added, removed, agreed)]
    assert effect == override_effect(project, judge=judge, comparison_ids=ids)
    assert effect.in_words == "1 flipped, 1 added, 1 taken out"
    assert override_effect(project, judge=judge, comparison_ids=[same.pk]).n_changed == 0


@pytest.mark.parametrize(
    ("kind", "choice"), [("override", ""), ("override", "left"), ("withdrawn", "first"), ("", "first")]
)
def test_only_what_a_decision_can_say_is_taken(kind, choice, bob, judge, judged):
    with pytest.raises(services.BadDecision):
        decide(judged(0.9, 0.9), judge, bob, kind=kind, choice=choice)


def test_a_judge_of_another_project_cannot_be_overridden_here(bob, judged, other_project, make_judge):
    with pytest.raises(services.BadDecision):
        decide(judged(0.9, 0.9), make_judge(other_project, "main"), bob)


def test_quotes_are_marked_only_where_an_answer_really_says_it():
    rationale = 'A says “thank you so much,” and "the flowers"; it is \'not there\'. B\'s "Hey" is cold.'
    assert selectors.quoted_spans(rationale, "Thank you so much for the flowers", "Hey.") == [
        "thank you so much",
        "the flowers",
        "Hey",
    ]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_many_decisions_at_once_make_one_line_of_events(project, bob, judge, judged):
    from django.db import connection

    comparison = judged(0.9, 0.9)
    choices = ["first", "second", "tie", "both_bad"] * 6
    barrier, errors = threading.Barrier(len(choices)), []

    def work(choice):
        try:
            barrier.wait(timeout=30)
            decide(comparison, judge, bob, choice=choice)
        except Exception as error:  # noqa: BLE001 (asserted below)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(choice,)) for choice in choices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert errors == []
    rows = list(Override.objects.order_by("id"))
    assert [row.supersedes_id for row in rows] == [None, *[row.pk for row in rows[:-1]]]
    assert Preference.objects.get(comparison=comparison).outcome == rows[-1].choice


@pytest.mark.slow
def test_the_queue_takes_the_same_number_of_queries_whatever_its_length(
    project, judge, judged, django_assert_max_num_queries
):
    for _ in range(25):
        judged(0.6, 0.7)
    with django_assert_max_num_queries(10):
        assert len(selectors.review_queue(project)) == 25


@pytest.mark.slow
def test_under_review_is_the_judge_that_spoke_of_the_comparison(
    project, bob, client_for, judge, judged, make_comparison, make_judge, make_verdict
):
    """A loop may ask another judge than the project's, or an older version of one."""
    judged(0.9, 0.9)
    fresh = make_comparison(project)
    asked = make_judge(project, "asked", version=1, order_policy="random")
    make_judge(project, "asked", version=2)
    make_verdict(fresh, "first", judge=asked)
    path = f"/p/{project.slug}/review/{fresh.pk}/"
    for query in ("", "?judge=asked"):
        page = client_for(bob).get(path + query).content.decode()
        assert "No verdict of this judge" not in page, query
        assert '<input type="hidden" name="judge" value="asked">' in page, query
    client_for(bob).post(f"{path}decide/?judge=asked", {"judge": "asked", "choice": "second"})
    made = Override.objects.get()
    assert (made.judge, made.judge_outcome, made.choice) == (asked, "first", "second")


@pytest.mark.slow
def test_a_comparison_says_which_judge_is_set_and_that_it_was_silent(
    project, bob, client_for, make_comparison, make_judge, make_verdict
):
    fresh = make_comparison(project)
    path = f"/p/{project.slug}/comparisons/{fresh.pk}/"
    page = client_for(bob).get(path).content.decode()
    assert "the project has no label judge" in page
    make_judge(project, "main")
    project.label_judge = "main"
    project.save()
    make_verdict(fresh, "first", judge=make_judge(project, "asked"))
    page = client_for(bob).get(path).content.decode()
    assert "the project has no label judge" not in page
    assert "nobody has voted, and the label judge main has no clear verdict on this pair" in page


@pytest.mark.slow
def test_undo_takes_back_one_s_own_last_decision_and_then_the_one_before(project, bob, alice, judge, judged):
    first, second, third = judged(0.9, 0.9), judged(0.9, 0.9), judged(0.9, 0.9)
    for comparison, user in ((first, bob), (second, bob), (third, alice)):
        decide(comparison, judge, user)
    taken = [services.override_undo(project=project, user=bob, now=T0).comparison for _ in range(2)]
    assert taken == [second, first]
    with pytest.raises(services.NoDecision):
        services.override_undo(project=project, user=bob, now=T0)
    assert Preference.objects.get(comparison=third).source == "override"
