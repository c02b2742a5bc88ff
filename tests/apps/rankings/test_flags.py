"""Flags on pairs: stored once, no answer, seen and resolved by leads, part of a pair's history."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest
from django.urls import reverse

from apps.core.models import AuditEvent
from apps.labels.models import PairFlag, Preference, Vote
from apps.rankings import selectors, services
from apps.rankings.services.counts import differences

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)


def lease(project, user):
    return services.assignment_next(project=project, user=user, now=T0, rng=Random(1))


def test_a_flag_is_no_answer_and_takes_nothing_from_the_answers(project, ann, make_comparison):
    make_comparison(project)
    held = lease(project, ann)
    services.flag_create(assignment=held, reason="broken", note="  half of it ", now=T0)
    assert lease(project, ann) == held, "the pair stays with her"
    services.vote_create(assignment=held, choice="left", now=T0)
    assert Preference.objects.get().source == "human"
    after = services.flag_create(assignment=held, reason="private", now=T0)
    assert [(flag.reason, flag.note) for flag in selectors.flags_of(project)] == [
        ("broken", "half of it"),
        ("private", ""),
    ]
    assert (after.created, Vote.objects.count(), differences(project)) == (True, 1, {})


def test_it_is_stored_once_until_it_is_resolved(project, ann, bob, make_comparison):
    make_comparison(project)
    held = lease(project, ann)
    first = services.flag_create(assignment=held, reason="other", note="odd", now=T0)
    again = services.flag_create(assignment=held, reason="other", note="odd", now=T0)
    assert (again.flag, again.created) == (first.flag, False)
    services.flag_resolve(flag=first.flag, by=bob, now=T0)
    assert services.flag_create(assignment=held, reason="other", note="odd", now=T0).created


@pytest.mark.slow
def test_leads_resolve_it_and_open_it_again_and_the_log_says_so(project, ann, bob, make_comparison, client_for):
    make_comparison(project)
    flag = services.flag_create(assignment=lease(project, ann), reason="harmful", note="<b>no</b>", now=T0).flag
    lead = client_for(bob)
    listed = reverse("rankings:flags", args=[project.slug])
    page = lead.get(listed).content.decode()
    assert "It contains something harmful or illegal" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert "Flagged (1)" in lead.get(reverse("rankings:review", args=[project.slug])).content.decode()
    url = reverse("rankings:flag-resolve", args=[project.slug, flag.pk])
    for _ in range(2):
        assert lead.post(url).status_code == 302
    flag.refresh_from_db()
    assert flag.resolved_by == "bob"
    assert "No flags" in lead.get(listed).content.decode()
    assert "resolved by bob" in lead.get(listed, {"show": "done"}).content.decode()
    lead.post(url, {"reopen": "1"})
    flag.refresh_from_db()
    assert (flag.resolved_at, flag.resolved_by) == (None, "")
    verbs = AuditEvent.objects.filter(verb__startswith="flag.").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["flag.resolve", "flag.reopen"]


@pytest.mark.slow
def test_only_those_of_the_project_come_near_it(
    project, ann, bob, charlie, make_comparison, client_for, api_for, other_project
):
    make_comparison(project)
    flag = services.flag_create(assignment=lease(project, ann), reason="other", now=T0).flag
    url = reverse("rankings:flag-resolve", args=[project.slug, flag.pk])
    assert [client_for(who).post(url).status_code for who in (ann, charlie)] == [404, 404]
    wrong = reverse("rankings:flag-resolve", args=[other_project.slug, flag.pk])
    assert client_for(charlie).post(wrong).status_code == 404
    raise_it = reverse("rankings:annotate-flag", args=[project.slug])
    for who in (bob, charlie):  # the assignment is ann's
        body = {"assignment": flag.comparison.assignments.get(user=ann).pk, "reason": "other"}
        assert client_for(who).post(raise_it, body).status_code == 404
        assert api_for(who).post("/api/v1/flags/", body, format="json").status_code == 404
    assert PairFlag.objects.filter(resolved_at=None).count() == 1


@pytest.mark.slow
def test_a_program_raises_lists_and_resolves(project, ann, bob, make_comparison, api_for):
    make_comparison(project)
    api, lead = api_for(ann), api_for(bob)
    held = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    body = {"assignment": held["assignment"], "reason": "guideline", "note": "two languages"}
    made = api.post("/api/v1/flags/", body, format="json")
    assert (made.status_code, api.post("/api/v1/flags/", body, format="json").status_code) == (201, 200)
    assert api.post("/api/v1/flags/", body | {"reason": "ugly"}, format="json").status_code == 400
    listed = f"/api/v1/projects/{project.slug}/flags/"
    (row,) = lead.get(listed).json()
    assert (row["id"], row["comparison"], row["rater"]) == (made.json()["flag"], held["comparison"], "ann")
    assert (row["reason"], row["note"], row["resolved_at"]) == ("guideline", "two languages", None)
    done = lead.put(f"{listed}{row['id']}/", {"resolved": True}, format="json").json()
    assert (done["resolved_by"], lead.get(listed).json()) == ("bob", [])
    assert [one["id"] for one in lead.get(listed, {"resolved": "true"}).json()] == [row["id"]]
    events = lead.get(f"/api/v1/projects/{project.slug}/comparisons/{held['comparison']}/history/").json()
    assert [(e["kind"], e["who"], e["said"], e["reason"]) for e in events] == [
        ("flag", "ann", "guideline", "two languages"),
        ("resolved", "bob", "guideline", ""),
        ("seen", "bob", "api-history", ""),
    ]


def test_the_history_of_a_pair_shows_it(project, ann, bob, make_comparison, client_for):
    pair = make_comparison(project)
    flag = services.flag_create(assignment=lease(project, ann), reason="private", note="a phone number", now=T0).flag
    services.flag_resolve(flag=flag, by=bob, now=T0)
    page = client_for(bob).get(reverse("rankings:comparison", args=[project.slug, pair.pk])).content.decode()
    assert "a phone number" in page
    assert "Flag resolved" in page


@pytest.mark.parametrize(
    ("changed", "why"), [({"reason": "ugly"}, "reason must be one of"), ({"note": "x" * 2001}, "at most 2,000")]
)
def test_a_bad_flag_is_refused(project, ann, make_comparison, changed, why):
    make_comparison(project)
    with pytest.raises(services.BadFlag, match=why):
        services.flag_create(**({"assignment": lease(project, ann), "reason": "other", "now": T0} | changed))
    assert PairFlag.objects.count() == 0


@pytest.mark.parametrize("by", ["desk", "program"])
def test_a_flag_is_taken_back_by_who_raised_it_and_stays_in_the_history(
    by, project, ann, bob, make_comparison, client_for, api_for
):
    pair = make_comparison(project)
    held = lease(project, ann)
    services.flag_create(assignment=held, reason="broken", now=T0)
    assert lease(project, ann).is_flagged
    for n in (1, 0):
        if by == "desk":
            told = client_for(ann).post(f"/p/{project.slug}/annotate/flag/", {"assignment": held.pk, "withdraw": "1"})
        else:
            told = api_for(ann).delete(f"/api/v1/flags/of/{held.pk}/")
        assert (told.status_code, told.json()) == (200, {"withdrawn": n})
    assert api_for(bob).delete(f"/api/v1/flags/of/{held.pk}/").status_code == 404
    assert not selectors.flags_of(project).exists()
    assert not lease(project, ann).is_flagged
    told = [(event.kind, event.name) for event in selectors.label_history(pair)]
    assert told == [("flag", "ann"), ("resolved", "ann")]
    assert services.flag_create(assignment=held, reason="broken", now=T0).created


@pytest.mark.slow
def test_the_history_says_who_saw_the_labels_and_who_said_what_is_right(project, ann, bob, make_comparison, client_for):
    pair = make_comparison(project)
    services.gold_mark(comparison=pair, outcome="second", by=bob, note="read line 2")
    told = [(event.kind, event.name, event.said) for event in selectors.label_history(pair)]
    assert told == [("seen", "bob", "gold"), ("gold", "bob", "second")]
    page = client_for(bob).get(f"/p/{project.slug}/comparisons/{pair.pk}/").content.decode()
    assert "Saw its labels" in page
    assert "read line 2" in page
