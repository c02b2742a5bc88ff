"""Comparisons made to measure: never trained on, and given to people, blind and first, where they were chosen."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction

from apps.exchange.left_out import left_out
from apps.labels.models import Preference
from apps.labels.services import preferences_derive
from apps.rankings import selectors, services
from apps.samples.models import Comparison
from apps.samples.services import EVALUATION, comparisons_create
from apps.training.models import Snapshot, SnapshotItem

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def measuring(project, make_prompt, make_completion):
    """Three comparisons between two policies, on a prompt that others train on."""
    prompt = make_prompt(project, "Thank Maria.", split="train")
    rows = [make_completion(prompt, f"Answer {at}.") for at in range(6)]
    return comparisons_create(
        project=project, pairs=zip(rows[::2], rows[1::2], strict=True), origin=f"{EVALUATION}:3:1"
    )


def give_to_people(project, comparison):
    Comparison.objects.filter(pk=comparison.pk).update(for_people=True)
    services.seats_settle(project=project, comparison_ids=[comparison.pk])


def lease(project, user):
    return services.assignment_next(project=project, user=user, now=T0, rng=random.Random(0))


def test_a_comparison_made_to_measure_is_held_out_and_the_database_keeps_it_so(measuring):
    assert all(row.held_out and not row.for_people for row in measuring)
    for change in ({"held_out": False}, {"held_out": False, "origin": EVALUATION}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Comparison.objects.filter(pk=measuring[0].pk).update(**change)


def test_what_people_say_of_it_never_enters_a_training_set_or_a_training_file(project, ann, measuring):
    chosen = measuring[0]
    give_to_people(project, chosen)
    services.vote_create(assignment=lease(project, ann), choice="left", now=T0)
    preferences_derive(project=project, now=T0)
    assert Preference.objects.get(comparison=chosen).source == "human"
    snapshot = Snapshot.objects.create(project=project, name="s", path="x", sha256="0" * 64, n_pairs=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        SnapshotItem.objects.create(snapshot=snapshot, comparison=chosen, held_out=True, p_first=1.0, source="human")
    told = left_out(project=project, format="trl", labels="effective")
    assert (told.n_kept, told.counts["held_out"]) == (0, 3)


@pytest.mark.slow
def test_annotate_gives_the_chosen_ones_before_all_others_and_the_rest_not_at_all(
    project, ann, measuring, make_comparison
):
    other = make_comparison(project)
    assert selectors.n_wanting(project=project, user=ann, now=T0) == 1
    assert lease(project, ann).comparison_id == other.pk
    give_to_people(project, measuring[2])
    services.vote_create(assignment=lease(project, ann), choice="left", now=T0)
    another = make_comparison(project)
    assert selectors.n_wanting(project=project, user=ann, now=T0) == 2
    given = lease(project, ann)
    assert given.comparison_id == measuring[2].pk
    services.vote_create(assignment=given, choice="tie", now=T0)
    assert lease(project, ann).comparison_id == another.pk
