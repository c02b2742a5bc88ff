"""Flags on answers to rate: no rating, stored once, listed and resolved with those on pairs, exported and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from apps.core.models import AuditEvent
from apps.labels.models import PairFlag, Rating
from apps.projects.services import guideline_add
from apps.rankings import selectors as of_pairs
from apps.rankings.services import BadFlag, flag_resolve
from apps.ratings import selectors, services
from prefloop.records import InvalidRecord, parse_record
from prefloop.rubrics import rubric_read

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def seat(project, make_prompt, make_completion, ann):
    make_completion(make_prompt(project), "Call me: 555-1234.")
    guideline_add(project=project, text="Rate.", actor=None, task="rating", rubric=rubric_read("true: Is it?"))
    project.refresh_from_db()
    (given,) = services.seats_lease(project=project, user=ann, n=1, now=T0)
    return given


def flag(seat, **said):
    return services.flag_create(**({"seat": seat, "reason": "private", "now": T0} | said))


def test_a_flag_is_no_rating_and_is_stored_once(project, seat, ann):
    first = flag(seat, note=" a number ")
    assert (first.flag.note, first.flag.rater, first.flag.completion_id) == ("a number", "ann", seat.completion_id)
    assert not flag(seat, note="a number").created
    assert flag(seat, reason="other").created
    assert not Rating.objects.exists()
    (again,) = services.seats_lease(project=project, user=ann, n=1, now=T0)
    assert selectors.answers_of([again])[0].is_flagged
    services.rating_create(seat=seat, said=services.Rated(values={"true": 3}), now=T0)
    assert flag(seat, reason="harmful").created, "also after the rating"


def test_it_is_taken_back_by_who_raised_it(project, seat, ann):
    flag(seat)
    assert [services.flag_withdraw(seat=seat, now=T0) for _ in range(2)] == [1, 0]
    assert not of_pairs.flags_of(project).exists()
    assert PairFlag.objects.get().resolved_by == "ann"
    assert AuditEvent.objects.get(verb="flag.withdraw").target == f"completion:{seat.completion_id}"


@pytest.mark.parametrize(("said", "why"), [({"reason": "ugly"}, "reason must be"), ({"note": "x" * 2001}, "at most")])
def test_a_bad_one_is_refused(seat, said, why):
    with pytest.raises(BadFlag, match=why):
        flag(seat, **said)


def test_a_flag_is_on_a_pair_or_on_an_answer(seat, make_comparison):
    for on in ({}, {"comparison": make_comparison(seat.project), "completion": seat.completion}):
        with pytest.raises(IntegrityError), transaction.atomic():
            PairFlag.objects.create(rater="ann", reason="other", **on)


@pytest.mark.slow
def test_leads_find_and_resolve_it_on_the_page_and_by_programs(
    project, seat, ann, bob, charlie, client_for, api_for, other_project, make_comparison
):
    on_pair = PairFlag.objects.create(comparison=make_comparison(project), rater="ben", reason="other")
    made = client_for(ann).post(
        f"/p/{project.slug}/annotate/rate/flag/", {"assignment": seat.pk, "reason": "private", "note": "<b>"}
    )
    assert made.status_code == 201
    lead = client_for(bob)
    listed = f"/p/{project.slug}/review/flags/"
    page = lead.get(listed).content.decode()
    assert "Call me: 555-1234." in page
    assert "&lt;b&gt;" in page
    rows = api_for(bob).get(f"/api/v1/projects/{project.slug}/flags/").json()
    assert [(row["comparison"], row["completion"]) for row in rows] == [
        (on_pair.comparison_id, None),
        (None, seat.completion_id),
    ]
    pk = made.json()["flag"]
    assert lead.post(f"{listed}{pk}/resolve/").status_code == 302
    assert PairFlag.objects.get(pk=pk).resolved_by == "bob"
    done = lead.get(f"{listed}?show=done").content.decode()
    assert f"Open again: the flag on answer {seat.completion_id}" in done
    assert client_for(ann).get(listed).status_code == 404
    body = {"seat": seat.pk, "reason": "other"}
    assert api_for(ann).post("/api/v1/ratings/flags/", body, format="json").status_code == 201
    assert api_for(ann).post("/api/v1/ratings/flags/", body, format="json").status_code == 200
    assert api_for(ann).post("/api/v1/ratings/flags/", body | {"reason": "ugly"}, format="json").status_code == 400
    assert api_for(charlie).post("/api/v1/ratings/flags/", body, format="json").status_code == 404
    assert api_for(ann).delete(f"/api/v1/ratings/flags/of/{seat.pk}/").json() == {"withdrawn": 1}
    assert api_for(bob).delete(f"/api/v1/ratings/flags/of/{seat.pk}/").status_code == 404


@pytest.mark.slow
def test_it_is_exported_and_comes_back(project, seat, bob, make_project, tmp_path):
    flag_resolve(flag=flag(seat, note="a number").flag, by=bob, now=T0)
    file, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    call_command("export_preferences", project=project.slug, format="records", out=str(file), stdout=StringIO())
    (row,) = map(json.loads, file.read_text().splitlines())
    (said,) = row["flags"]
    assert (said["completion"], said["note"], said["resolved_by"]) == (0, "a number", "bob")
    assert "pair" not in said
    copy = make_project("copy")
    for n in (1, 1):  # the second time nothing is new
        call_command("import_records", str(file), project=copy.slug, stdout=StringIO())
        assert PairFlag.objects.filter(completion__project=copy).count() == n
    call_command("export_preferences", project=copy.slug, format="records", out=str(again), stdout=StringIO())
    assert again.read_text() == file.read_text()


@pytest.mark.parametrize("on", [{}, {"pair": [0, 1], "completion": 0}, {"completion": 2}, {"completion": True}])
def test_a_record_says_what_it_is_on(on):
    row = {
        "id": "one",
        "prompt": "p",
        "completions": [{"text": "a"}, {"text": "b"}],
        "flags": [{"rater": "ann", "reason": "other"} | on],
    }
    with pytest.raises(InvalidRecord, match=r"flags\[0\]"):
        parse_record(row)
