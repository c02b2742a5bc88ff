"""The numbers in the rail are the lengths of the queues they stand for, whatever has happened to a comparison."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from apps.labels.models import Override
from apps.prompts.models import ImportBatch
from apps.rankings import selectors
from apps.rankings.models import Assignment
from apps.rankings.selectors.queue import wanting_votes

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
                state, late = rng.choice([("open", 1), ("open", -1), ("seen", -1), ("expired", 1)])
                Assignment.objects.create(
                    project=c.project, comparison=c, user=person, order="01", state=state,
                    lease_until=T0 + timedelta(hours=late),
                )  # fmt: skip
        for order in ("01", "10"):
            if rng.random() < 0.6 and c.project == project:
                make_verdict(c, "first", judge=judge, order=order)
        if rng.random() < 0.3:
            kind = rng.choice(["agree", "override", "withdrawn"])
            said = {"kind": kind, "choice": "tie", "user": rng.choice([ann, bob]), "rater": "r"}
            before = Override.objects.create(comparison=c, judge=judge, **said)
            if rng.random() < 0.4:
                Override.objects.create(comparison=c, judge=judge, supersedes=before, **said | {"kind": "withdrawn"})


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_the_number_beside_annotate_is_what_the_queue_holds(project, happened, ann, bob, wanted):
    project.votes_per_comparison = wanted
    project.save()
    for user in (ann, bob):
        n = wanting_votes(project=project, user=user, now=T0).count()
        assert selectors.n_wanting(project=project, user=user, now=T0) == n
        assert 0 < n < 50


def test_the_number_beside_review_is_what_the_queue_holds(project, happened):
    queue = selectors.review_queue(project, judge=project.judges.get())
    assert selectors.n_to_review(project) == len(queue) > 10
