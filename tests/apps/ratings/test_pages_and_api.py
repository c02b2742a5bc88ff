"""Ratings by pages and by programs: both store the same, refuse the same, and tell nothing of the authors."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from apps.exchange.exports import export_lines
from apps.exchange.telling import told_flags
from apps.labels.models import Rating, Score
from apps.labels.ratings import standing_ratings
from apps.projects.models import Guideline
from apps.projects.services import guideline_add
from apps.ratings.models import RatingSeat
from apps.ratings.services import seats_lease
from prefloop.rubrics import rubric_read

pytestmark = pytest.mark.django_db
JSON = {"HTTP_ACCEPT": "application/json"}
DESK = "/p/letters-test/annotate/rate/"
API = "/api/v1/"
RUBRIC = "correct: Is it true?\npolite (yes/no, weight 2): Does it thank?"


@pytest.fixture
def answers(project, make_prompt, make_completion):
    prompt = make_prompt(project)
    made = [make_completion(prompt, f"Answer {n}.", model_name="secret-model", id=971_000 + n) for n in range(5)]
    guideline_add(project=project, text="Warmer is better.", actor=None, task="rating", rubric=rubric_read(RUBRIC))
    project.refresh_from_db()
    return made


def seat_of(page) -> int:
    return int(page.content.decode().split('data-assignment="')[1].split('"')[0])


def test_a_lead_asks_for_ratings_in_the_settings_and_by_the_api(project, bob, client_for, api_for):
    page = client_for(bob)
    said = {"text": "Warm.", "task": "rating", "set_size": 4, "rubric": "warm: Is it?\nWrong line"}
    refused = page.post("/p/letters-test/settings/guidelines/", said)
    assert refused.status_code == 400
    assert "write each item as" in refused.content.decode()
    assert page.post("/p/letters-test/settings/guidelines/", said | {"rubric": ""}).status_code == 400
    assert page.post("/p/letters-test/settings/guidelines/", said | {"rubric": "warm: Is it?"}).status_code == 302
    api = api_for(bob)
    url = f"{API}projects/letters-test/guidelines/"
    assert api.get(url).json()[0]["rubric"] == "warm: Is it?"
    made = api.post(url, {"rubric": RUBRIC}, format="json")
    assert (made.status_code, made.json()["task"], made.json()["rubric"]) == (201, "rating", RUBRIC)
    refused = api.post(url, {"rubric": "x"}, format="json")
    assert (refused.status_code, "write each item as" in refused.json()["detail"]) == (400, True)
    refused = api.post(url, {"criteria": "helpful: Which is?"}, format="json")
    assert (refused.status_code, "Named criteria are asked of pairs" in refused.json()["detail"]) == (400, True)
    assert Guideline.objects.count() == 2


def test_annotate_leads_to_the_desk_for_ratings_and_back(project, answers, ann, client_for):
    page = client_for(ann)
    assert page.get("/p/letters-test/annotate/").url == DESK
    shown = page.get(DESK).content.decode()
    assert "Is it true?" in shown
    guideline_add(project=project, text="Compare.", actor=None)
    assert page.get(DESK).url == "/p/letters-test/annotate/"


@pytest.mark.slow
def test_a_page_and_a_program_store_the_same(project, answers, ann, member, client_for, api_for):
    page = client_for(ann)
    seat = seat_of(page.get(DESK))
    sent = {
        "assignment": seat,
        "choice": "rated",
        "values": json.dumps({"correct": 4, "polite": 1}),
        "key": "k",
        "next": 1,
    }
    saved = page.post(f"{DESK}save/", sent | {"reason": "warm", "seconds": "3.5"}, **JSON)
    assert saved.status_code == 201
    assert "data-pair" in saved.json()["html"]
    assert page.post(f"{DESK}save/", sent, **JSON).status_code == 200
    by_page = standing_ratings().get()

    dora = member("dora", "annotator")
    project.votes_per_comparison = 2
    project.save()
    from apps.ratings.services import seats_settle

    seats_settle(project=project)
    api = api_for(dora, scope="annotate")
    given = api.post(f"{API}projects/letters-test/ratings/next/").json()
    assert [one["name"] for one in given["rubric"]] == ["correct", "polite"]
    assert given["rubric"][1] == {"name": "polite", "question": "Does it thank?", "kind": "yes/no", "weight": 2.0}
    body = {"seat": given["seat"], "values": {"correct": 4, "polite": 1}, "key": "k", "next": True}
    made = api.post(f"{API}ratings/", body | {"reason": "warm", "seconds": 3.5}, format="json")
    assert made.status_code == 201
    assert made.json()["next"]["seat"] != given["seat"]
    assert made.json()["total"] == pytest.approx((0.75 + 2) / 3)
    assert api.post(f"{API}ratings/", body, format="json").status_code == 200
    by_api = Rating.objects.get(user=dora)
    same = ("choice", "values", "rubric", "total", "guideline", "reason", "seconds", "key")
    assert [getattr(by_page, name) for name in same] == [getattr(by_api, name) for name in same]


def test_what_is_refused_says_why_and_changes_nothing(project, answers, ann, client_for, api_for):
    api = api_for(ann, scope="annotate")
    seat = api.post(f"{API}projects/letters-test/ratings/next/").json()["seat"]
    for values, why in (
        ({"correct": 4}, "'polite' has no value"),
        ({"correct": 9, "polite": 1}, "whole number from 1 to 5"),
        ({"correct": 4, "polite": 1, "x": 1}, "no item 'x'"),
    ):
        refused = api.post(f"{API}ratings/", {"seat": seat, "values": values}, format="json")
        assert (refused.status_code, why in refused.json()["detail"]) == (400, True)
        page = client_for(ann)
        sent = {"assignment": seat, "choice": "rated", "values": json.dumps(values)}
        refused = page.post(f"{DESK}save/", sent, **JSON)
        assert (refused.status_code, why in refused.json()["detail"]) == (400, True)
    assert page.post(f"{DESK}save/", {"assignment": seat, "choice": "rated", "values": "[1"}, **JSON).status_code == 400
    assert page.post(f"{DESK}save/", {"assignment": seat, "choice": "best"}, **JSON).status_code == 400
    assert not Rating.objects.exists()
    assert RatingSeat.objects.get(pk=seat).state == "open"


def test_undo_by_page_and_by_program(project, answers, ann, client_for, api_for):
    page, api = client_for(ann), api_for(ann, scope="annotate")
    assert page.post(f"{DESK}undo/", {}, **JSON).status_code == 400
    seat = seat_of(page.get(DESK))
    sent = {"assignment": seat, "choice": "rated", "values": json.dumps({"correct": 4, "polite": 1})}
    for undo in (
        lambda: page.post(f"{DESK}undo/", {"assignment": seat}, **JSON).json()["assignment"],
        lambda: api.delete(f"{API}ratings/of/{seat}/").json()["seat"],
    ):
        assert page.post(f"{DESK}save/", sent, **JSON).status_code == 201
        assert undo() == seat
        assert not standing_ratings().exists()
    assert Rating.objects.count() == 4


def test_nobody_gets_at_anothers_seat(project, answers, ann, member, charlie, client_for, api_for):
    seat = seat_of(client_for(ann).get(DESK))
    sent = {"assignment": seat, "choice": "skip"}
    for other in (member("dora", "annotator"), charlie):
        assert client_for(other).post(f"{DESK}save/", sent, **JSON).status_code == 404
        assert client_for(other).post(f"{DESK}undo/", sent, **JSON).status_code == 404
        api = api_for(other, scope="annotate")
        assert api.post(f"{API}ratings/", {"seat": seat, "choice": "skip"}, format="json").status_code == 404
        assert api.delete(f"{API}ratings/of/{seat}/").status_code == 404
    assert api_for(ann, scope="read").post(f"{API}ratings/", {"seat": seat}, format="json").status_code == 403
    free = RatingSeat.objects.filter(user=None).first()
    if free is not None:
        assert (
            client_for(ann).post(f"{DESK}save/", {"assignment": free.pk, "choice": "skip"}, **JSON).status_code == 404
        )


@pytest.mark.slow
def test_nothing_tells_who_wrote_an_answer_or_what_others_said(project, answers, ann, member, client_for, api_for):
    """What an annotator gets is the same, byte for byte, whatever somebody else has said of the answers."""
    dora = member("dora", "annotator")
    project.votes_per_comparison = 2
    project.save()
    from django.utils import timezone

    from apps.ratings.services import Rated, rating_create, seats_lease, seats_settle

    seats_settle(project=project)
    seen = []
    for value in (1, 5):
        for seat in seats_lease(project=project, user=dora, n=20, now=timezone.now()):
            rating_create(seat=seat, said=Rated(values={"correct": value, "polite": 1}), now=timezone.now())
        page, api = client_for(ann), api_for(ann, scope="annotate")
        shown = page.get(DESK).content.decode()
        lease = page.post(f"{DESK}next/", {"n": "20"}, **JSON).json()
        program = api.post(f"{API}projects/letters-test/ratings/next/").json()
        program.pop("lease_until")
        for text in (shown, json.dumps(lease), json.dumps(program)):
            assert "secret-model" not in text
            assert "9710" not in text, "the ids of answers tell in which order they were imported"
        seen.append((lease["html"], lease["held"], lease["progress"], program))
        Rating.objects.filter(user=dora).delete()
        RatingSeat.objects.filter(user=dora).update(state="expired")
        seats_settle(project=project)
    assert seen[0] == seen[1]


def test_whoever_was_shown_a_score_of_an_answer_does_not_rate_it_blind(project, answers, bob, make_judge, client_for):
    judge = make_judge(project, "grader")
    Score.objects.create(judge=judge, completion=answers[0], state="ok", value=7.0)
    page = client_for(bob)
    assert "grader" in page.get("/p/letters-test/samples/").content.decode()
    page.get("/p/letters-test/samples/")
    assert leased_to(project, bob) == {one.pk for one in answers[1:]}


def test_an_export_with_scores_or_flags_is_a_look_at_them_too(project, answers, bob, make_judge):
    judge = make_judge(project, "grader")
    Score.objects.create(judge=judge, completion=answers[0], state="ok", value=7.0)
    list(export_lines(project=project, format="records", reader=bob))
    assert leased_to(project, bob) == {one.pk for one in answers[1:]}
    Score.objects.create(judge=judge, completion=answers[1], state="ok", value=1.0, flag=True)
    list(told_flags(project, reader=bob))
    assert leased_to(project, bob) == {one.pk for one in answers[2:]}


def leased_to(project, user) -> set[int]:
    return {seat.completion_id for seat in seats_lease(project=project, user=user, n=20, now=timezone.now())}
