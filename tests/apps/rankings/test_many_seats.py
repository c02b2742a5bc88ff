"""Many pairs at once, for a desk that goes on without a connection: the same rules, few statements, fair shares."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.labels.models import Preference, Vote
from apps.projects.services import label_policy_set
from apps.rankings import selectors, services
from apps.rankings.models import CHANCE, Assignment
from apps.rankings.services.assign import MOST_HELD, PREFETCH, SHOWN_FIRST
from apps.rankings.services.counts import differences
from apps.rankings.services.take import LEASE
from tests.apps.rankings.queue_oracle import left_for
from tests.apps.rankings.test_seats import statements

pytestmark = [pytest.mark.django_db, pytest.mark.postgresql]
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)


def lease(project, user, n=PREFETCH, now=T0, seed=1, have=()):
    return services.assignments_lease(project=project, user=user, n=n, now=now, rng=Random(seed), have=have)


def vote(held, now=T0, **more):
    return services.vote_create(assignment=held, choice="left", now=now, **more)


def set_votes(project, n):
    label_policy_set(project=project, actor=None, votes_per_comparison=n, annotators_may_override=True)


@pytest.mark.slow
def test_twenty_more_are_leased_in_the_projects_order_with_sides_by_lot(project, ann, make_comparisons):
    pairs = make_comparisons(project, 30)
    held = lease(project, ann)
    assert [one.comparison_id for one in held] == [pair.pk for pair in pairs[:PREFETCH]]
    assert PREFETCH > 20
    assert 3 < sum(one.order == "01" for one in held) < PREFETCH - 3
    assert {one.lease_until for one in held} == {T0 + LEASE}
    assert [one.pk for one in lease(project, ann)] == [one.pk for one in held], "what she holds comes again"
    assert differences(project) == {}


@pytest.mark.slow
def test_the_lot_has_no_pattern_that_tells_the_pair(project, ann, bob, make_comparisons):
    set_votes(project, 2)
    make_comparisons(project, PREFETCH)
    mine, his = lease(project, ann, seed=1), lease(project, bob, seed=2)
    assert [one.order for one in mine] != [one.order for one in his]


@pytest.mark.slow
def test_it_takes_the_same_number_of_statements_for_two_and_for_twenty(project, ann, bob, erin, make_comparisons):
    make_comparisons(project, 80)
    counts = []
    for user, n in ((ann, 2), (bob, PREFETCH)):
        lease(project, user, n=1)
        have = list(Assignment.objects.filter(user=user, state="open").values_list("pk", flat=True))
        with CaptureQueriesContext(connection) as queries:
            assert len(lease(project, user, n=n, have=have)) == n
        counts.append(len(statements(queries)))
    assert counts[1] <= counts[0] + 2, "who else is at work, and how much is free"
    assert counts[1] <= 20


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [1, 3])
def test_of_several_seats_of_a_pair_a_person_takes_one_and_the_counts_stay_right(
    project, ann, bob, make_comparisons, wanted
):
    set_votes(project, wanted)
    make_comparisons(project, 12)
    for held in lease(project, bob, n=3):
        vote(held)
    mine = lease(project, ann)
    assert len(mine) == len({one.comparison_id for one in mine})
    assert differences(project) == {}
    for held in mine[:5]:
        vote(held)
    assert bool(lease(project, bob)) == (wanted > 1)
    assert differences(project) == {}
    for user, found in left_for(project, [ann, bob], T0).items():
        assert {one.comparison_id for one in lease(project, user, n=MOST_HELD)} <= found


def test_pairs_that_measure_a_round_come_first(project, ann, make_comparison):
    for _ in range(3):
        make_comparison(project)
    first = make_comparison(project)
    Assignment.objects.filter(comparison=first).update(priority=0)
    assert next(iter(lease(project, ann))).comparison_id == first.pk


@pytest.mark.slow
def test_nobody_gets_more_than_their_share_while_others_are_at_work(
    project, ann, bob, make_comparison, make_comparisons
):
    make_comparisons(project, 24)
    lease(project, bob, n=4)
    assert len(lease(project, ann)) == 10
    for _ in range(2):
        make_comparison(project)
    assert len(lease(project, bob, n=PREFETCH)) == 10, "the four that he holds, and half of the twelve that are free"


@pytest.mark.slow
def test_alone_one_gets_all_and_the_first_few_whatever_others_hold(project, ann, bob, make_comparison):
    for _ in range(8):
        make_comparison(project)
    assert len(lease(project, bob)) == 8
    for _ in range(SHOWN_FIRST):
        make_comparison(project)
    assert len(lease(project, ann)) == SHOWN_FIRST


@pytest.mark.slow
def test_an_answer_given_in_time_is_stored_once_even_if_it_comes_after_the_seat_was_let_again(
    project, ann, bob, make_comparison
):
    for _ in range(2):
        make_comparison(project)
    mine = lease(project, ann)
    later = T0 + LEASE + timedelta(minutes=5)
    his = lease(project, bob, now=later)
    assert {one.comparison_id for one in his} == {one.comparison_id for one in mine}
    vote(his[0], now=later)
    said = T0 + timedelta(minutes=9)
    for _ in range(2):
        made = vote(mine[0], now=later, said_at=said)
    assert (made.created, made.vote.at, Vote.objects.count()) == (False, said, 2)
    vote(mine[1], now=later, said_at=said)
    vote(his[1], now=later)
    assert Vote.objects.count() == 4
    assert Preference.objects.count() == 2 - sum(a.order != b.order for a, b in zip(mine, his, strict=True))
    assert differences(project) == {}


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [None, 20, 24 * 60, -30 * 24 * 60])
def test_an_answer_given_too_late_is_kept_beside_that_of_who_has_the_pair(minutes, project, ann, bob, make_comparison):
    make_comparison(project)
    (mine,) = lease(project, ann)
    later = T0 + LEASE + timedelta(minutes=5)
    (his,) = lease(project, bob, now=later)
    for _ in range(2):
        vote(mine, now=later, said_at=None if minutes is None else T0 + timedelta(minutes=minutes))
    assert (Vote.objects.count(), selectors.n_wanting(project=project, user=bob, now=later)) == (1, 1)
    vote(his, now=later)
    assert Vote.objects.count() == 2
    assert differences(project) == {}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_people_who_ask_for_many_at_once_never_get_the_same_seat(project, make_user, make_comparisons):
    from apps.projects.models import Membership

    crowd = [make_user(f"w{number}") for number in range(4)]
    for user in crowd:
        Membership.objects.create(project=project, user=user, role="annotator")
    make_comparisons(project, 40)
    barrier, errors, got = threading.Barrier(len(crowd)), [], []

    def work(user):
        try:
            barrier.wait(timeout=30)
            got.append([one.comparison_id for one in lease(project, user, n=10)])
        except Exception as error:  # noqa: BLE001 (told below)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(user,)) for user in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    together = [key for keys in got for key in keys]
    assert len(together) == len(set(together)) >= 30
    assert differences(project) == {}


@pytest.mark.slow
def test_many_at_once_are_of_the_random_share_as_often_as_single_draws(project, ann, make_comparisons):
    pairs = make_comparisons(project, 60)
    for pair in pairs[:30]:
        Assignment.objects.filter(comparison=pair).update(priority=CHANCE)
    for share, least, most in ((0, 0, 0), (100, 20, 20), (50, 4, 16)):
        project.random_share = share
        project.save(update_fields=["random_share"])
        have = list(Assignment.objects.filter(user=ann, state="open").values_list("pk", flat=True))
        held = lease(project, ann, n=20, have=have)
        assert least <= sum(one.priority == CHANCE for one in held) <= most
        for one in held:
            vote(one)
    assert differences(project) == {}


@pytest.mark.slow
def test_the_request_of_a_desk_takes_the_same_number_of_statements_too(project, ann, bob, make_comparisons, client_for):
    make_comparisons(project, 60)
    counts = []
    for user, n in ((ann, 2), (bob, 18)):
        client = client_for(user)
        client.get(f"/p/{project.slug}/annotate/")
        have = ",".join(str(one) for one in Assignment.objects.filter(user=user).values_list("pk", flat=True))
        with CaptureQueriesContext(connection) as queries:
            reply = client.post(f"/p/{project.slug}/annotate/next/", {"n": n, "have": have})
        assert reply.json()["html"].count("<article") == n
        counts.append(len(statements(queries)))
    assert counts[1] <= counts[0] + 2
