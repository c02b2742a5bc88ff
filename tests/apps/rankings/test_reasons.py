"""Short reasons: of the list that the guideline on the screen has, kept with the vote, not shown to others."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from apps.labels.models import Vote
from apps.projects.services import ProjectRefused, guideline_add
from apps.rankings import services
from prefloop.reasons import PRESETS, BadReason

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 1, 9, tzinfo=UTC)
REASONS = ("more accurate", "safer", "too long, by far")


@pytest.fixture
def offering(project):
    return guideline_add(project=project, text="Prefer the warmer letter.", actor=None, reasons=REASONS)


def lease(project, user):
    return services.assignment_next(project=project, user=user, now=T0, rng=Random(1))


def test_another_list_is_another_version_of_the_guideline(project, offering):
    assert guideline_add(project=project, text=offering.text, actor=None, reasons=REASONS).version == 1
    assert guideline_add(project=project, text=offering.text, actor=None, reasons=REASONS[:1]).version == 2
    assert guideline_add(project=project, text=offering.text, actor=None).version == 3


@pytest.mark.parametrize("reasons", [["a", "a"], ["x" * 41], ["two\nlines"], [""], [str(n) for n in range(13)]])
def test_what_is_no_list_of_reasons_is_refused(project, reasons):
    with pytest.raises(BadReason):
        guideline_add(project=project, text="Prefer.", actor=None, reasons=reasons)
    assert not project.guidelines.exists()


def test_a_program_gets_the_list_and_says_some_of_it(project, ann, bob, make_comparison, api_for, offering):
    for _ in range(3):
        make_comparison(project)
    api = api_for(ann)
    held = api.post(f"/api/v1/projects/{project.slug}/next/").json()
    assert held["reasons"] == list(REASONS)
    body = {"assignment": held["assignment"], "choice": "left", "reasons": ["too long, by far", "safer"], "next": True}
    reply = api.post("/api/v1/votes/", body, format="json")
    assert (reply.status_code, reply.json()["next"]["reasons"]) == (201, list(REASONS))
    assert Vote.objects.get().reasons == ["safer", "too long, by far"], "in the guideline's order"
    again = body | {"reasons": ["safer", "too long, by far", "safer"]}
    assert api.post("/api/v1/votes/", again, format="json").status_code == 200, "the same again"
    assert api.post("/api/v1/votes/", body | {"reasons": ["safer"]}, format="json").status_code == 409
    url = f"/api/v1/projects/{project.slug}/comparisons/{held['comparison']}/history/"
    assert api_for(bob).get(url).json()[0]["reasons"] == ["safer", "too long, by far"]


def test_a_reason_that_the_version_on_the_screen_has_not_is_refused(project, ann, make_comparison, offering, api_for):
    make_comparison(project)
    held = lease(project, ann)
    guideline_add(project=project, text=offering.text, actor=None, reasons=["kinder"])
    api, body = api_for(ann), {"assignment": held.pk, "choice": "left"}
    refused = api.post("/api/v1/votes/", body | {"reasons": ["kinder"]}, format="json")
    assert refused.status_code == 400
    assert refused.json()["detail"] == (
        "the guideline v1 has no short reason 'kinder'; it has more accurate, safer, too long, by far"
    )
    assert not Vote.objects.exists()
    kept = api.post("/api/v1/votes/", body | {"reasons": ["kinder"], "guideline": "v2"}, format="json")
    assert (kept.status_code, Vote.objects.get().reasons) == (201, ["kinder"])


def test_the_page_sends_them_by_line_and_plain_forms_by_field(client, project, ann, make_comparison, offering):
    for _ in range(2):
        make_comparison(project)
    client.force_login(ann)
    url = f"/p/{project.slug}/annotate/vote/"
    for said in ("safer\nmore accurate", ["safer", "more accurate"]):
        held = lease(project, ann)
        client.post(url, {"assignment": held.pk, "choice": "tie", "reasons": said})
    assert [vote.reasons for vote in Vote.objects.order_by("id")] == [["more accurate", "safer"]] * 2
    page = client.get(f"/p/{project.slug}/annotate/history/").content.decode()
    assert page.count('chip-reason">safer') == 2


def test_taking_a_vote_back_leaves_its_reasons_in_the_history(project, ann, make_comparison, offering):
    make_comparison(project)
    held = lease(project, ann)
    services.vote_create(assignment=held, choice="left", reasons=["safer"], now=T0)
    back = services.vote_undo(project=project, user=ann, now=T0)
    services.vote_create(assignment=back, choice="left", now=T0)
    assert [(vote.choice, vote.reasons) for vote in Vote.objects.order_by("id")][1:] == [
        ("withdrawn", []),
        (Vote.objects.order_by("id").last().choice, []),
    ]
    assert Vote.objects.order_by("id").first().reasons == ["safer"]


def test_others_reasons_reach_leads_alone(client, project, ann, bob, make_comparison, make_verdict, offering):
    comparison = make_comparison(project)
    make_verdict(comparison)
    services.vote_create(assignment=lease(project, ann), choice="left", reasons=["safer"], now=T0)
    url = f"/p/{project.slug}/review/{comparison.pk}/"
    client.force_login(bob)
    assert 'chip-reason">safer' in client.get(url).content.decode()
    client.force_login(ann)
    assert "safer" not in client.get(url).content.decode()


def test_the_settings_fill_in_the_usual_ones(client, project, bob):
    client.force_login(bob)
    url = f"/p/{project.slug}/settings/guidelines/"
    shown = client.post(url, {"text": "Be kind.", "reasons_preset": "usual reasons"}).content.decode()
    assert "follows the instruction\n" in shown
    assert not project.guidelines.exists()
    client.post(url, {"text": "Be kind.", "reasons": "\n".join(PRESETS["usual reasons"])})
    assert tuple(project.guidelines.get().reasons) == PRESETS["usual reasons"]
    assert "stands there twice" in client.post(url, {"text": "Be kind.", "reasons": "a\na"}).content.decode()
    with pytest.raises(ProjectRefused):
        guideline_add(project=project, text="", actor=None)
