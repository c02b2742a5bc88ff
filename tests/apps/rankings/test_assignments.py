"""Leases and votes: nobody works twice on one item, nothing that was said is lost, and blind stays blind."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest

from apps.labels.models import Preference, Vote
from apps.rankings import selectors, services
from apps.rankings.models import Assignment
from apps.rankings.services.assign import LEASE, MOST_HELD
from apps.rankings.services.counts import differences
from apps.samples import exposure

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LATE = T0 + LEASE + timedelta(seconds=1)


def rng():
    return random.Random(0)


def lease(project, user, now=T0):
    return services.assignment_next(project=project, user=user, now=now, rng=rng())


def vote(assignment, choice="left", now=T0, **more):
    return services.vote_create(assignment=assignment, choice=choice, now=now, **more)


def test_asking_again_gives_the_same_comparison_until_it_is_answered(project, ann, make_comparison):
    first, second = make_comparison(project), make_comparison(project)
    leased = lease(project, ann)
    assert leased.comparison_id == first.pk
    assert lease(project, ann).pk == leased.pk
    vote(leased)
    assert lease(project, ann).comparison_id == second.pk


def test_a_comparison_that_wants_one_vote_is_given_to_one_person(project, ann, bob, make_comparison):
    make_comparison(project)
    assert lease(project, ann) is not None
    assert lease(project, bob) is None


@pytest.mark.slow
def test_a_comparison_that_wants_two_votes_is_given_to_two_people(project, ann, bob, alice, make_comparison):
    project.votes_per_comparison = 2
    project.save()
    make_comparison(project)
    vote(lease(project, ann))
    assert lease(project, ann) is None
    held = lease(project, bob)
    assert held is not None
    assert lease(project, alice) is None
    vote(held, "skip")
    assert lease(project, alice) is not None, "a skip leaves the place to somebody else"


@pytest.mark.slow
def test_two_at_once_are_prefetched_without_giving_any_to_another(project, ann, bob, make_comparison):
    for _ in range(4):
        make_comparison(project)
    mine = services.assignments_lease(project=project, user=ann, n=3, now=T0, rng=rng())
    theirs = services.assignments_lease(project=project, user=bob, n=3, now=T0, rng=rng())
    assert [len(mine), len(theirs)] == [3, 1]
    assert not {row.comparison_id for row in mine} & {row.comparison_id for row in theirs}
    more = services.assignments_lease(project=project, user=ann, n=2, now=T0, rng=rng(), have=[mine[0].pk])
    assert [row.pk for row in more] == [mine[1].pk, mine[2].pk]


@pytest.mark.slow
def test_sides_are_shuffled_for_each_person_and_the_vote_is_canonical(project, ann, make_comparisons):
    make_comparisons(project, 40)
    orders = set()
    for number in range(40):
        leased = services.assignment_next(project=project, user=ann, now=T0, rng=random.Random(number))
        orders.add(leased.order)
        pair = selectors.pair_of(leased)
        comparison = leased.comparison
        shown_left = comparison.first if leased.order == "01" else comparison.second
        assert pair.left == shown_left.text
        said = vote(leased, "left").vote
        assert said.choice == ("first" if leased.order == "01" else "second")
        assert said.order == leased.order
    assert orders == {"01", "10"}


def test_the_same_vote_again_is_the_same_row_and_another_is_refused(project, ann, make_comparison):
    make_comparison(project)
    leased = lease(project, ann)
    one, two = vote(leased, "tie"), vote(leased, "tie")
    assert (one.created, two.created) == (True, False)
    assert one.vote == two.vote
    with pytest.raises(services.AlreadyAnswered):
        vote(leased, "left")
    assert Vote.objects.count() == 1


@pytest.mark.slow
def test_a_late_vote_counts_also_where_the_place_was_given_away(project, ann, bob, make_comparison):
    make_comparison(project)
    mine = lease(project, ann)
    assert vote(mine, now=LATE).created
    make_comparison(project)
    mine = lease(project, ann, now=LATE)
    later = LATE + LEASE + timedelta(seconds=1)
    theirs = lease(project, bob, now=later)
    assert theirs.comparison_id == mine.comparison_id
    assert vote(Assignment.objects.get(pk=mine.pk), now=later).created
    theirs.refresh_from_db()
    assert (theirs.state, theirs.user) == ("open", bob), "his seat is not disturbed"
    assert vote(theirs, now=later).created
    assert differences(project) == {}
    assert lease(project, ann, now=later) is None


def test_a_lease_is_renewed_while_the_page_is_open(project, ann, bob, make_comparison):
    make_comparison(project)
    lease(project, ann)
    services.assignments_lease(project=project, user=ann, n=0, now=T0 + LEASE / 2, rng=rng())
    assert lease(project, bob, now=LATE) is None


def test_undo_appends_an_event_and_gives_the_pair_back_with_the_same_sides(project, ann, make_comparison):
    comparison = make_comparison(project)
    leased = lease(project, ann)
    said = vote(leased, "left").vote
    assert Preference.objects.get(comparison=comparison).source == "human"
    back = services.vote_undo(project=project, user=ann, now=T0)
    assert (back.pk, back.order, back.state) == (leased.pk, leased.order, "open")
    assert not Preference.objects.filter(comparison=comparison).exists()
    events = list(Vote.objects.order_by("id"))
    assert [event.choice for event in events] == [said.choice, "withdrawn"]
    assert events[1].supersedes_id == events[0].pk
    again = services.vote_undo(project=project, user=ann, now=T0, assignment=back)
    assert again.pk == back.pk
    assert Vote.objects.count() == 2
    vote(back, "right")
    assert Preference.objects.get(comparison=comparison).outcome != said.choice


@pytest.mark.slow
def test_the_last_ten_can_be_taken_back_and_no_more(project, ann, make_comparison):
    leased = []
    for _ in range(12):
        make_comparison(project)
        leased.append(lease(project, ann))
        vote(leased[-1])
    assert len(selectors.history(project=project, user=ann)) == 10
    with pytest.raises(services.NothingToUndo):
        services.vote_undo(project=project, user=ann, now=T0, assignment=Assignment.objects.get(pk=leased[0].pk))
    for expected in reversed(leased[2:]):
        assert services.vote_undo(project=project, user=ann, now=T0).pk == expected.pk


def test_undo_touches_nobody_elses_vote(project, ann, bob, make_comparison):
    make_comparison(project)
    theirs = lease(project, bob)
    vote(theirs)
    with pytest.raises(services.NothingToUndo):
        services.vote_undo(project=project, user=ann, now=T0)
    with pytest.raises(services.NothingToUndo):
        services.vote_undo(project=project, user=ann, now=T0, assignment=Assignment.objects.get(pk=theirs.pk))


def test_whoever_saw_the_judges_label_is_not_asked_blind(project, ann, bob, make_comparison):
    comparison = make_comparison(project)
    held = lease(project, ann)
    exposure.shown(user_id=ann.pk, comparison_ids=[comparison.pk], where="test")
    exposure.shown(user_id=ann.pk, comparison_ids=[comparison.pk], where="test")
    with pytest.raises(services.LeaseLost):
        vote(held)
    assert lease(project, ann) is None
    assert lease(project, bob).comparison_id == comparison.pk
    vote(lease(project, bob))
    exposure.shown(user_id=bob.pk, comparison_ids=[comparison.pk], where="test")
    with pytest.raises(services.NothingToUndo):
        services.vote_undo(project=project, user=bob, now=T0)


@pytest.mark.slow
def test_imported_votes_fill_places_and_unfinished_imports_are_not_given(project, ann, make_comparison, make_vote):
    from apps.prompts.models import ImportBatch

    make_vote(make_comparison(project), "first", rater="somebody")
    batch = ImportBatch.objects.create(project=project, name="half", format="records", ready=False)
    waiting = make_comparison(project, batch=batch)
    assert lease(project, ann) is None
    batch.ready = True
    batch.save()
    services.seats_of_new(project=project, comparison_ids=[waiting.pk])
    assert lease(project, ann) is not None


def test_held_out_comparisons_are_given_like_all_others(project, ann, make_comparison):
    comparison = make_comparison(project, held_out=True, gold="first")
    assert lease(project, ann).comparison_id == comparison.pk


@pytest.mark.parametrize("choice", ["first", "A", "", "withdrawn"])
def test_only_what_a_screen_can_say_is_a_choice(choice, project, ann, make_comparison):
    make_comparison(project)
    with pytest.raises(services.BadVote):
        vote(lease(project, ann), choice)


def test_the_guideline_on_the_screen_is_kept_with_the_vote(project, ann, make_comparison):
    from apps.projects.models import Guideline

    for version in (1, 2):
        Guideline.objects.create(project=project, version=version, text="Be kind.")
    for _ in range(3):
        make_comparison(project)
    kept = [vote(lease(project, ann), guideline=shown).vote.guideline for shown in ("v1", "", None)]
    assert kept == ["v1", "", "v2"]


def test_a_guideline_that_was_never_written_is_refused(project, ann, make_comparison):
    make_comparison(project)
    assignment = lease(project, ann)
    with pytest.raises(services.BadVote, match="v9"):
        vote(assignment, guideline="v9")
    assert not Vote.objects.exists()


@pytest.mark.slow
def test_a_program_that_names_no_guideline_voted_under_the_one_it_was_given(project, ann, api_for, make_comparison):
    from apps.projects.services import guideline_add

    guideline_add(project=project, text="Be kind.", actor=None)
    for _ in range(3):
        make_comparison(project)
    api = api_for(ann)
    given = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    guideline_add(project=project, text="Be kind and short.", actor=None)
    said = api.post("/api/v1/votes/", {"assignment": given["assignment"], "choice": "left"}, "json").json()
    assert (given["guideline"], said["guideline"]) == ("v1", "v1")

    given = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    body = {"assignment": given["assignment"], "choice": "left", "guideline": "v1"}
    assert (given["guideline"], api.post("/api/v1/votes/", body, "json").json()["guideline"]) == ("v2", "v1")

    given = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    guideline_add(project=project, text="Be kind, short and correct.", actor=None)
    again = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    assert again["assignment"] == given["assignment"]
    api.post("/api/v1/votes/", {"assignment": again["assignment"], "choice": "left"}, "json")
    assert list(Vote.objects.order_by("id").values_list("guideline", flat=True)) == ["v1", "v1", "v3"]


@pytest.mark.slow
def test_progress_counts_what_is_done_and_what_is_left(project, ann, bob, make_comparison):
    for _ in range(8):
        make_comparison(project)
    for number in range(3):
        vote(lease(project, ann), seconds=30.0, now=T0 + timedelta(minutes=number))
    vote(lease(project, bob))
    progress = selectors.progress(project=project, user=ann, now=T0)
    assert (progress.done, progress.total, progress.left) == (3, 7, 4)
    assert progress.minutes_left == 2  # 4 left at 30 s each


@pytest.mark.slow
def test_leasing_takes_the_same_number_of_queries_whatever_the_project_holds(
    project, ann, make_comparisons, django_assert_max_num_queries
):
    make_comparisons(project, 30)
    with django_assert_max_num_queries(15):
        lease(project, ann)
    held = lease(project, ann)
    with django_assert_max_num_queries(21):
        vote(held)


@pytest.fixture
def crowd(make_user, project):
    from apps.projects.models import Membership

    users = [make_user(f"w{number}") for number in range(4)]
    for user in users:
        Membership.objects.create(project=project, user=user, role="annotator")
    return users


def together(work, items):
    """Run work(item) on a thread each, all starting at once; re-raise what went wrong."""
    from django.db import connection

    barrier = threading.Barrier(len(items))
    errors = []

    def run(item):
        try:
            barrier.wait(timeout=30)
            work(item)
        except Exception as error:  # noqa: BLE001 (re-raised below)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    if errors:
        raise errors[0]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_people_at_once_never_get_the_same_single_vote_comparison(project, crowd, make_comparisons):
    comparisons = make_comparisons(project, 12)

    def work(user):
        number = 0
        while True:
            now = T0 + timedelta(milliseconds=number)
            leased = services.assignment_next(project=project, user=user, now=now, rng=random.Random(number))
            if leased is None:
                return
            services.vote_create(assignment=leased, choice="left", now=now)
            number += 1

    together(work, crowd)
    assert Vote.objects.count() == len(comparisons)
    assert Assignment.objects.count() == len(comparisons)
    assert Preference.objects.count() == len(comparisons)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_one_answer_sent_many_times_at_once_is_one_vote(project, crowd, make_comparison):
    make_comparison(project)
    leased = lease(project, crowd[0])
    created = []
    together(lambda _: created.append(vote(Assignment.objects.get(pk=leased.pk), "right").created), range(12))
    assert Vote.objects.count() == 1
    assert created.count(True) == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_votes_at_once_on_one_comparison_are_both_in_its_label(project, crowd, make_comparison):
    project.votes_per_comparison = 4
    project.save()
    for _ in range(3):
        comparison = make_comparison(project)
        leased = [lease(project, user) for user in crowd]
        together(lambda one: services.vote_create(assignment=one, choice="tie", now=T0), leased)
        assert len(Preference.objects.get(comparison=comparison).label_ids) == 4


@pytest.mark.slow
def test_nobody_holds_more_than_a_few_pairs_however_often_they_ask(project, ann, bob, make_comparison, client_for):
    pairs = [make_comparison(project) for _ in range(MOST_HELD + 4)]
    browser = client_for(ann)
    for pair in pairs:
        browser.get(f"/p/{project.slug}/annotate/{pair.pk}/")
    held = Assignment.objects.filter(user=ann, state="open")
    assert 0 < held.count() <= MOST_HELD
    browser.post(f"/p/{project.slug}/annotate/next/", {"have": ",".join(str(row.pk) for row in held)})
    assert held.count() <= MOST_HELD
    assert len(services.assignments_lease(project=project, user=bob, n=3, now=T0, rng=rng())) == 3


@pytest.mark.slow
def test_a_pair_that_was_given_back_can_be_voted_on_until_it_is_let_again(project, ann, bob, make_comparison):
    for _ in range(MOST_HELD + 1):
        services.assignment_for_comparison(comparison=make_comparison(project), user=ann, now=T0, rng=rng())
    services.assignments_lease(project=project, user=ann, n=1, now=T0, rng=rng())
    back = Assignment.objects.get(user=ann, state="expired")
    assert vote(back).created
