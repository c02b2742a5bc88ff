"""Batches: first for whom they are for, last for the others, by deadline, with progress; closed, like the rest."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from apps.rankings import selectors, services
from apps.rankings.batch_models import FIRST_LANE
from apps.rankings.models import Assignment
from apps.rankings.services.counts import differences
from apps.rankings.services.seats import n_seats_wrong
from prefloop.types import PrefloopError

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def pairs(project, make_comparison, make_prompt):
    return [
        make_comparison(project, prompt=make_prompt(project, f"{'Spanish' if n > 7 else 'French'} {n}"))
        for n in range(12)
    ]


def lease(project, user, n=1):
    return services.assignments_lease(project=project, user=user, n=n, now=T0, rng=random.Random(0))


def batch(project, pairs, by, **more):
    return services.batch_create(project=project, name="b", comparison_ids=[one.pk for one in pairs], by=by, **more)


@pytest.mark.slow
@pytest.mark.parametrize("ask", [1, 12])
def test_a_batch_comes_first_for_its_people_and_last_for_others(ask, project, pairs, ann, bob, make_verdict):
    made = batch(project, pairs[8:], bob, people=[ann])
    make_verdict(pairs[9], "first")  # weighed anew, it stays in the batch
    wanted = {one.pk for one in pairs[8:]}
    first = [seat.comparison_id for seat in lease(project, ann, ask)]
    assert set(first[:4]) <= wanted
    for seat in Assignment.objects.filter(state="open"):
        services.vote_create(assignment=seat, choice="skip", now=T0)
    others = []
    while held := lease(project, bob, ask):
        for seat in held:
            others.append(seat.comparison_id)
            services.vote_create(assignment=seat, choice="left", now=T0)
    assert len(others) == 12
    assert set(others[-4:]) == wanted, "and nobody waits for somebody who is away"
    (shown,) = selectors.batches_of(project, now=T0)
    assert (shown.n, shown.n_done, shown.people, shown.batch) == (4, 4, ("ann",), made)
    assert (differences(project), n_seats_wrong(project)) == ({}, 0)


@pytest.mark.slow
def test_the_earliest_deadline_is_first_and_a_vote_brings_the_next_of_the_batch(project, pairs, ann, bob):
    later = batch(project, pairs[3:5], bob, deadline=T0 + timedelta(days=9))
    sooner = batch(project, pairs[9:11], bob, deadline=T0 - timedelta(days=1))
    order = [seat.comparison_id for seat in lease(project, ann, 5)]
    assert order == [pairs[n].pk for n in (9, 10, 3, 4, 0)]
    seat = Assignment.objects.get(comparison=pairs[9], state="open")
    _, taken = services.vote_and_next(assignment=seat, choice="left", now=T0, rng=random.Random(0))
    assert taken.assignment.comparison_id == pairs[1].pk
    shown = selectors.batches_of(project, now=T0)
    assert [(one.batch.pk, one.n_done, one.is_late) for one in shown] == [(sooner.pk, 1, True), (later.pk, 0, False)]


@pytest.mark.slow
def test_closed_it_is_like_the_rest_and_its_lane_is_used_again(project, pairs, ann, bob):
    made = batch(project, pairs[8:], bob)
    for _ in range(2):
        services.batch_close(batch=made, by=bob, now=T0)
    project.refresh_from_db()
    assert (project.batch_lanes, n_seats_wrong(project)) == ([], 0)
    assert not Assignment.objects.filter(priority__gte=FIRST_LANE).exists()
    assert [seat.comparison_id for seat in lease(project, ann, 2)] == [pairs[0].pk, pairs[1].pk]
    assert batch(project, pairs[8:], bob).lane == made.lane
    assert differences(project) == {}


@pytest.mark.slow
def test_a_lead_makes_one_of_the_pairs_that_fit(project, pairs, ann, bob, client_for):
    url, lead = f"/p/{project.slug}/review/batches/", client_for(bob)
    assert client_for(ann).get(url).status_code == 404
    said = {"name": "Spanish <b>", "contains": "spanish", "most": "3", "people": ["ann"], "deadline": "2026-02-01"}
    assert lead.post(url, said).status_code == 302
    (shown,) = selectors.batches_of(project, now=T0)
    assert (shown.n, shown.people, shown.batch.deadline.date().isoformat()) == (3, ("ann",), "2026-02-01")
    page = lead.get(url).content.decode()
    assert "Spanish &lt;b&gt;" in page
    assert "0 / 3" in page
    again = lead.post(url, said)  # one is left
    assert again.status_code == 302
    none = lead.post(url, said)
    assert (none.status_code, "nothing to make a batch of" in none.content.decode()) == (400, True)
    assert lead.post(url, {"name": "", "most": "0"}).status_code == 400
    assert lead.post(url, said | {"people": ["nobody"]}).status_code == 400
    assert lead.post(f"{url}{shown.batch.pk}/close/").status_code == 302
    assert lead.post(f"{url}999999/close/").status_code == 404
    with pytest.raises(PrefloopError, match="a batch needs a name"):
        services.batch_create(project=project, name=" ", comparison_ids=[pairs[0].pk], by=bob)
