"""How much better the better answer is: said where the guideline on the screen asks, and kept with the vote."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest
from django.db import IntegrityError, transaction

from apps.labels.models import Preference, Vote
from apps.projects.services import guideline_add
from apps.rankings import services

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def asking(project):
    return guideline_add(project=project, text="Prefer the warmer letter.", actor=None, asks_strength=True)


def lease(project, user):
    return services.assignment_next(project=project, user=user, now=T0, rng=Random(1))


def test_another_question_is_another_version_of_the_guideline(project):
    plain = guideline_add(project=project, text="Prefer the warmer letter.", actor=None)
    asks = guideline_add(project=project, text="Prefer the warmer letter.", actor=None, asks_strength=True)
    again = guideline_add(project=project, text="Prefer the warmer letter.", actor=None, asks_strength=True)
    assert (plain.version, asks.version, again.version) == (1, 2, 2)


@pytest.mark.slow
def test_a_program_is_told_that_it_is_asked_and_says_it(project, ann, bob, make_comparison, api_for, asking):
    for _ in range(3):
        make_comparison(project)
    api = api_for(ann)
    held = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    assert held["asks_strength"] is True
    body = {"assignment": held["assignment"], "choice": "left", "strength": "much_better", "next": True}
    reply = api.post("/api/v1/votes/", body, format="json")
    assert (reply.status_code, reply.json()["next"]["asks_strength"]) == (201, True)
    assert Vote.objects.get().strength == "much_better"
    assert api.post("/api/v1/votes/", body, format="json").status_code == 200, "the same again"
    assert api.post("/api/v1/votes/", body | {"strength": "better"}, format="json").status_code == 409
    unsaid = {"assignment": reply.json()["next"]["assignment"], "choice": "right"}
    assert api.post("/api/v1/votes/", unsaid, format="json").status_code == 201
    assert [vote.strength for vote in Vote.objects.order_by("id")] == ["much_better", ""]
    url = f"/api/v1/projects/{project.slug}/comparisons/{held['comparison']}/history/"
    assert api_for(bob).get(url).json()[0]["strength"] == "much_better"


@pytest.mark.parametrize(
    ("choice", "strength", "why"),
    [
        ("tie", "better", "only a better answer has a strength"),
        ("skip", "much_better", "only a better answer has a strength"),
        ("left", "enormous", "strength must be one of better, much_better"),
    ],
)
def test_what_has_no_strength_is_refused_and_nothing_is_stored(
    project, ann, make_comparison, asking, choice, strength, why
):
    make_comparison(project)
    held = lease(project, ann)
    with pytest.raises(services.BadVote, match=why):
        services.vote_create(assignment=held, choice=choice, strength=strength, now=T0)
    held.refresh_from_db()
    assert (held.state, Vote.objects.count()) == ("open", 0)


@pytest.mark.slow
def test_the_version_on_the_screen_decides_whether_it_was_asked(project, ann, make_comparison, asking, api_for):
    for _ in range(2):
        make_comparison(project)
    first = lease(project, ann)
    guideline_add(project=project, text="Prefer the shorter letter.", actor=None)
    body = {"assignment": first.pk, "choice": "left", "strength": "better"}
    api = api_for(ann)
    refused = api.post("/api/v1/votes/", body | {"guideline": "v2"}, format="json")
    assert (refused.status_code, "does not ask" in str(refused.json())) == (400, True)
    assert api.post("/api/v1/votes/", body | {"guideline": "v1"}, format="json").status_code == 201
    assert list(Vote.objects.values_list("guideline", "strength")) == [("v1", "better")]
    assert api.post(f"/api/v1/projects/{project.slug}/next/").json()["asks_strength"] is False


def test_the_label_is_the_same_whatever_the_strength(project, ann, make_comparison, asking):
    for _ in range(2):
        make_comparison(project)
    for strength in ("better", "much_better"):
        services.vote_create(assignment=lease(project, ann), choice="left", strength=strength, now=T0)
    assert {row.p_first in (0.0, 1.0) for row in Preference.objects.all()} == {True}


def test_a_withdrawn_vote_has_none_and_the_database_refuses_one_on_a_tie(project, ann, make_comparison, asking):
    make_comparison(project)
    services.vote_create(assignment=lease(project, ann), choice="left", strength="much_better", now=T0)
    services.vote_undo(project=project, user=ann, now=T0)
    assert [vote.strength for vote in Vote.objects.order_by("id")] == ["much_better", ""]
    with pytest.raises(IntegrityError), transaction.atomic():
        Vote.objects.update(choice="tie")


@pytest.mark.slow
def test_without_scripts_a_button_says_both(project, ann, make_comparison, asking, client_for):
    make_comparison(project)
    client = client_for(ann)
    page = client.get(f"/p/{project.slug}/annotate/").content.decode()
    assert 'value="left much_better"' in page
    held = lease(project, ann)
    client.post(f"/p/{project.slug}/annotate/vote/", {"assignment": held.pk, "choice": "right much_better"})
    vote = Vote.objects.get()
    assert (vote.choice, vote.strength) == ("second" if held.order == "01" else "first", "much_better")
    item = client.get(f"/p/{project.slug}/annotate/{vote.comparison_id}/").content.decode()
    assert "much better" in item


def test_leads_see_it_in_the_history_of_a_pair(project, ann, bob, make_comparison, asking, client_for):
    make_comparison(project)
    services.vote_create(assignment=lease(project, ann), choice="left", strength="much_better", now=T0)
    page = client_for(bob).get(f"/p/{project.slug}/comparisons/{Vote.objects.get().comparison_id}/")
    assert "much better" in page.content.decode()
