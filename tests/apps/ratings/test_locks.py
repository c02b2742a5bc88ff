"""Ratings beside what settles many seats at once: nobody waits in a circle (locks: prompts, comparisons, places)."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections

from apps.labels.exclusions import exclusion_create, exclusion_lift
from apps.labels.models import Exclusion, Rating
from apps.projects.services import guideline_add, label_policy_set
from apps.ratings import services
from apps.ratings.services.compare import compared
from prefloop.rubrics import rubric_read

T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
RUBRIC = rubric_read("correct: Is it true?")
TURNS = 8


@pytest.fixture
def rated(project, make_prompt, make_completion, ann, bob):
    """Three prompts with four answers each, which ann and bob have rated."""
    for _ in range(3):
        prompt = make_prompt(project)
        for n in range(4):
            make_completion(prompt, f"Answer {n}.")
    guideline_add(project=project, text="Rate.", actor=None, task="rating", rubric=RUBRIC)
    label_policy_set(project=project, actor=None, votes_per_comparison=3, annotators_may_override=True)
    project.refresh_from_db()
    for user in (ann, bob):
        again(project, user)
    return project


def again(project, user):
    """Rate whatever is there for this person."""
    for at, seat in enumerate(services.seats_lease(project=project, user=user, n=20, now=T0)):
        values = {"correct": 1 + (seat.pk + at) % 5}
        services.rating_create(seat=seat, said=services.Rated(values=values), now=T0)


def excluded(project, by):
    made = exclusion_create(project=project, rater="ann", since=None, reason="", by=by, now=T0)
    exclusion_lift(exclusion=made, by=by, now=T0)


def wanted(project, by):
    n = 3 if project.votes_per_comparison == 2 else 2
    label_policy_set(project=project, actor=by, votes_per_comparison=n, annotators_may_override=True)


def asked(project, by):
    guideline_add(project=project, text=f"Rate {Rating.objects.count()}.", actor=by, task="rating", rubric=RUBRIC)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("settle", [excluded, wanted, asked])
def test_a_rating_and_what_settles_many_seats_wait_for_each_other_in_one_order(rated, ann, bob, monkeypatch, settle):
    """Each takes its first locks, and only then its others: whichever comes first, both come to an end."""
    met = threading.Barrier(2, timeout=0.3)

    def compared_later(*args):
        try:
            met.wait()  # the prompt is locked, and the comparisons are not
        except threading.BrokenBarrierError:
            met.reset()
        return compared(*args)

    monkeypatch.setattr("apps.ratings.services.rate.compared", compared_later)
    problems: list[BaseException] = []

    def running(what):
        try:
            what()
        except OperationalError as error:
            problems.append(error)
        finally:
            connections.close_all()

    def rates():
        for _ in range(TURNS):
            services.rating_undo(project=rated, user=bob, now=T0)
            again(rated, bob)

    done = threading.Event()

    def settles():
        while not done.is_set():
            rated.refresh_from_db()
            settle(rated, ann)

    if connection.features.has_select_for_update:
        other = threading.Thread(target=running, args=(settles,))
        other.start()
        running(rates)
        done.set()
        other.join(60)
        assert not other.is_alive()
    else:  # with one write lock nobody can meet
        settle(rated, ann)
        services.rating_undo(project=rated, user=bob, now=T0)
        again(rated, bob)
        settle(rated, ann)
    assert problems == []
    assert not Exclusion.objects.filter(lifted_at=None).exists()
    call_command("check_queue", project=rated.slug, stdout=StringIO())
