"""Rating single answers: how they are asked, stored once, taken back, and compared with each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from apps.events.models import Event
from apps.labels.exclusions import exclusion_create
from apps.labels.models import Preference, Ranking, Rating, Vote
from apps.labels.ratings import standing_ratings
from apps.labels.selectors import standing_votes
from apps.projects.services import guideline_add, label_policy_set
from apps.rankings.models import Assignment, Place
from apps.rankings.services import LeaseLost, NothingToUndo
from apps.ratings import selectors, services
from apps.ratings.models import RatingSeat
from apps.ratings.services.seats import seat_end
from apps.samples.exposure import shown
from apps.samples.models import Comparison, Exposure
from prefloop.rubrics import BadRubric, rubric_loaded, rubric_read
from prefloop.types import PrefloopError

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
RUBRIC = "correct: Is it true?\npolite (yes/no, weight 2): Does it thank?"


def ask(project, rubric=RUBRIC, text="Warmer is better."):
    return guideline_add(project=project, text=text, actor=None, task="rating", rubric=rubric_read(rubric))


@pytest.fixture
def answers(project, make_prompt, make_completion):
    """One prompt with three answers, another with one."""
    prompts = [make_prompt(project), make_prompt(project)]
    return [make_completion(prompts[0], f"Answer {n}.", model_name=f"secret-{n}") for n in range(3)] + [
        make_completion(prompts[1], "Alone.", model_name="secret-9")
    ]


@pytest.fixture
def asking(project, answers):
    made = ask(project)
    project.refresh_from_db()
    return made


def lease(project, user, n=1, now=T0):
    return services.seats_lease(project=project, user=user, n=n, now=now)


def rate(seat, correct=3, polite=1, now=T0, **said):
    values = {"correct": correct, "polite": polite}
    return services.rating_create(seat=seat, said=services.Rated(values=values, **said), now=now)


def rate_all(project, user, said, now=T0):
    """Rate answers by their text: {"Answer 0.": (3, 1), …}."""
    for seat in lease(project, user, n=20, now=now):
        if seat.completion.text in said:
            rate(seat, *said[seat.completion.text], now=now)


def counts_are_right(project) -> None:
    call_command("check_queue", project=project.slug, stdout=StringIO())


def test_every_answer_gets_a_seat_also_where_it_is_alone(project, answers, asking, make_prompt, make_completion):
    assert set(RatingSeat.objects.values_list("completion", flat=True)) == {row.pk for row in answers}
    assert not Assignment.objects.exists()
    services.seats_settle(project=project)
    assert RatingSeat.objects.count() == 4, "repeating it changes nothing"
    make_completion(answers[0].prompt, "Answer 0.")  # a text once
    services.seats_settle(project=project)
    assert RatingSeat.objects.count() == 4
    guideline_add(project=project, text="Compare.", actor=None)
    assert not RatingSeat.objects.filter(user=None).exists()


def test_the_order_of_the_seats_is_not_that_in_which_answers_were_written(project, make_prompt, make_completion):
    orders = set()
    for _ in range(12):
        prompt = make_prompt(project)
        for n in range(3):
            make_completion(prompt, f"Answer {n}.")
    ask(project)
    for prompt in project.prompts.all():
        seats = RatingSeat.objects.filter(completion__prompt=prompt).order_by("pk")
        orders.add(tuple(seat.completion.text for seat in seats))
    assert len(orders) > 3


def test_a_rating_keeps_the_rubric_that_was_on_the_screen(project, answers, asking, ann):
    seat = lease(project, ann)[0]
    ask(project, "warm: Is it warm?")
    made = rate(seat, 4, 0, reason=" warm ", seconds=12.0, guideline="v1").rating
    assert (made.guideline, made.reason, made.seconds, made.rater) == ("v1", "warm", 12.0, "ann")
    assert rubric_loaded(made.rubric) == rubric_read(RUBRIC)
    assert (made.values, made.total) == ({"correct": 4, "polite": 0}, 0.25)
    (other,) = lease(project, ann)
    (shown_now,) = selectors.answers_of([other])
    assert [item.name for item in shown_now.items] == ["warm"]
    with pytest.raises(BadRubric):
        rate(other)


def test_a_prompt_adds_items_of_its_own(project, make_prompt, make_completion, ann):
    prompt = make_prompt(project, metadata={"rubric": ["names-maria (yes/no): Does it?"]})
    make_completion(prompt, "Dear Maria.")
    ask(project)
    project.refresh_from_db()
    (seat,) = lease(project, ann)
    values = {"correct": 5, "polite": 1, "names-maria": 1}
    made = services.rating_create(seat=seat, said=services.Rated(values=values), now=T0).rating
    assert (list(made.values), made.total) == (["correct", "polite", "names-maria"], 1.0)


def test_the_same_rating_is_stored_once_and_another_is_refused(project, answers, asking, ann):
    (seat,) = lease(project, ann)
    first = rate(seat, key="k")
    assert (first.created, rate(seat, key="k").created, rate(seat).created) == (True, False, False)
    with pytest.raises(PrefloopError, match="under this key"):
        rate(seat, 5, key="k")
    with pytest.raises(PrefloopError, match="already"):
        rate(seat, 5)
    services.rating_undo(project=project, user=ann, now=T0)
    assert rate(seat, key="k").rating == first.rating, "a late copy of what was undone is not said again"
    assert not standing_ratings().exists()
    again = rate(seat, 5, key="k2")
    assert (again.created, Rating.objects.count(), standing_ratings().get()) == (True, 3, again.rating)
    counts_are_right(project)


def test_two_ratings_of_one_person_compare_their_answers(project, answers, asking, ann):
    rate_all(project, ann, {"Answer 0.": (3, 1), "Answer 1.": (5, 0), "Answer 2.": (3, 1), "Alone.": (1, 0)})
    said = {(v.comparison.first.text, v.comparison.second.text): v for v in standing_votes()}
    assert {pair: vote.choice for pair, vote in said.items()} == {
        ("Answer 0.", "Answer 1."): "first",
        ("Answer 0.", "Answer 2."): "tie",
        ("Answer 1.", "Answer 2."): "second",
    }
    assert {vote.ranking.rating.rater for vote in said.values()} == {"ann"}, "marked as following from ratings"
    assert Preference.objects.filter(source="human").count() == 3
    assert not Comparison.objects.filter(for_people=True).exists()
    counts_are_right(project)
    place = Place.objects.get(project=project, user=ann)
    assert (place.n_labels, place.n_done) == (4, 0), "four ratings are four labels; what follows from them is none"


def test_an_undone_rating_takes_its_comparisons_back_and_a_new_one_makes_them_again(project, answers, asking, ann):
    rate_all(project, ann, {"Answer 0.": (3, 1), "Answer 1.": (5, 1)})
    last = selectors.history(project, ann)[0]
    back = services.rating_undo(project=project, user=ann, now=T0)
    assert (back, back.state) == (last.seat, "open")
    assert services.rating_undo(project=project, user=ann, seat=back, now=T0) == back, "repeating it is harmless"
    assert not standing_votes().exists()
    assert not Preference.objects.exists()
    rate(back, 1, 0)
    (vote,) = standing_votes()
    better = vote.comparison.first if vote.choice == "first" else vote.comparison.second
    assert better != back.completion
    assert Vote.objects.count() == 3, "what was said stays: the vote, its withdrawal, the new vote"
    counts_are_right(project)


def test_ratings_by_other_items_are_not_compared(project, answers, asking, ann):
    (one, two) = lease(project, ann, n=2)
    rate(one)
    ask(project, "warm: Is it warm?")
    services.rating_create(seat=two, said=services.Rated(values={"warm": 3}, guideline="v2"), now=T0)
    assert not Vote.objects.exists()


def test_a_vote_on_the_pair_itself_stays(project, answers, ann, make_vote, make_comparison):
    pair = Comparison.objects.create(project=project, prompt=answers[0].prompt, first=answers[0], second=answers[1])
    make_vote(pair, "second", user=ann)
    ask(project)
    project.refresh_from_db()
    rate_all(project, ann, {"Answer 0.": (5, 1), "Answer 1.": (1, 0)})
    assert [vote.choice for vote in standing_votes()] == ["second"]


def test_a_skipped_answer_goes_to_somebody_else_and_one_that_nobody_can_judge_does_not(
    project, answers, asking, ann, member
):
    dora = member("dora", "annotator")
    one, two = lease(project, ann, n=2)
    services.rating_create(seat=one, said=services.Rated(choice="skip"), now=T0)
    services.rating_create(seat=two, said=services.Rated(choice="cant_judge"), now=T0)
    left = {seat.completion_id for seat in lease(project, dora, n=20)}
    assert one.completion_id in left
    assert two.completion_id not in left
    assert one.completion_id not in {seat.completion_id for seat in lease(project, ann, n=20)}
    with pytest.raises(PrefloopError, match="only a rating has values"):
        services.rating_create(seat=one, said=services.Rated(choice="skip", values={"correct": 1}), now=T0)
    counts_are_right(project)


def test_no_two_people_get_one_seat_and_two_ratings_come_from_two_people(project, answers, asking, ann, member):
    dora = member("dora", "annotator")
    mine, theirs = lease(project, ann, n=20), lease(project, dora, n=20)
    assert (len(mine), len(theirs)) == (4, 0)
    label_policy_set(
        project=project,
        actor=ann,
        votes_per_comparison=2,
        annotators_may_override=True,
        random_share=0,
        judge_bound=None,
    )
    project.refresh_from_db()
    theirs = lease(project, dora, n=20)
    assert len(theirs) == 3, "where others are at work, nobody gets more than their share but for the first few"
    theirs += services.seats_lease(project=project, user=dora, n=1, now=T0, have=[seat.pk for seat in theirs])
    assert {seat.completion_id for seat in theirs} == {seat.completion_id for seat in mine}
    for seat in (*mine, *theirs):
        rate(seat)
    assert not RatingSeat.objects.filter(user=None).exists()
    assert standing_ratings().count() == 8


def test_a_lease_that_ran_out_goes_to_the_next_person_and_the_late_rating_is_kept(
    project, answers, asking, ann, member
):
    dora = member("dora", "annotator")
    mine = lease(project, ann, n=20)
    later = T0 + timedelta(minutes=16)
    theirs = lease(project, dora, n=20, now=later)
    assert {seat.completion_id for seat in theirs} == {seat.completion_id for seat in mine}
    assert rate(mine[0], now=later).created, "nothing that a person labelled is lost"
    there = next(seat for seat in theirs if seat.completion_id == mine[0].completion_id)
    assert rate(there, now=later).created
    assert not RatingSeat.objects.filter(completion=there.completion, user=None).exists()


def test_a_late_rating_ends_the_seat_that_the_same_person_was_given_meanwhile(project, answers, asking, ann, member):
    dora = member("dora", "annotator")
    old = {seat.completion_id: seat for seat in lease(project, ann, n=20)}
    later = T0 + timedelta(minutes=16)
    for seat in lease(project, dora, n=20, now=later):  # she looks, and leaves the next page to others
        seat_end(seat)
    new = {seat.completion_id: seat for seat in lease(project, ann, n=20, now=later)}
    assert new.keys() == old.keys()
    assert {seat.pk for seat in new.values()}.isdisjoint(seat.pk for seat in old.values())
    alone = answers[3].pk
    rate(old[alone], now=later)  # what another tab still had to send
    assert alone not in {seat.completion_id for seat in lease(project, ann, n=20, now=later)}
    assert selectors.n_to_rate(project, ann) == 3
    back = services.rating_undo(project=project, user=ann, now=later)
    assert (back.pk, back.state) == (old[alone].pk, "open")


def test_a_rating_is_undone_whole_where_an_import_has_somebody_of_the_same_name(
    project, answers, asking, ann, make_vote
):
    pair = Comparison.objects.create(project=project, prompt=answers[0].prompt, first=answers[0], second=answers[1])
    rate_all(project, ann, {"Answer 0.": (5, 1)})
    make_vote(pair, "second", rater="ann")
    rate_all(project, ann, {"Answer 1.": (1, 0)})
    assert {(vote.rater, vote.choice) for vote in standing_votes()} == {("ann", "second"), ("ann (account)", "first")}
    services.rating_undo(project=project, user=ann, now=T0)
    assert [(vote.rater, vote.choice) for vote in standing_votes()] == [("ann", "second")]
    counts_are_right(project)


def test_a_ranking_of_the_answers_themselves_stays(project, answers, ann, make_vote):
    prompt = answers[0].prompt
    pair = Comparison.objects.create(project=project, prompt=prompt, first=answers[0], second=answers[1])
    groups = [[answers[1].pk], [answers[0].pk], [answers[2].pk]]
    make_vote(
        pair, "second", user=ann, ranking=Ranking.objects.create(prompt=prompt, user=ann, rater="ann", groups=groups)
    )
    ask(project)
    project.refresh_from_db()
    rate_all(project, ann, {"Answer 0.": (5, 1), "Answer 1.": (1, 0)})
    assert [vote.choice for vote in standing_votes()] == ["second"]
    services.rating_undo(project=project, user=ann, now=T0)
    assert [vote.choice for vote in standing_votes()] == ["second"], "nothing that a person labelled is lost"


def test_what_an_old_prompt_has_under_the_name_of_a_rubric_adds_nothing(project, make_prompt, make_completion, ann):
    make_completion(make_prompt(project, metadata={"rubric": "From 1 to 10."}), "Dear Maria.")
    ask(project)
    project.refresh_from_db()
    (seat,) = lease(project, ann)
    (shown_now,) = selectors.answers_of([seat])
    assert [item.name for item in shown_now.items] == ["correct", "polite"]
    assert rate(seat).created


def test_whoever_saw_a_label_of_an_answer_does_not_rate_it(project, answers, asking, bob):
    pair = Comparison.objects.create(
        project=project, prompt=answers[0].prompt, first=answers[0], second=answers[1], for_people=False
    )
    seats = {seat.completion_id: seat for seat in lease(project, bob, n=20)}
    shown(user_id=bob.pk, comparison_ids=[pair.pk], where="review")
    with pytest.raises(LeaseLost):
        rate(seats[answers[0].pk])
    assert {seat.completion_id for seat in lease(project, bob, n=20)} == {answers[2].pk, answers[3].pk}
    rate(seats[answers[2].pk])
    other = Comparison.objects.create(
        project=project, prompt=answers[0].prompt, first=answers[1], second=answers[2], for_people=False
    )
    Exposure.objects.create(user=bob, comparison=other)
    with pytest.raises(NothingToUndo, match="blind"):
        services.rating_undo(project=project, user=bob, now=T0)


def test_an_excluded_persons_rating_is_asked_of_somebody_else(project, answers, asking, ann, bob):
    rate_all(project, ann, {"Alone.": (3, 1)})
    assert not RatingSeat.objects.filter(completion=answers[3], user=None).exists()
    exclusion_create(project=project, rater="ann", since=None, reason="", by=bob, now=T0)
    assert RatingSeat.objects.filter(completion=answers[3], user=None).count() == 1


def test_a_pause_and_the_budget_hold_for_ratings_too(project, answers, asking, ann):
    project.label_budget = 2
    project.save()
    assert len(lease(project, ann, n=20)) == 2
    project.pause = "The rubric is being rewritten."
    project.save()
    assert lease(project, ann, n=20) == []
    assert selectors.stop_of(project, ann) == "The rubric is being rewritten."


def test_ratings_are_told_to_whoever_listens(project, answers, asking, ann):
    project.listened = ["rating.created", "rating.withdrawn"]
    project.save()
    (seat,) = lease(project, ann)
    rate(seat, 4, 1)
    services.rating_undo(project=project, user=ann, now=T0)
    first, second = Event.objects.order_by("pk")
    assert (first.kind, second.kind) == ("rating.created", "rating.withdrawn")
    assert first.data["values"] == {"correct": 4, "polite": 1}
    assert first.data["answer"] == seat.completion_id


def test_the_next_answer_is_found_by_what_is_known_of_it_and_not_by_all_that_a_person_did(
    project, answers, asking, ann
):
    free = selectors.free_for(project, ann)
    assert {seat.completion_id for seat in free} == {one.pk for one in answers}
    if connection.vendor == "sqlite":  # PostgreSQL's plan follows from what is in the tables
        of_tables = [line for line in free.explain().splitlines() if " SEARCH " in line]
        assert len(of_tables) >= 6
        assert not [line for line in of_tables if line.endswith("(user_id=?)")]


def test_check_queue_finds_and_makes_missing_seats_and_removes_those_that_are_too_many(project, answers, asking):
    RatingSeat.objects.filter(completion=answers[0]).delete()
    RatingSeat.objects.create(project=project, completion=answers[1], state="free")
    with pytest.raises(CommandError, match="2 of the kept numbers are wrong"):
        counts_are_right(project)
    call_command("check_queue", project=project.slug, repair=True, stdout=StringIO())
    counts_are_right(project)
    assert sorted(RatingSeat.objects.values_list("completion", flat=True)) == sorted(one.pk for one in answers)


def test_pairs_of_evaluations_are_asked_all_the_same(project, answers, asking, make_comparison):
    from apps.rankings.services import seats_settle

    pair = make_comparison(project, origin="evaluation:1:1", held_out=True)
    seats_settle(project=project)
    assert list(Assignment.objects.values_list("comparison", flat=True)) == [pair.pk]
    assert Ranking.objects.count() == 0
