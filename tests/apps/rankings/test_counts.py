"""The numbers in the rail are the lengths of the queues they stand for, whatever has happened to a comparison."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.apps import apps

from apps.labels.models import Override, ReviewCount, Vote
from apps.labels.review_counts import review_counts_repair, review_differences
from apps.labels.services import override_append
from apps.projects.services import label_policy_set
from apps.prompts.models import ImportBatch
from apps.rankings import selectors
from apps.rankings.models import MEASURING, Assignment, Place
from apps.rankings.services.counts import counted, differences
from apps.rankings.services.seats import seats_fill
from tests.apps.rankings.queue_oracle import left_for

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def happened(project, other_project, ann, bob, make_comparison, make_vote, make_judge, make_verdict):
    """Sixty comparisons with votes, changes of mind, leases, looks at verdicts and an unfinished import, at random."""
    rng = random.Random(3)
    judge = make_judge(project, "j")
    unfinished = ImportBatch.objects.create(project=project, name="x", format="records", ready=False)
    for i in range(60):
        fields = {"batch": unfinished} if i % 9 == 8 else {"held_out": i % 7 == 6, "for_people": i % 11 != 5}
        c = make_comparison(other_project if i % 10 == 9 else project, **fields)
        ann_by = ann if i % 4 else None  # or an import has a vote under her name
        for person, rater in ((ann_by, ann.username), (bob, ""), (None, "eve")):
            if rng.random() < 0.25:
                before = make_vote(c, "first", user=person, rater=rater)
                if rng.random() < 0.4:
                    choice = rng.choice(["tie", "skip", "withdrawn"])
                    make_vote(c, choice, user=person, rater=before.rater, supersedes=before)
        for person in (ann, bob):
            if rng.random() < 0.2:
                state, late = rng.choice([("open", 1), ("open", -1), ("expired", -1), ("expired", 1)])
                answered = c.votes.filter(user=person, superseded_by=None).exclude(choice="withdrawn").exists()
                if answered or not c.for_people or c.batch:
                    state = "expired"  # nobody holds what they answered, or what is not for people
                with counted(c.project_id, [c.pk]):
                    Assignment.objects.create(
                        project=c.project, comparison=c, user=person, order="01", state=state,
                        lease_until=T0 + timedelta(hours=late),
                    )  # fmt: skip
                    seats_fill(c.project_id, [c.pk])
        for order in ("01", "10"):
            if rng.random() < 0.6 and c.project == project:
                make_verdict(c, "first", judge=judge, order=order)
        if rng.random() < 0.3:
            kind = rng.choice(["agree", "override", "withdrawn"])
            said = {"kind": kind, "choice": "tie", "user": rng.choice([ann, bob]), "rater": "r"}
            before = Override(comparison=c, judge=judge, **said)
            override_append(override=before, now=T0)
            if rng.random() < 0.4:
                back = Override(comparison=c, judge=judge, supersedes=before, **said | {"kind": "withdrawn"})
                override_append(override=back, now=T0)


@pytest.mark.slow
def test_the_number_beside_annotate_is_what_the_queue_holds(project, happened, ann, bob):
    for wanted in (1, 2, 3):
        label_policy_set(project=project, actor=None, votes_per_comparison=wanted, annotators_may_override=True)
        assert differences(project) == {}
        for user, left in left_for(project, [ann, bob], T0).items():
            assert selectors.n_wanting(project=project, user=user, now=T0) == len(left)
            assert 0 < len(left) < 50


@pytest.mark.slow
def test_an_earlier_database_gets_its_seats_and_its_counts(project, other_project, happened, ann):
    def seats():
        free = Assignment.objects.filter(state="free").values_list("comparison_id", "priority")
        return sorted((comparison, priority == MEASURING) for comparison, priority in free)

    before, places = seats(), set(Place.objects.values_list("project_id", "user_id", "n_open", "n_done"))
    Assignment.objects.filter(state="free").delete()
    Place.objects.all().delete()
    migrations = [import_module(f"apps.rankings.migrations.{name}") for name in ("0009_fill_seats", "0017_fill_labels")]
    for _ in range(2):  # again changes nothing
        for migration in migrations:
            migration.fill(apps, None)
        assert seats() == before
        for one in (project, other_project):
            assert differences(one) == {}
    there = Place.objects.values_list("project_id", "user_id", "n_open", "n_done")
    assert {row for row in there if any(row[2:])} == {row for row in places if any(row[2:])}
    hers = Place.objects.get(project=project, user=ann)
    last = Vote.objects.filter(user=ann, comparison__project=project).latest("id")
    assert (hers.rater, hers.recent[0][0]) == (last.rater, last.seconds)


@pytest.mark.slow
def test_the_number_beside_review_is_what_the_queue_holds(project, happened):
    queue = selectors.review_queue(project, judge=project.judges.get())
    assert selectors.n_to_review(project) == len(queue) > 10
    assert review_differences(project) == {}
    ids = [item.comparison_id for item in queue][:7]
    assert selectors.n_to_review(project, comparison_ids=ids) == 7
    ReviewCount.objects.update(n_to_review=1)
    assert list(review_counts_repair(project).values()) == [(1, len(queue))]
    assert selectors.n_to_review(project) == len(queue)
