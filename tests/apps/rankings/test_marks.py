"""Marks in the answers of a pair: kept with the vote as offsets into the text itself, whatever the sides were."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.labels.models import Vote
from apps.projects.services import guideline_add
from apps.rankings import services
from prefloop.marks import MOST, BadMark, Mark
from tests.apps.rankings.test_seats import statements

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
ANSWERS = ("Dear Maria, **thank you** for the flowers 🌷 today.", "Hey,\r\nI got\u200b the flowers.")


@pytest.fixture
def asking(project):
    return guideline_add(
        project=project, text="Prefer the warmer letter.", actor=None, reasons=["warm"], asks_marks=True
    )


def lease(project, user, seed=1):
    return services.assignment_next(project=project, user=user, now=T0, rng=Random(seed))


def passage(vote, mark):
    answer = vote.comparison.first if mark["answer"] == "first" else vote.comparison.second
    return answer.text[mark["start"] : mark["end"]]


def side_of(held, answer):
    return "left" if (answer == "first") == (held.order == "01") else "right"


def test_they_follow_the_answer_and_not_the_side(project, ann, make_comparison, api_for, asking):
    for _ in range(8):
        make_comparison(project, ANSWERS)
    api, orders = api_for(ann), set()
    for _ in range(8):
        held = api.post(f"/api/v1/projects/{project.slug}/next/").json()
        assert held["asks_marks"] is True
        said = []
        for side in ("left", "right"):
            at = held[side]["text"].index("flowers")
            said.append({"side": side, "start": at, "end": at + 7, "kind": "good" if side == "left" else "bad"})
        said[0]["reason"] = "warm"
        body = {"assignment": held["assignment"], "choice": "left", "marks": said}
        assert api.post("/api/v1/votes/", body, format="json").status_code == 201
        vote = Vote.objects.order_by("id").last()
        orders.add(vote.order)
        assert [passage(vote, mark) for mark in vote.marks] == ["flowers", "flowers"]
        better = next(mark for mark in vote.marks if mark["kind"] == "good")
        assert (better["answer"], better["reason"]) == (vote.choice, "warm"), "what was left is what was chosen"
    assert orders == {"01", "10"}


def test_what_the_page_shows_is_counted_back_to_the_text(client, project, ann, make_comparison, asking):
    make_comparison(project, ANSWERS)
    client.force_login(ann)
    held = lease(project, ann)
    shown = "Hey,\nI got⟦U+200B⟧ the flowers."
    said = []
    for text in ("got⟦U+200B⟧ the", "flowers"):
        at = shown.index(text)
        mark = {"start": at, "end": at + len(text), "kind": "bad", "reason": ""}
        said.append(mark | {"side": side_of(held, "second")})
    url = f"/p/{project.slug}/annotate/vote/"
    assert client.post(url, {"assignment": held.pk, "choice": "tie", "marks": json.dumps(said)}).status_code == 302
    vote = Vote.objects.get()
    assert [passage(vote, mark) for mark in vote.marks] == ["got\u200b the", "flowers"]
    page = client.get(f"/p/{project.slug}/annotate/{vote.comparison_id}/").content.decode()
    assert "passage-said is-bad" in page
    assert 'id="marked-passages"' in page
    assert "2 marks" in client.get(f"/p/{project.slug}/annotate/history/").content.decode()


@pytest.mark.parametrize(
    ("marks", "why"),
    [
        ([{"start": 5, "end": 5}], "does not lie in the answer"),
        ([{"start": 0, "end": 9_000}], "does not lie in the answer, which has"),
        ([{"start": 4, "end": 5}], "holds nothing but blanks"),
        ([{"start": 0, "end": 9}, {"start": 5, "end": 11}], "the marks 0 to 9 and 5 to 11 of one answer overlap"),
        ([{"start": 0, "end": 4, "reason": "cold"}], "the guideline v1 has no short reason 'cold'; it has warm"),
    ],
)
def test_what_is_no_mark_is_refused_in_one_line(project, ann, make_comparison, api_for, asking, marks, why):
    make_comparison(project, ("Dear Maria, thank you.", "Dear Maria, thanks."))
    held = lease(project, ann)
    marks = [{"side": "left", "kind": "good"} | mark for mark in marks]
    body = {"assignment": held.pk, "choice": "left", "marks": marks}
    refused = api_for(ann).post("/api/v1/votes/", body, format="json")
    assert refused.status_code == 400
    assert why in refused.json()["detail"]
    assert not Vote.objects.exists()


def test_only_so_many_and_only_where_they_are_asked_for(project, ann, make_comparison, asking):
    make_comparison(project, ("x " * 60, "y " * 60))
    held = lease(project, ann)
    many = [Mark(0, 2 * n, 2 * n + 1, "good") for n in range(MOST + 1)]
    with pytest.raises(BadMark, match=f"at most {MOST} marks"):
        services.vote_create(assignment=held, choice="left", marks=many, now=T0)
    guideline_add(project=project, text="Prefer the warmer letter, always.", actor=None)
    with pytest.raises(BadMark, match=r"the guideline v2 does not ask for marks"):
        services.vote_create(assignment=held, choice="left", marks=many[:1], guideline="v2", now=T0)
    made = services.vote_create(assignment=held, choice="left", marks=many[:MOST], now=T0)
    assert len(made.vote.marks) == MOST, "by the version that was on the screen"


@pytest.mark.parametrize(
    "said", ["[", "{}", "[1]", '[{"side": "left"}]', '[{"side":"up","start":0,"end":1,"kind":"good","reason":""}]']
)
def test_what_the_page_can_not_have_sent_is_refused(client, project, ann, make_comparison, asking, said):
    make_comparison(project)
    client.force_login(ann)
    held = lease(project, ann)
    reply = client.post(
        f"/p/{project.slug}/annotate/vote/",
        {"assignment": held.pk, "choice": "tie", "marks": said},
        headers={"Accept": "application/json"},
    )
    assert (reply.status_code, Vote.objects.count()) == (400, 0)
    assert "marks are a list of objects with side, start, end, kind, reason" in reply.json()["detail"]


def test_the_same_vote_again_is_that_vote_and_with_other_marks_another(project, ann, make_comparison, asking):
    make_comparison(project)
    held, marks = lease(project, ann), [Mark(1, 0, 4, "bad"), Mark(0, 0, 4, "good", "warm")]
    first = services.vote_create(assignment=held, choice="left", marks=marks, now=T0)
    assert [mark["answer"] for mark in first.vote.marks] == ["first", "second"], "in the order of the texts"
    again = services.vote_create(assignment=held, choice="left", marks=marks[::-1], now=T0)
    assert (again.created, again.vote.pk) == (False, first.vote.pk)
    with pytest.raises(services.AlreadyAnswered):
        services.vote_create(assignment=held, choice="left", marks=marks[:1], now=T0)
    back = services.vote_undo(project=project, user=ann, now=T0)
    services.vote_create(assignment=back, choice="left", now=T0)
    assert [len(vote.marks) for vote in Vote.objects.order_by("id")] == [2, 0, 0]


def test_a_late_vote_keeps_them(project, ann, erin, make_comparison, asking):
    from datetime import timedelta

    make_comparison(project)
    held = lease(project, ann)
    later = T0 + timedelta(hours=2)
    other = services.assignment_next(project=project, user=erin, now=later, rng=Random(2))
    assert other is not None
    assert other.comparison_id == held.comparison_id
    held.refresh_from_db()
    services.vote_create(assignment=held, choice="left", marks=[Mark(0, 0, 4, "good")], now=later, said_at=T0)
    assert len(Vote.objects.get().marks) == 1


def test_a_vote_with_marks_and_the_next_pair_takes_ten_statements_at_most(
    client, project, ann, make_comparison, asking
):
    for _ in range(4):
        make_comparison(project, ANSWERS)
    client.force_login(ann)
    url = f"/p/{project.slug}/annotate/vote/"
    held = lease(project, ann)
    for _ in range(2):
        mark = {"side": "left", "start": 0, "end": 3, "kind": "good", "reason": ""}
        body = {"assignment": held.pk, "choice": "left", "marks": json.dumps([mark]), "next": 1, "guideline": "v1"}
        with CaptureQueriesContext(connection) as queries:
            reply = client.post(url, body, headers={"Accept": "application/json"})
        assert reply.status_code == 201
        held = project.assignments.filter(user=ann, state="open").get()
    made = [
        one
        for one in statements(queries)
        if "django_session" not in one and "accounts_user" not in one.split("WHERE")[0]
    ]
    assert len(made) <= 10, made


def test_others_marks_reach_leads_alone(client, project, ann, bob, make_comparison, make_verdict, asking, api_for):
    comparison = make_comparison(project, ANSWERS)
    make_verdict(comparison)
    at = ANSWERS[0].index("thank")
    services.vote_create(
        assignment=lease(project, ann), choice="tie", marks=[Mark(0, at, at + 9, "good", "warm")], now=T0
    )
    review, pair = f"/p/{project.slug}/review/{comparison.pk}/", f"/p/{project.slug}/comparisons/{comparison.pk}/"
    client.force_login(bob)
    for url in (review, pair):
        page = client.get(url).content.decode()
        assert '<q dir="auto">thank you</q>' in page
        assert "ann, marked good: warm" in page
    client.force_login(ann)
    page = client.get(review).content.decode()
    assert "thank you</q>" not in page
    assert "marked-passages" not in page
    history = api_for(bob).get(f"/api/v1/projects/{project.slug}/comparisons/{comparison.pk}/history/").json()
    assert history[0]["marks"] == [
        {"answer": "first", "start": at, "end": at + 9, "kind": "good", "reason": "warm", "text": "thank you"}
    ]


def test_who_decides_where_people_split_sees_what_each_marked(client, project, ann, bob, erin, make_comparison, asking):
    project.votes_per_comparison = 2
    project.save()
    comparison = make_comparison(project, ("Dear Maria, thank you.", "Dear Maria, thanks."))
    for user, choice, kind in ((ann, "first", "good"), (erin, "second", "bad")):
        held = lease(project, user)
        marks = [Mark(0, 12, 17, kind)]
        services.vote_create(assignment=held, choice=side_of(held, choice), marks=marks, now=T0)
    client.force_login(bob)
    page = client.get(f"/p/{project.slug}/review/split/?at={comparison.pk}").content.decode()
    assert page.count('<q dir="auto">thank</q>') == 2
    assert "ann, marked good" in page
    assert "erin, marked bad" in page
