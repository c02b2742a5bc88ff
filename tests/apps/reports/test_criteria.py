"""Reports by a named criterion: people and judges are compared by the same one, and nothing else is mixed in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.labels.crew import crew_columns
from apps.projects.services import criteria_know
from apps.reports.people import crew_of
from apps.reports.services import agreement_report, leaderboard_report
from apps.samples.models import Comparison, Completion

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def said(project, make_comparison, make_vote, make_judge, make_verdict):
    """Six pairs: by honesty people prefer the second answer and one judge agrees; by no named criterion the first."""
    criteria_know(project=project, label_judges={"honest": ""})
    judges = {
        name: make_judge(project, name or "plain", order_policy="random", criterion_name=name)
        for name in ("", "honest")
    }
    for n in range(6):
        pair = make_comparison(project, held_out=n == 0, gold="first" if n == 0 else "")
        for rater in ("ann", "ben"):
            make_vote(pair, "first", rater=rater)
            make_vote(pair, "second", rater=rater, criterion="honest", seconds=4.0)
        make_verdict(pair, "first", judge=judges[""])
        make_verdict(pair, "second", judge=judges["honest"])
    return project


@pytest.mark.slow
def test_the_agreement_page_compares_like_with_like(said, bob, client_for):
    client = client_for(bob)
    at = f"/p/{said.slug}/reports/agreement/"
    plain, honest = client.get(at), client.get(at + "?criterion=honest")
    assert [judge["name"] for judge in plain.context["report"]["judges"]] == ["plain"]
    assert [judge["name"] for judge in honest.context["report"]["judges"]] == ["honest"]
    assert (plain.context["report"]["n_gold"], honest.context["report"]["n_gold"]) == (1, 0)
    assert honest.context["report"]["judges"][0]["accuracy"] == 1.0
    assert 'agreement.json?criterion=honest"' in honest.content.decode()
    assert client.get(at + "?criterion=funny").status_code == 404


def test_programs_and_the_command_ask_by_a_criterion(said, bob, api_for):
    api = api_for(bob)
    at = f"/api/v1/projects/{said.slug}/reports/agreement/"
    assert [judge["name"] for judge in api.get(at, {"criterion": "honest"}).json()["judges"]] == ["honest"]
    refused = api.get(at, {"criterion": "funny"})
    assert refused.status_code == 400
    assert "has no criterion 'funny'; it has honest" in str(refused.json())
    out = StringIO()
    call_command("report_agreement", project=said.slug, criterion="honest", json=True, stdout=out)
    assert [judge["name"] for judge in json.loads(out.getvalue())["judges"]] == ["honest"]
    with pytest.raises(CommandError, match="has no criterion"):
        call_command("report_agreement", project=said.slug, criterion="funny")


def test_the_leads_page_counts_every_criterion_and_gold_of_the_unnamed_one_alone(said):
    columns = crew_columns(said)
    assert len(columns.item) == 6 * 2 * 2
    assert sum(columns.gold[columns.item] >= 0) == 2
    people = {person.report["name"]: person.report for person in crew_of(project=said, now=T0).people}
    assert (people["ann"]["n"], people["ben"]["n"]) == (12, 12)


def test_the_leaderboard_is_by_a_criterion_on_every_way(said, bob, client_for, api_for):
    Completion.objects.filter(pk__in=Comparison.objects.values("first")).update(model_name="one")
    Completion.objects.filter(pk__in=Comparison.objects.values("second")).update(model_name="two")
    by = {name: leaderboard_report(project=said, criterion=name) for name in ("", "honest")}
    assert [board["models"][0]["name"] for board in by.values()] == ["one", "two"]
    assert {board["n_used"] for board in by.values()} == {18}
    at = f"/api/v1/projects/{said.slug}/reports/leaderboard/"
    assert api_for(bob).get(at, {"criterion": "honest"}).json() == by["honest"]
    assert api_for(bob).get(at, {"criterion": "kind"}).status_code == 400
    out = StringIO()
    call_command("report_leaderboard", project=said.slug, criterion="honest", json=True, stdout=out)
    assert json.loads(out.getvalue()) == by["honest"]
    client, page = client_for(bob), f"/p/{said.slug}/reports/leaderboard/"
    shown = client.get(page, {"criterion": "honest"}).content.decode()
    assert '<option value="honest">' in shown
    assert '<option value="plain">' not in shown
    assert client.get(page, {"criterion": "kind"}).status_code == 404
    assert client.get(page, {"criterion": "honest", "source": "plain"}).status_code == 404
    whole = client.get(f"/p/{said.slug}/reports/leaderboard.json", {"criterion": "honest"}).json()
    assert (whole["criterion"], whole["models"][0]["name"]) == ("honest", "two")


def test_agreement_by_strength_stands_in_the_report_and_on_its_page(
    project, bob, make_comparison, make_vote, client_for
):
    client, at = client_for(bob), f"/p/{project.slug}/reports/agreement/"
    pairs = [make_comparison(project) for _ in range(3)]
    for pair in pairs:
        make_vote(pair, "first", rater="ann")
        make_vote(pair, "first", rater="ben")
    assert agreement_report(project=project)["strength"] is None
    assert "How much better people found" not in client.get(at).content.decode()
    said_later = [("much_better", "better", "first")] * 2 + [("better", "", "tie")]
    for pair, (mine, other, choice) in zip(pairs, said_later, strict=True):
        make_vote(pair, "first", rater="cat", strength=mine)
        make_vote(pair, choice, rater="dan", strength=other)
    said = agreement_report(project=project)["strength"]
    assert (said["n_said"], said["n_unsaid"]) == (5, 6)
    rates = {row["name"]: (row["n"], row["people"]["rate"], row["people"]["n"]) for row in said["strengths"]}
    assert rates == {"better": (3, 8 / 9, 9), "much_better": (2, 1.0, 6)}
    page = client.get(at).content.decode()
    assert "How much better people found the answer" in page
