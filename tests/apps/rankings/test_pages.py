"""Gates and answers of the pages and the API, with real rows of another project."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.labels.models import Override, Vote
from apps.rankings.models import Assignment

DESK = "/p/letters-test/annotate/"
REVIEW = "/p/letters-test/review/"


@pytest.fixture
def judged(project, make_comparison, make_judge, make_verdict):
    judge = make_judge(project, "main")
    comparison = make_comparison(project, models=("model-x", "model-y"))
    for order in ("01", "10"):
        make_verdict(comparison, "first", judge=judge, order=order, p_first=0.8, raw="raw reply")
    return comparison


@pytest.mark.slow
def test_a_program_leases_and_votes(api_for, ann, project, make_comparison):
    make_comparison(project, ("one", "two"))
    api = api_for(ann)
    leased = api.post("/api/v1/projects/letters-test/next/")
    assert leased.status_code == 200
    body = leased.json()
    said_of_guideline = {"guideline", "asks_strength", "task", "answers", "criterion", "question", "reasons"}
    said_of_guideline |= {"asks_marks"}
    assert set(body) == {"assignment", "comparison", "prompt", "left", "right", "lease_until"} | said_of_guideline
    assert {body["left"]["text"], body["right"]["text"]} == {"one", "two"}
    vote = {"assignment": body["assignment"], "choice": "left", "reason": "kinder"}
    first = api.post("/api/v1/votes/", vote, format="json")
    assert (first.status_code, api.post("/api/v1/votes/", vote, format="json").status_code) == (201, 200)
    assert api.post("/api/v1/votes/", vote | {"choice": "tie"}, format="json").status_code == 409
    assert api.post("/api/v1/projects/letters-test/next/").status_code == 204
    said = Vote.objects.get()
    order = Assignment.objects.get().order
    assert (said.choice, said.reason) == ("first" if order == "01" else "second", "kinder")


@pytest.mark.slow
def test_a_program_whose_lease_was_let_again_is_heard_all_the_same(api_for, ann, bob, project, make_comparison):
    make_comparison(project)
    mine = api_for(ann).post("/api/v1/projects/letters-test/next/").json()
    Assignment.objects.update(lease_until=timezone.now() - timedelta(minutes=1))
    assert api_for(bob).post("/api/v1/projects/letters-test/next/").status_code == 200
    late = api_for(ann).post("/api/v1/votes/", {"assignment": mine["assignment"], "choice": "tie"}, format="json")
    assert late.status_code == 201
    assert api_for(bob).post("/api/v1/projects/letters-test/next/").status_code == 200, "his lease is as it was"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"assignment": "x", "choice": "left"},
        {"assignment": 1, "choice": "first"},
        {"assignment": 1, "choice": "left", "seconds": -1},
        {"assignment": 1, "choice": "left", "reason": "x" * 2001},
    ],
)
def test_a_bad_vote_is_400(api_for, ann, body):
    assert api_for(ann).post("/api/v1/votes/", body, format="json").status_code == 400


@pytest.mark.slow
def test_an_assignment_belongs_to_one_person(api_for, client_for, ann, bob, charlie, project, make_comparison):
    make_comparison(project)
    mine = api_for(ann).post("/api/v1/projects/letters-test/next/").json()["assignment"]
    for other in (bob, charlie):
        body = {"assignment": mine, "choice": "left"}
        assert api_for(other).post("/api/v1/votes/", body, format="json").status_code == 404
        assert client_for(other).post(f"{DESK}vote/", body).status_code == 404
        assert client_for(other).post(f"{DESK}undo/", {"assignment": mine}).status_code == 404
    assert Vote.objects.count() == 0


@pytest.mark.slow
def test_strangers_see_nothing(client_for, charlie, judged):
    client = client_for(charlie)
    for path in (
        DESK,
        f"{DESK}history/",
        f"{DESK}{judged.pk}/",
        REVIEW,
        f"{REVIEW}{judged.pk}/",
        f"/p/letters-test/comparisons/{judged.pk}/",
    ):
        assert client.get(path).status_code == 404, path
    for path in (f"{DESK}next/", f"{DESK}undo/", f"{REVIEW}{judged.pk}/decide/", f"{REVIEW}{judged.pk}/withdraw/"):
        assert client.post(path, {"kind": "agree"}).status_code == 404, path
    assert client.get(f"/p/elsewhere/review/{judged.pk}/").status_code == 404, "another project's address"
    assert client.get(f"/p/elsewhere/annotate/{judged.pk}/").status_code == 404
    assert client.get(f"/p/elsewhere/comparisons/{judged.pk}/").status_code == 404
    assert (Override.objects.count(), Assignment.objects.exclude(user=None).count()) == (0, 0)


@pytest.mark.slow
def test_a_project_may_keep_overriding_to_leads(client_for, ann, bob, project, judged):
    assert client_for(ann).get(REVIEW).status_code == 200
    project.annotators_may_override = False
    project.save()
    assert client_for(ann).get(REVIEW).status_code == 404
    assert client_for(ann).post(f"{REVIEW}{judged.pk}/decide/", {"kind": "agree"}).status_code == 404
    assert client_for(bob).get(REVIEW).status_code == 200
    assert client_for(bob).post(f"{REVIEW}{judged.pk}/decide/", {"kind": "agree"}).status_code == 302
    assert Override.objects.get().rater == "bob"


@pytest.mark.slow
def test_annotators_reviewing_do_not_see_other_peoples_votes(client_for, ann, bob, judged, make_vote):
    make_vote(judged, "second", rater="somebody-else")
    assert "somebody-else" not in client_for(ann).get(f"{REVIEW}{judged.pk}/").content.decode()
    assert "somebody-else" in client_for(bob).get(f"{REVIEW}{judged.pk}/").content.decode()


def test_the_history_of_a_comparison_is_for_leads(client_for, ann, bob, judged):
    path = f"/p/letters-test/comparisons/{judged.pk}/"
    assert client_for(ann).get(path).status_code == 404
    page = client_for(bob).get(path).content.decode()
    assert "raw reply" in page
    assert "model-x" in page


def test_a_link_with_an_impossible_id_is_404(client_for, ann):
    for path in (f"{DESK}{10**30}/", f"{REVIEW}{10**30}/"):
        assert client_for(ann).get(path).status_code == 404


@pytest.mark.slow
def test_odd_input_is_refused_or_ignored(client_for, ann, project, make_comparison):
    make_comparison(project)
    client = client_for(ann)
    assert client.post(f"{DESK}vote/", {"assignment": "²", "choice": "left"}).status_code == 404
    assert client.post(f"{DESK}next/", {"have": "1,x,²,,9999999999999999999999", "n": "-1"}).status_code == 200
    assert client.get(f"{REVIEW}?round=999").status_code == 404
    assert client.get(f"{REVIEW}?show=%3Cscript%3E&judge=nobody").status_code == 200
    leased = Assignment.objects.get(user=ann)
    body = {"assignment": leased.pk, "choice": "left", "seconds": "nan", "said_at": "2026-99-99T00:00:00Z"}
    assert client.post(f"{DESK}vote/", body).status_code == 302
    assert Vote.objects.get().seconds is None


@pytest.mark.slow
def test_a_round_shows_what_it_asks_people_about(client_for, bob, project, judged, make_comparison, monkeypatch):
    from apps.rankings import rounds

    monkeypatch.setattr(rounds, "_sources", [lambda given, number: [judged.pk] if number == 7 else None])
    page = client_for(bob).get(f"{REVIEW}?round=7").content.decode()
    assert f'data-id="{judged.pk}"' in page
    assert client_for(bob).get(f"{REVIEW}?round=8").status_code == 404


@pytest.mark.slow
def test_the_desk_is_never_cached(client_for, ann, project, make_comparison):
    make_comparison(project)
    assert "no-store" in client_for(ann).get(DESK)["Cache-Control"]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["annotate/{}/", "review/{}/", "comparisons/{}/"])
def test_an_answer_that_was_cut_is_marked_where_it_is_compared(
    project, bob, client_for, make_comparison, make_verdict, page
):
    comparison = make_comparison(project)
    make_verdict(comparison, "first")
    url = f"/p/{project.slug}/{page.format(comparison.pk)}"
    mark = "It reached the longest answer before it ended"
    assert mark not in client_for(bob).get(url).content.decode()
    type(comparison.first).objects.filter(pk=comparison.second_id).update(finished=False)
    assert client_for(bob).get(url).content.decode().count(mark) == 1
