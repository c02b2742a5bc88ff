"""A vote that does not count is wanted of somebody else, and no more once it counts again."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from apps.jobs.drain import drain
from apps.labels import exclusions
from apps.labels.models import Exclusion, Vote
from apps.rankings import selectors, services
from apps.rankings.models import Assignment

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def voted(project, ann, make_comparison):
    """Four pairs that ann has voted on, an hour after each other, and one that nobody has."""
    rows = [make_comparison(project) for _ in range(5)]
    for hours in range(4):
        vote(project, ann, T0 + timedelta(hours=hours))
    return rows


def vote(project, user, now, choice="left"):
    seat = services.assignment_next(project=project, user=user, now=now, rng=random.Random(0))
    if seat is None:
        return None
    services.vote_create(assignment=seat, choice=choice, now=now)
    return seat.comparison_id


def exclude(project, by, rater="ann", since=None):
    return exclusions.exclusion_create(project=project, rater=rater, since=since, reason="", by=by, now=T0)


def free():
    return list(Assignment.objects.filter(state="free").order_by("comparison").values_list("comparison_id", flat=True))


def left(project, user):
    return selectors.n_wanting(project=project, user=user, now=T0)


@pytest.mark.slow
def test_others_are_asked_in_their_place_until_it_is_undone(project, voted, ann, bob, alice):
    assert free() == [voted[4].pk]
    made = exclude(project, alice)
    assert free() == [row.pk for row in voted]
    assert (left(project, bob), left(project, ann)) == (5, 1), "she is not asked about them again"
    call_command("check_queue")
    later = T0 + timedelta(days=1)
    assert vote(project, bob, later) == voted[4].pk
    assert vote(project, bob, later) == voted[0].pk
    exclusions.exclusion_lift(exclusion=made, by=alice, now=later)
    assert free() == []
    assert (left(project, bob), left(project, ann)) == (0, 0)
    call_command("check_queue")
    assert Vote.objects.filter(comparison=voted[0]).count() == 2, "what bob said stays"


@pytest.mark.slow
def test_only_what_does_not_count_is_asked_for_again(project, voted, alice):
    exclude(project, alice, since=T0 + timedelta(hours=2))
    assert free() == [row.pk for row in voted[2:]]
    call_command("check_queue")


@pytest.mark.slow
def test_who_is_excluded_may_go_on_and_fills_no_place(project, voted, ann, bob, alice):
    exclude(project, alice)
    assert vote(project, ann, T0 + timedelta(days=1)) == voted[4].pk
    assert free() == [row.pk for row in voted]
    call_command("check_queue")
    assert (left(project, ann), left(project, bob)) == (0, 5)
    services.vote_undo(project=project, user=ann, now=T0 + timedelta(days=1))
    assert free() == [row.pk for row in voted[:4]], "she holds it"
    call_command("check_queue")


@pytest.mark.slow
def test_a_pair_that_somebody_holds_is_not_let_twice(project, voted, ann, bob, alice):
    made = exclude(project, alice)
    held = services.assignment_next(project=project, user=bob, now=T0, rng=random.Random(0))
    exclusions.exclusion_lift(exclusion=made, by=alice, now=T0)
    exclude(project, alice)
    assert Assignment.objects.filter(comparison=held.comparison, state__in=("free", "open")).count() == 1
    call_command("check_queue")


def test_many_are_asked_for_again_by_a_job(project, voted, ann, alice, monkeypatch):
    monkeypatch.setattr(exclusions, "AT_ONCE", 3)
    exclude(project, alice)
    drain(["cpu"], worker_name="w")
    assert free() == [row.pk for row in voted]
    call_command("check_queue")


def test_check_queue_says_which_seats_are_missing(project, voted, bob, capsys):
    Exclusion.objects.create(project=project, rater="ann", by=bob)
    with pytest.raises(CommandError):
        call_command("check_queue")
    assert "4 free seats are missing" in capsys.readouterr().out
    call_command("check_queue", repair=True)
    assert free() == [row.pk for row in voted]
    call_command("check_queue")
