"""Short reasons that go with a ranking: those of its guideline, stored once, exported and counted."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from random import Random

import pytest
from django.core.management import call_command

from apps.labels.models import Ranking, Vote
from apps.projects.services import guideline_add
from apps.rankings import services
from apps.rankings.services.vote import BadVote
from apps.reports.reasons import reasons_of, votes_with

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
OFFERED = ["safer", "more accurate", "too long"]


@pytest.fixture
def sets(project, make_prompt, make_completion):
    for at in range(2):
        prompt = make_prompt(project)
        for n in range(3):
            make_completion(prompt, f"Answer {n} of {at}.")
    return guideline_add(project=project, text="Rank.", actor=None, task="ranking", set_size=3, reasons=OFFERED)


def lease(project, user):
    return services.assignment_next(project=project, user=user, now=T0, rng=Random(1))


def rank(seat, ranks, **said):
    return services.rank_create(assignment=seat, said=services.Answered(ranks=ranks, **said), now=T0)


def test_they_are_of_the_set_and_stand_with_the_pair_that_leads_it(project, ann, sets):
    made = rank(lease(project, ann), [1, 2, 3], reasons=["more accurate", "safer"]).ranking
    assert made.reasons == ["safer", "more accurate"], "in the guideline's order"
    leading = Vote.objects.get(ranking=made, assignment__isnull=False)
    assert leading.reasons == made.reasons
    assert not Vote.objects.filter(ranking=made, assignment=None).exclude(reasons=[]).exists()


def test_one_that_the_guideline_has_not_is_refused(project, ann, sets):
    seat = lease(project, ann)
    with pytest.raises(BadVote, match="has no short reason 'warmer'"):
        rank(seat, [1, 2, 3], reasons=["warmer"])
    assert not Ranking.objects.exists()


@pytest.mark.slow
def test_the_report_counts_a_ranking_once(project, ann, bob, sets, client_for, api_for, make_comparison, make_vote):
    rank(lease(project, ann), [1, 2, 3], reasons=["safer"])
    rank(lease(project, ann), [1, 1, 2])
    make_vote(make_comparison(project, ("a longer one", "b")), "first", rater="cat", reasons=["safer"])
    found = reasons_of(project)
    assert (found.n_votes, found.n_with, dict(found.said)) == (3, 2, {"better": 1, "ranking": 2})
    (row,) = found.rows
    assert (row.reason, row.n, dict(row.said)) == ("safer", 2, {"better": 1, "ranking": 1})
    (shown,) = votes_with(project, reason="safer", said="ranking")
    assert Vote.objects.get(pk=shown).ranking is not None
    assert len(votes_with(project, reason="safer")) == 2
    page = client_for(bob).get(f"/p/{project.slug}/reports/reasons/?reason=safer&said=ranking").content.decode()
    assert "2 of 3 votes have a short reason." in page
    assert '<span class="chip chip-human">Ranking</span>' in page
    at = f"/api/v1/projects/{project.slug}/reports/reasons/"
    (vote,) = api_for(bob).get(at, {"reason": "safer", "said": "ranking"}).json()["votes"]
    assert (vote["reasons"], vote["ranking"]) == (["safer"], Ranking.objects.earliest("pk").pk)


@pytest.mark.slow
def test_they_are_exported_and_come_back(project, ann, sets, make_project, tmp_path):
    rank(lease(project, ann), [1, 2, 3], reasons=["safer"])
    file, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    call_command("export_preferences", project=project.slug, format="records", out=str(file), stdout=StringIO())
    (line,) = [line for line in file.read_text().splitlines() if '"rankings"' in line]
    assert json.loads(line)["rankings"][0]["reasons"] == ["safer"]
    copy = make_project("copy")
    call_command("import_records", str(file), project=copy.slug, stdout=StringIO())
    assert reasons_of(copy).said == {"ranking": 1}
    call_command("export_preferences", project=copy.slug, format="records", out=str(again), stdout=StringIO())
    assert again.read_text() == file.read_text()


@pytest.mark.slow
def test_a_program_gets_them_with_the_set_and_sends_them_with_the_ranking(project, ann, sets, api_for, client_for):
    api = api_for(ann)
    given = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    assert given["reasons"] == OFFERED
    body = {"assignment": given["assignment"], "ranks": [1, 2, 3], "reasons": ["too long"], "next": True}
    answer = api.post("/api/v1/rankings/", body, format="json")
    assert answer.status_code == 201
    form = {"assignment": answer.json()["next"]["assignment"], "ranks": "1,2,3", "reasons": ["safer", "too long"]}
    assert client_for(ann).post(f"/p/{project.slug}/annotate/rank/", form).status_code == 302
    assert [row.reasons for row in Ranking.objects.order_by("pk")] == [["too long"], ["safer", "too long"]]
