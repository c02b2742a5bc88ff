"""Practice before real pairs: the right answer after each, a bound that qualifies, and a lead's word."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from apps.core.models import AuditEvent
from apps.labels.models import Vote
from apps.rankings import selectors, services
from apps.rankings.models import Assignment, Place, PracticeAnswer
from apps.rankings.services.counts import differences
from apps.rankings.services.seats import n_seats_wrong

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 1, 1, tzinfo=UTC)
JSON = {"HTTP_ACCEPT": "application/json"}


@pytest.fixture
def practised(project, bob, make_comparison):
    """A project with three real pairs and two for practice, both of which must be right."""
    for _ in range(3):
        make_comparison(project)
    for outcome in ("first", "tie"):
        pair = make_comparison(project)
        services.gold_mark(comparison=pair, outcome=outcome, by=bob, note=f"because {outcome}", for_practice=True)
    services.practice_bound_set(project=project, bound=100, by=bob)
    return project


def lease(project, user, n=1):
    return services.assignments_lease(project=project, user=user, n=n, now=T0, rng=random.Random(0))


def shown(project, user, outcome):
    """The outcome of the pair that comes next, as a button says it."""
    pair = selectors.practice_next(project, selectors.practice_of(project, user))
    wanted = outcome if outcome in {"tie", "both_bad"} else None
    order = selectors.practice_order(pair, user)
    return pair, wanted or ("left" if (outcome == "first") == (order == "01") else "right")


def answer(client, project, user, outcome):
    pair, choice = shown(project, user, outcome)
    url = f"/p/{project.slug}/annotate/practice/"
    return client.post(url, {"comparison": pair.pk, "choice": choice}, follow=True).content.decode()


@pytest.mark.slow
def test_practice_comes_first_says_what_is_right_and_why_and_then_real_pairs(practised, ann, client_for, api_for):
    desk = client_for(ann)
    url = f"/p/{practised.slug}/annotate/"
    assert desk.get(url).headers["Location"] == f"{url}practice/"
    assert lease(practised, ann, 3) == []
    assert api_for(ann).post(f"/api/v1/projects/{practised.slug}/next/").status_code == 204
    first = desk.get(f"{url}practice/").content.decode()
    assert "because first" not in first
    assert "0 of 2" in first
    told = answer(desk, practised, ann, "first")
    assert "Right." in told
    assert "because first" in told
    told = answer(desk, practised, ann, "tie")
    assert "See the result" in told
    assert "You passed" in desk.get(f"{url}practice/").content.decode()
    assert "data-pair" in desk.get(url).content.decode()
    assert len(lease(practised, ann, 9)) == 3, "practice pairs are given among real ones to nobody"
    assert not Vote.objects.exists()
    assert (differences(practised), n_seats_wrong(practised)) == ({}, 0)


@pytest.mark.slow
def test_the_first_answer_stands_and_who_failed_needs_a_lead(practised, ann, bob, client_for):
    desk, lead = client_for(ann), client_for(bob)
    pair, choice = shown(practised, ann, "second")
    here = f"/p/{practised.slug}/annotate/practice/"
    for said in (choice, "tie"):
        told = desk.post(here, {"comparison": pair.pk, "choice": said}, follow=True).content.decode()
        assert "Not right." in told
    assert PracticeAnswer.objects.get().choice == "second"
    answer(desk, practised, ann, "tie")
    assert "Not enough right answers" in desk.get(here).content.decode()
    assert lease(practised, ann) == []
    pages = f"/p/{practised.slug}/review/practice/"
    page = lead.get(pages).content.decode()
    assert "not passed" in page
    lead.post(f"{pages}decide/", {"user": "ann", "act": "again"})
    for outcome in ("first", "tie"):
        answer(desk, practised, ann, outcome)
    assert Place.objects.get(user=ann).is_qualified
    assert "attempt 2" in lead.get(pages).content.decode()
    assert PracticeAnswer.objects.count() == 4, "nothing is lost"
    lead.post(f"{pages}decide/", {"user": "ann", "act": "again"})
    assert lease(practised, ann) == []
    lead.post(f"{pages}decide/", {"user": "ann", "act": "let-in"})
    assert len(lease(practised, ann)) == 1
    verbs = set(AuditEvent.objects.values_list("verb", flat=True))
    assert {"practice.bound", "practice.qualify", "practice.again"} <= verbs


@pytest.mark.slow
def test_who_is_asked_to_practise(practised, bob, ann, client_for, make_comparison, charlie):
    assert len(lease(practised, bob)) == 1, "leads are not"
    held = Assignment.objects.get(user=bob)
    services.vote_create(assignment=held, choice="left", now=T0)
    services.practice_bound_set(project=practised, bound=None, by=bob)
    assert len(lease(practised, ann)) == 1, "off"
    gone = client_for(ann).get(f"/p/{practised.slug}/annotate/practice/")
    assert gone.headers["Location"] == f"/p/{practised.slug}/annotate/"
    pages = f"/p/{practised.slug}/review/practice/"
    assert client_for(bob).post(pages, {"bound": "101"}).status_code == 400
    assert client_for(bob).post(pages, {"bound": "80"}).status_code == 302
    practised.refresh_from_db()
    assert practised.practice_bound == 80
    real = make_comparison(practised)
    here = f"/p/{practised.slug}/annotate/practice/"
    assert client_for(ann).post(here, {"comparison": real.pk, "choice": "left"}).status_code == 404
    assert client_for(ann).post(f"{pages}decide/", {"user": "ann", "act": "let-in"}).status_code == 404
    assert client_for(bob).post(f"{pages}decide/", {"user": "charlie", "act": "let-in"}).status_code == 404


def test_an_answer_that_was_on_its_way_is_kept_when_practice_is_asked_for(practised, ann, bob, client_for):
    services.practice_bound_set(project=practised, bound=None, by=bob)
    held = lease(practised, ann)[0]
    services.practice_bound_set(project=practised, bound=50, by=bob)
    body = {"assignment": held.pk, "choice": "left", "next": "1"}
    said = client_for(ann).post(f"/p/{practised.slug}/annotate/vote/", body, **JSON).json()
    assert (Vote.objects.count(), said["html"]) == (1, "")
    assert "practice pairs first" in said["stopped"]
