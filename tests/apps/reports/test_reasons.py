"""The report on short reasons: counted with their outcomes, by criterion and version, and the votes of a number."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from apps.labels.models import Vote
from apps.projects.services import guideline_add
from apps.reports.marks import marks_of
from apps.reports.reasons import reasons_of, votes_with
from apps.samples.models import Exposure

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
SAID = [
    ("first", ["safer", "more accurate"], "v1", ""),
    ("second", ["safer"], "v1", ""),
    ("tie", ["safer"], "v2", ""),
    ("cant_judge", ["too long"], "v2", ""),
    ("first", [], "v2", ""),
    ("second", ["safer"], "v2", "helpful"),
]


@pytest.fixture
def votes(project, make_comparison):
    for text in ("One.", "Two."):
        guideline_add(project=project, text=text, actor=None, reasons=["safer", "more accurate", "too long"])
    made = []
    for choice, reasons, guideline, criterion in SAID:
        pair = make_comparison(project, ("a longer answer", "short"))
        said = {"choice": choice, "reasons": reasons, "guideline": guideline, "criterion": criterion, "at": T0}
        made.append(Vote.objects.create(comparison=pair, rater="ann", **said))
    project.known_criteria = {"helpful": ""}
    project.save()
    return made


def test_they_are_counted_with_what_was_said(project, votes):
    found = reasons_of(project)
    assert (found.n_votes, found.n_with) == (5, 4)
    assert [(row.reason, row.n, dict(row.said)) for row in found.rows] == [
        ("safer", 3, {"better": 2, "tie": 1}),
        ("more accurate", 1, {"better": 1}),
        ("too long", 1, {"cant_judge": 1}),
    ]
    assert found.rows[0].longer is not None
    assert (found.rows[0].longer["rate"], found.rows[0].longer["n"]) == (0.5, 2)
    assert found.rows[2].longer is None
    assert [row.reason for row in reasons_of(project, criterion="helpful").rows] == ["safer"]
    assert {row.reason: row.n for row in reasons_of(project, guideline="v2").rows} == {"safer": 1, "too long": 1}


def test_a_vote_that_was_replaced_counts_no_more(project, votes):
    last = votes[0]
    Vote.objects.create(comparison=last.comparison, rater="ann", choice="withdrawn", at=T0, supersedes=last)
    assert {row.reason: row.n for row in reasons_of(project).rows} == {"safer": 2, "too long": 1}


def test_the_votes_behind_a_number(project, votes):
    first, second, tie = (vote.pk for vote in votes[:3])
    assert votes_with(project, reason="safer") == [tie, second, first]
    assert votes_with(project, reason="safer", said="better") == [second, first]
    assert votes_with(project, reason="safer", said="tie", guideline="v1") == []
    assert votes_with(project, reason="safe") == [], "not a part of a reason"


@pytest.mark.slow
def test_page_files_and_api_say_the_same(client, project, bob, ann, api_for, votes):
    client.force_login(bob)
    url = f"/p/{project.slug}/reports/reasons"
    page = client.get(f"{url}/").content.decode()
    assert "4 of 5 votes have a short reason. The most frequent is “safer”." in page
    assert not Exposure.objects.exists(), "counts tell of no pair"
    shown = client.get(f"{url}/?reason=safer&said=better").content.decode()
    assert "Votes with “safer”" in shown
    assert set(Exposure.objects.values_list("comparison", flat=True)) == {vote.comparison_id for vote in votes[:2]}
    api = api_for(bob)
    at = f"/api/v1/projects/{project.slug}/reports/reasons/"
    told = api.get(at, {"reason": "safer", "said": "tie"}).json()
    assert [vote["vote"] for vote in told["votes"]] == [votes[2].pk]
    whole = client.get(f"{url}.json").json()
    assert whole["reasons"] == told["reasons"]
    rows = dict(csv.reader(io.StringIO(client.get(f"{url}.csv").content.decode())))
    assert rows["reasons / safer / said / tie"] == "1"
    assert api.get(at, {"guideline": "v9"}).status_code == 400
    assert client.get(f"{url}/?guideline=v9").status_code == 404
    assert api_for(ann).get(at).status_code == 404


def marked(vote, *marks):
    vote.marks = [
        {"answer": answer, "start": 0, "end": 1, "kind": kind, "reason": reason} for answer, kind, reason in marks
    ]
    vote.save(update_fields=["marks"])


def test_marks_are_counted_by_reason_and_by_the_chosen_answer(client, project, bob, votes, api_for):
    marked(votes[0], ("first", "good", "safer"), ("second", "bad", ""))
    marked(votes[1], ("first", "good", "safer"))  # the second answer was chosen
    marked(votes[2], ("first", "bad", "safer"))  # a tie
    marked(votes[5], ("first", "good", "safer"))  # by another criterion
    found = marks_of(project)
    assert (found.n_votes, found.all.good, found.all.bad) == (3, 2, 2)
    safer, without = found.rows
    assert (safer.reason, safer.good, safer.good_decided, safer.good_in_chosen) == ("safer", 2, 2, 1)
    assert (safer.bad, safer.bad_decided) == (1, 0)
    assert (without.reason, without.bad, without.bad_decided, without.bad_in_chosen) == ("", 1, 1, 0)
    assert marks_of(project, guideline="v2").all.n == 1
    client.force_login(bob)
    page = client.get(f"/p/{project.slug}/reports/reasons/").content.decode()
    assert "Marked passages" in page
    assert "1 of 2" in page
    body = api_for(bob).get(f"/api/v1/projects/{project.slug}/reports/reasons/").json()["marks"]
    assert (body["n_votes"], [row["reason"] for row in body["reasons"]]) == (3, ["safer", "", "(all)"])
    csv_text = client.get(f"/p/{project.slug}/reports/reasons.csv").content.decode()
    assert "marks" in csv_text


def test_marks_alone_make_a_report_too(client, project, bob, make_comparison, make_vote):
    guideline_add(project=project, text="One.", actor=None, asks_marks=True)
    vote = make_vote(make_comparison(project))
    client.force_login(bob)
    assert "No reasons yet" in client.get(f"/p/{project.slug}/reports/reasons/").content.decode()
    marked(vote, ("first", "good", ""))
    page = client.get(f"/p/{project.slug}/reports/reasons/").content.decode()
    assert "No reasons yet" not in page
    assert "without a reason" in page
