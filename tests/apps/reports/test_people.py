"""The leads' page: who is on it, what it says of whom, and leaving somebody out from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone

from apps.labels.crew import crew_columns
from apps.labels.models import Exclusion, Preference, Vote
from apps.labels.services import preferences_derive
from apps.reports.people import crew_of
from apps.reports.people_words import sentence_of
from prefloop.stats.suspicions import Suspicion

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def voted(project, at_once, make_comparison, make_vote):
    """Forty pairs: ann and ben choose the first, zoe always the left side, whatever is there."""
    votes = []
    with at_once(project):
        for i in range(40):
            c = make_comparison(project, ("a" * 30, "b" * 10), models=("m", "n"))
            at = T0 + timedelta(minutes=i)
            order = "01" if i % 2 else "10"
            for rater, choice, seconds in (("ann", "first", 8.0), ("ben", "first", 9.0)):
                make_vote(c, choice, rater=rater, at=at, order="01" if (i // 2) % 2 else "10", seconds=seconds)
            votes.append(
                make_vote(c, "first" if order == "01" else "second", rater="zoe", at=at, order=order, seconds=2.0)
            )
    preferences_derive(project=project, now=T0)
    return votes


def test_the_columns_are_the_votes_that_count_with_their_times(project, voted, make_vote, bob):
    make_vote(voted[0].comparison, "first", rater="zoe", supersedes=voted[0], at=T0, order="10", seconds=None)
    make_vote(voted[1].comparison, "tie", rater="lead", adjudication=True)
    columns = crew_columns(project)
    assert columns.raters == ("ann", "ben", "zoe")
    assert len(columns.item) == 120
    row = int(np.flatnonzero((columns.item == 0) & (columns.rater == 2))[0])
    assert (columns.outcome[row], columns.swapped[row]) == (0, 1)
    assert np.isnan(columns.seconds[row])
    moments = np.sort(columns.at[columns.rater == 0])
    assert moments == pytest.approx([(T0 + timedelta(minutes=i)).timestamp() for i in range(40)], abs=0.01)


@pytest.mark.slow
def test_the_page_says_who_labels_how_and_names_the_one_sided(project, voted, bob, client_for):
    Vote.objects.filter(rater="ann").update(user=bob)
    found = crew_of(project=project, now=timezone.now())
    assert [(p.report["name"], p.report["n"], p.works_now) for p in found.people] == [
        ("ann", 40, True), ("ben", 40, False), ("zoe", 40, False)
    ]  # fmt: skip
    assert {(one.person, one.kind) for one in found.suspicious} >= {
        ("zoe", "side"),
        ("zoe", "disagrees"),
        ("zoe", "fast"),
    }
    assert {one.person for one in found.suspicious} == {"zoe"}
    page = client_for(bob).get(reverse("reports:people", args=[project.slug])).content.decode()
    assert "3 people have voted, 1 of them in the last ten minutes. Look at the work of 1." in page
    assert "zoe chooses the answer on the left in 100.0\u202f% [91.2, 100.0] of 40 votes" in page
    assert "8.0 s" in page


def test_an_empty_project_says_what_to_do(project, bob, client_for):
    page = client_for(bob).get(reverse("reports:people", args=[project.slug])).content.decode()
    assert "Nobody has voted yet" in page


@pytest.mark.slow
def test_excluding_is_shown_then_done_then_undone_on_the_pages(project, voted, bob, client_for, make_vote):
    split = voted[0].comparison
    Vote.objects.filter(comparison=split, rater="ben").update(choice="second")
    Vote.objects.filter(comparison=split, rater="zoe").update(choice="second")
    preferences_derive(project=project, now=T0)
    client, at = client_for(bob), reverse("reports:people-exclude", args=[project.slug])
    preview = client.get(at, {"rater": "zoe"}).content.decode()
    assert "1 label changes" in preview
    assert "40 votes" in preview
    assert Exclusion.objects.count() == 0
    done = client.post(at, {"rater": "zoe", "reason": "left side only"}, follow=True).content.decode()
    assert "The labels of zoe do not count any more." in done
    assert "left side only" in done
    assert not Preference.objects.filter(comparison=split).exists()
    row = Exclusion.objects.get()
    assert (row.rater, row.since, row.by) == ("zoe", None, bob)
    again = client.post(at, {"rater": "zoe", "since": "2026-01-01"}, follow=True).content.decode()
    assert "excluded already" in again
    undone = client.post(reverse("reports:people-lift", args=[project.slug, row.pk]), follow=True).content.decode()
    assert "The labels of zoe count again." in undone
    assert Preference.objects.get(comparison=split).outcome == "second"


@pytest.mark.slow
def test_a_bad_date_is_refused_and_a_stranger_to_the_project_is_no_page(project, voted, bob, client_for):
    client, at = client_for(bob), reverse("reports:people-exclude", args=[project.slug])
    assert client.post(at, {"rater": "zoe", "since": "soon"}).status_code == 400
    assert client.get(at, {"rater": "nobody"}).status_code == 404
    assert client.post(at, {}).status_code == 404
    assert Exclusion.objects.count() == 0


@pytest.mark.slow
def test_the_api_does_what_the_page_does(project, voted, bob, ann, api_for):
    api, base = api_for(bob), f"/api/v1/projects/{project.slug}"
    report = api.get(f"{base}/reports/people/").json()
    assert [p["name"] for p in report["people"]] == ["ann", "ben", "zoe"]
    assert report["people"][2]["suspicions"][0]["sentence"].startswith("zoe ")
    asked = {"rater": "zoe", "since": "2026-01-01T00:20:00Z", "dry_run": True}
    told = api.post(f"{base}/exclusions/", asked, format="json")
    assert (told.status_code, told.json()["effect"]["n_votes"], told.json()["exclusion"]) == (200, 20, None)
    assert Exclusion.objects.count() == 0
    made = api.post(f"{base}/exclusions/", asked | {"dry_run": False}, format="json")
    assert made.status_code == 201
    assert Exclusion.objects.get().since == T0 + timedelta(minutes=20)
    assert api.post(f"{base}/exclusions/", {"rater": "zoe"}, format="json").status_code == 409
    assert api.post(f"{base}/exclusions/", {"rater": "nobody"}, format="json").status_code == 400
    at = f"{base}/exclusions/{made.json()['exclusion']}/"
    assert api_for(ann).delete(at).status_code == 404
    assert (api.delete(at).status_code, api.delete(at).status_code) == (204, 409)


@pytest.mark.parametrize("who", ["ann", "charlie"])
def test_annotators_and_strangers_see_nothing_of_it(project, voted, who, request, client_for):
    row = Exclusion.objects.create(project=project, rater="zoe")
    client = client_for(request.getfixturevalue(who))
    assert client.get(reverse("reports:people", args=[project.slug])).status_code == 404
    assert client.post(reverse("reports:people-exclude", args=[project.slug]), {"rater": "ben"}).status_code == 404
    assert client.post(reverse("reports:people-lift", args=[project.slug, row.pk])).status_code == 404
    assert Exclusion.objects.filter(lifted_at=None).count() == 1


def test_every_pattern_is_one_plain_sentence():
    share = {"rate": 0.6, "n": 100, "k": 60, "ci95": [0.5, 0.7], "usual": 0.8}
    evidence = {
        "disagrees": share,
        "fast": {"median": 0.3, "ci95": [0.2, 0.4], "n": 50, "seconds": 2.04, "agrees": 0.6, "usual": 0.8},
        "side": share,
        "longer": share | {"excess": 0.2, "excess_ci95": [0.1, 0.3]},
        "drift": {"first": {"rate": 0.9}, "last": {"rate": 0.6}, "change": -0.3, "ci95": [-0.4, -0.2]},
        "run": {"length": 44, "n": 300, "chance": 1e-9},
        "copies": {"other": "bo", "n": 60, "k": 59, "n_off": 9, "k_off": 9, "later": 58, "expected": 44.2, "chance": 0},
    }
    said = [sentence_of(Suspicion("mel", kind, found)) for kind, found in evidence.items()]
    assert all(text.startswith("mel ") and text.endswith(".") and "%(" not in text for text in said)
    assert said[2].startswith("mel chooses the answer on the left in 60.0\u202f% [50.0, 70.0]")
    assert "59 of 60 pairs" in said[-1]
