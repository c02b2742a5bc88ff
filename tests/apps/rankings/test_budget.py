"""Pausing annotation for everybody or one person, and a budget of labels that ends it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module

import pytest

from apps.core.models import AuditEvent
from apps.labels.models import Vote
from apps.rankings import selectors, services
from apps.rankings.models import Place
from apps.rankings.services.counts import differences
from prefloop.types import PrefloopError

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 1, 1, tzinfo=UTC)
JSON = {"HTTP_ACCEPT": "application/json"}


def lease(project, user, n=1, now=T0):
    return services.assignments_lease(project=project, user=user, n=n, now=now, rng=random.Random(0))


@pytest.fixture
def pairs(project, make_comparison):
    return [make_comparison(project) for _ in range(6)]


@pytest.mark.slow
def test_while_a_project_is_paused_nobody_is_given_pairs_and_answers_are_kept(project, pairs, ann, bob, client_for):
    held = lease(project, ann, 2)
    url = f"/p/{project.slug}/review/budget/pause/"
    client_for(bob).post(url, {"act": "pause", "why": "New guideline at two."})
    project.refresh_from_db()
    assert lease(project, ann, 3) == []
    desk = client_for(ann)
    page = desk.get(f"/p/{project.slug}/annotate/").content.decode()
    assert "New guideline at two." in page
    body = {"assignment": held[0].pk, "choice": "left", "next": "1"}
    said = desk.post(f"/p/{project.slug}/annotate/vote/", body, **JSON).json()
    assert (said["html"], said["stopped"], Vote.objects.count()) == ("", "New guideline at two.", 1)
    item = desk.get(f"/p/{project.slug}/annotate/{pairs[-1].pk}/").content.decode()
    assert "data-pair" not in item
    client_for(bob).post(url, {"act": "go-on"})
    project.refresh_from_db()
    assert [seat.pk for seat in lease(project, ann, 1)] == [held[1].pk]
    assert differences(project) == {}
    verbs = AuditEvent.objects.filter(verb__startswith="queue.").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["queue.pause", "queue.resume"]


@pytest.mark.slow
def test_one_person_is_paused_and_the_others_go_on(project, pairs, ann, bob, client_for, charlie):
    url = f"/p/{project.slug}/review/budget/pause/"
    assert client_for(ann).post(url, {"act": "pause"}).status_code == 404
    client_for(bob).post(url, {"act": "pause", "user": "ann"})
    assert lease(project, ann) == []
    assert "Annotation is paused" in client_for(ann).get(f"/p/{project.slug}/annotate/").content.decode()
    assert len(lease(project, bob)) == 1
    page = client_for(bob).get(f"/p/{project.slug}/review/budget/").content.decode()
    assert "Go on: give ann pairs again" in page
    assert client_for(bob).post(url, {"act": "pause", "user": "charlie"}).status_code == 404
    with pytest.raises(PrefloopError, match="not a member"):
        services.person_pause(project=project, user=charlie, why="x", by=bob)
    client_for(bob).post(url, {"act": "go-on", "user": "ann"})
    assert len(lease(project, ann)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("ask", [1, 4])
def test_no_more_is_handed_out_than_the_budget_has_left(ask, project, pairs, ann, bob, client_for):
    services.budget_set(project=project, labels=4, price=Decimal("0.25"), currency="eur", by=bob)
    held = lease(project, ann, 2)
    services.vote_create(assignment=held[0], choice="skip", now=T0)  # no label
    services.vote_create(assignment=held[1], choice="cant_judge", now=T0)
    theirs = lease(project, bob, 2)
    assert len(theirs) == 2
    mine = lease(project, ann, 3)
    assert len(mine) == 1, "one is given, two are held"
    _, taken = services.vote_and_next(assignment=mine[0], choice="left", now=T0, rng=random.Random(1))
    assert taken is None
    assert lease(project, ann, ask) == []
    assert "all the labels that it asked for" in client_for(ann).get(f"/p/{project.slug}/annotate/").content.decode()
    for seat in theirs:
        services.vote_create(assignment=seat, choice="left", now=T0)
    found = selectors.budget_of(project, now=datetime.now(UTC))
    assert (found.n_used, found.n_left, found.cost, found.cost_left) == (4, 0, 1, 0)
    assert {one.user.username: one.n_labels for one in found.workers} == {"ann": 2, "bob": 2}
    services.vote_undo(project=project, user=bob, now=T0)
    assert selectors.budget_of(project, now=T0).n_used == 3
    assert differences(project) == {}
    services.budget_set(project=project, labels=None, price=None, currency="EUR", by=bob)
    assert len(lease(project, ann, 1)) == 1


@pytest.mark.slow
def test_a_lead_sets_it_in_labels_or_money_and_reads_when_it_ends(project, pairs, ann, bob, client_for):
    url, lead = f"/p/{project.slug}/review/budget/", client_for(bob)
    refused = lead.post(url, {"money": "10", "currency": "EUR"})
    assert (refused.status_code, "price of a label" in refused.content.decode().lower()) == (400, True)
    assert lead.post(url, {"labels": "-1", "currency": "EUR"}).status_code == 400
    assert lead.post(url, {"labels": "5", "currency": "Euro"}).status_code == 400
    assert lead.post(url, {"money": "1", "price": "0.3", "currency": "eur"}).status_code == 302
    project.refresh_from_db()
    assert (project.label_budget, project.label_currency) == (3, "EUR")
    services.vote_create(assignment=lease(project, ann)[0], choice="left", now=T0)
    now = datetime.now(UTC)
    found = selectors.budget_of(project, now=now)
    assert (found.n_day, found.n_left, found.ends_at) == (1, 2, now + timedelta(days=2))
    page = lead.get(url).content.decode()
    assert "0.30" in page
    assert "0.60" in page


def test_labels_given_before_are_counted_by_the_migration(project, pairs, ann, bob):
    for seat, choice in zip(lease(project, ann, 3), ("left", "skip", "tie"), strict=True):
        services.vote_create(assignment=seat, choice=choice, now=T0)
    Place.objects.update(n_labels=0)
    from django.apps import apps

    import_module("apps.rankings.migrations.0017_fill_labels").fill(apps, None)
    assert differences(project) == {}
    assert Place.objects.get(user=ann).n_labels == 2
