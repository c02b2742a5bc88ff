"""What is left and what is done of ratings: read rather than counted, and right after every turn."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import call_command

from apps.projects.services import guideline_add, label_policy_set
from apps.rankings.models import Place
from apps.ratings import selectors, services
from apps.ratings.models import RatingSeat
from apps.ratings.services.seats import LEASE, seat_end
from prefloop.rubrics import rubric_read

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def asking(project, make_prompt, make_completion):
    for _ in range(3):
        prompt = make_prompt(project)
        for n in range(2):
            make_completion(prompt, f"Answer {n}.")
    guideline_add(project=project, text="Rate.", actor=None, task="rating", rubric=rubric_read("true: Is it?"))
    label_policy_set(project=project, actor=None, votes_per_comparison=2, annotators_may_override=True)
    project.refresh_from_db()
    return project


def lease(project, user, n=1, now=T0):
    return services.seats_lease(project=project, user=user, n=n, now=now)


def rate(seat, choice="rated"):
    values = {"true": 3} if choice == "rated" else None
    return services.rating_create(seat=seat, said=services.Rated(choice=choice, values=values), now=T0)


def numbers(project, user):
    found = selectors.progress(project, user)
    call_command("check_queue", project=project.slug, stdout=StringIO())
    return found.done, found.left


def test_the_numbers_follow_every_turn(asking, ann, bob):
    assert numbers(asking, ann) == (0, 6)
    first, second, third = lease(asking, ann, 3)
    assert numbers(asking, ann) == (0, 6)
    rate(first)
    rate(second, "skip")
    rate(third, "cant_judge")
    assert numbers(asking, ann) == (3, 3)
    second.refresh_from_db()
    services.rating_undo(project=asking, user=ann, seat=second, now=T0)
    assert numbers(asking, ann) == (2, 4)
    assert numbers(asking, bob) == (0, 6)


def test_who_has_dealt_with_everything_is_not_looked_at_again(asking, ann):
    for _ in range(6):
        rate(lease(asking, ann)[0])
    assert RatingSeat.objects.filter(user=None).count() == 6, "those of a second person"
    assert lease(asking, ann) == []
    last = RatingSeat.objects.latest("pk").pk
    assert selectors.reach_of(asking, ann) == (last, last)
    assert numbers(asking, ann) == (6, 0)


def test_what_comes_later_is_found_behind_the_end(asking, ann, bob, make_prompt, make_completion):
    for _ in range(6):
        rate(lease(asking, ann)[0])
    assert lease(asking, ann) == []
    make_completion(make_prompt(asking), "A new one.")
    services.seats_settle(project=asking)
    assert numbers(asking, ann) == (6, 1)
    (new,) = lease(asking, ann)
    seat_end(new)
    assert numbers(asking, ann) == (6, 1), "its lease has ended, and it is there again"
    services.rating_undo(project=asking, user=ann, now=T0)
    late = T0 + LEASE + timedelta(minutes=1)
    lease(asking, bob, now=late)  # ends what ran out
    assert numbers(asking, ann) == (5, 2)
    assert {seat.completion.text for seat in lease(asking, ann, 3, now=late)} >= {"A new one."}


def test_what_somebody_else_is_just_being_given_is_not_taken_for_nothing(asking, ann, monkeypatch):
    for _ in range(6):
        rate(lease(asking, ann)[0])
    Place.objects.filter(user=ann).update(rated_up_to=0)
    free = RatingSeat.objects.filter(user=None)
    monkeypatch.setattr("apps.ratings.services.seats._take_after", lambda *_: [])  # as where all are locked
    monkeypatch.setattr("apps.ratings.services.seats.free_for", lambda *_: free)
    assert lease(asking, ann) == []
    assert Place.objects.get(user=ann).rated_up_to == 0


def test_an_upgrade_counts_what_was_rated_before(asking, ann):
    rate(lease(asking, ann)[0])
    rate(lease(asking, ann)[0], "skip")
    services.rating_undo(project=asking, user=ann, now=T0)
    Place.objects.update(n_rated=0)
    importlib.import_module("apps.rankings.migrations.0028_count_ratings").count(apps, None)
    assert numbers(asking, ann)[0] == 1
