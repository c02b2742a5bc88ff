"""The audit log's pages and API: whose entries they show to whom, and that sign-ins and endpoints are in it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.accounts import throttle
from apps.core.acts import ACTS, AREA_OF
from apps.core.models import AuditEvent
from apps.core.services import audit
from apps.policies.endpoints import endpoint_create, endpoint_update
from apps.projects.models import Project
from apps.projects.services import project_create

pytestmark = pytest.mark.django_db
PAGE = "/p/letters-test/settings/audit/"
API = "/api/v1/projects/letters-test/audit/"


def verbs(response) -> list[str]:
    return [one["verb"] for one in response.json()]


def test_owners_read_their_projects_entries_and_filter_them(client_for, api_for, project, alice, bob, charlie, ann):
    audit(actor=bob, verb="override.create", target="comparison:7", project=project, data={"choice": "<b>"})
    audit(actor=alice, verb="member.add", target=f"user:{ann.pk}", project=project, data={"role": "annotator"})
    audit(actor=charlie, verb="sign_in", target=f"user:{charlie.pk}")
    page = client_for(alice).get(PAGE)
    text = page.content.decode()
    assert [(line.who, line.did, line.target) for line in page.context["lines"]] == [
        ("alice", "added a person", "ann"),
        ("bob", "corrected a judge", "comparison:7"),
    ]
    assert "role: annotator" in text
    assert "&lt;b&gt;" in text

    def shown(**chosen):
        return [line.row.verb for line in client_for(alice).get(PAGE, chosen).context["lines"]]

    today = timezone.now().date()
    assert shown(person=bob.pk) == ["override.create"]
    assert shown(area="people") == ["member.add"]
    assert shown(since=today, until=today) == ["member.add", "override.create"]
    assert shown(since=today + timedelta(days=1)) == shown(until=today - timedelta(days=1)) == []
    assert b"No entry fits" in client_for(alice).get(PAGE, {"since": "2999-01-01"}).content
    assert shown(person=charlie.pk) == ["member.add", "override.create"], "who did nothing here is no filter"

    api = api_for(alice, "read")
    assert verbs(api.get(API)) == ["member.add", "override.create"]
    assert verbs(api.get(API, {"area": "labels"})) == ["override.create"]
    assert verbs(api.get(API, {"before": AuditEvent.objects.get(verb="member.add").pk})) == ["override.create"]
    assert api.get(API, {"area": "weather"}).status_code == 400
    assert api.get("/api/v1/audit/").status_code == 404
    assert client_for(bob).get(PAGE).status_code == api_for(bob).get(API).status_code == 404
    assert client_for(alice).get("/audit/").status_code == 404

    # a project that takes over the address is another one
    Project.objects.filter(pk=project.pk).update(slug="old")
    project_create(name="New", slug=project.slug, owner=charlie)
    assert verbs(api_for(charlie).get(API)) == ["project.create"]


def test_operators_read_everything_sign_ins_too(client, client_for, api_for, make_user, monkeypatch):
    ann = make_user("ann", password="correct horse battery")
    root = make_user("root", is_superuser=True)
    monkeypatch.setattr(throttle, "MOST_PER_ACCOUNT", 2)
    for _ in range(2):
        client.post("/login/", {"username": "ann", "password": "wrong"})
    throttle.note_success(account="ann")
    client.post("/login/", {"username": "ann", "password": "correct horse battery"}, REMOTE_ADDR="192.0.2.9")
    client.post("/account/logout/")
    call_command("create_token", "ann")
    client.get("/api/v1/projects/", headers={"Authorization": "Token x"})
    answer = api_for(root).get("/api/v1/audit/").json()
    assert [(one["verb"], one["actor"], one["address"], one["origin"]) for one in answer] == [
        ("token.create", "root", "", ""),
        ("token.create", "ann", "", ""),
        ("sign_out", "ann", "127.0.0.1", "page"),
        ("sign_in", "ann", "192.0.2.9", "page"),
        ("sign_in.refused", None, "127.0.0.1", "page"),
    ]
    assert answer[-1]["target"] == f"user:{ann.pk}"
    page = client_for(root).get("/audit/", {"person": ann.pk, "area": "access"})
    assert [line.row.verb for line in page.context["lines"]] == ["token.create", "sign_out", "sign_in"]
    assert b"192.0.2.9" in page.content
    # what a token changes says which token it was
    api = api_for(root)
    made = api.post("/api/v1/projects/", {"name": "From a program"}, format="json")
    assert made.status_code == 201
    entry = AuditEvent.objects.get(verb="project.create")
    assert (entry.origin[:6], entry.address) == ("token ", "127.0.0.1")


def test_endpoints_are_in_the_log_without_their_keys(project, erin):
    made = endpoint_create(
        project=project, name="big", base_url="https://example.org/v1", model="m", api_key="sk-canary", by=erin
    )
    endpoint_update(endpoint=made, base_url="https://example.net/v1", model="m", by=erin)
    rows = list(AuditEvent.objects.filter(target="endpoint:big").order_by("id"))
    assert [(row.verb, row.actor, row.data["has_key"]) for row in rows] == [
        ("endpoint.create", erin, True),
        ("endpoint.change", erin, False),
    ]
    assert "canary" not in repr([row.data for row in rows])
    assert set(AREA_OF) == set(ACTS)
