"""Checkpoints: who sees them, how one comes in, and what is refused without being opened."""

from __future__ import annotations

import os

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.policies.lineage import draw_lineage, short_count
from apps.policies.models import Checkpoint

pytestmark = pytest.mark.django_db
BASE = "/p/letters-test/policies/"


@pytest.fixture
def make_checkpoint(project):
    def make(name, parent=None, **fields):
        fields = {"project": project, "role": "policy", "path": name, "fingerprint": name * 8} | fields
        return Checkpoint.objects.create(name=name, parent=parent, **fields)

    return make


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.slow
def test_leads_read_engineers_change_and_nobody_else_learns_anything(
    make_checkpoint, alice, bob, erin, ann, charlie, client_for
):
    one = make_checkpoint("sft")
    pages = (BASE, f"{BASE}{one.pk}/")
    for person in (alice, erin, bob):
        for path in pages:
            assert client_for(person).get(path).status_code == 200
    for person in (ann, charlie):
        for path in (*pages, f"{BASE}import/"):
            assert client_for(person).get(path).status_code == 404
    for person in (ann, bob, charlie):
        assert client_for(person).post(f"{BASE}{one.pk}/default/").status_code == 404
        assert client_for(person).post(f"{BASE}import/", {}).status_code == 404
    assert client_for(charlie).get(f"/p/elsewhere/policies/{one.pk}/").status_code == 404
    one.refresh_from_db()
    assert not one.is_default
    assert client_for(erin).post(f"{BASE}{one.pk}/default/").status_code == 302
    one.refresh_from_db()
    assert one.is_default


def test_there_is_one_default_of_a_role(make_checkpoint, erin, client_for):
    first, second = make_checkpoint("a", is_default=True), make_checkpoint("b")
    reward = make_checkpoint("r", role="reward", is_default=True)
    client_for(erin).post(f"{BASE}{second.pk}/default/")
    assert set(Checkpoint.objects.filter(is_default=True)) == {second, reward}
    assert first not in Checkpoint.objects.filter(is_default=True)


def test_lineage_is_read_both_ways(make_checkpoint, bob, client_for):
    root = make_checkpoint("root")
    middle = make_checkpoint("middle", root, recipe="dpo")
    make_checkpoint("leaf", middle, recipe="iterative-dpo")
    page = client_for(bob).get(f"{BASE}{middle.pk}/").content.decode()
    assert "root" in page
    assert "leaf" in page


def test_the_drawing_puts_children_right_of_parents_and_no_two_in_one_place(make_checkpoint):
    root = make_checkpoint("root")
    a = make_checkpoint("a", root)
    make_checkpoint("b", root)
    make_checkpoint("c", a)
    make_checkpoint("d", a)
    make_checkpoint("alone")
    rows = list(Checkpoint.objects.order_by("id"))
    drawing = draw_lineage(rows)
    at = {node.checkpoint.name: (node.x, node.y) for node in drawing.nodes}
    assert len(set(at.values())) == 6
    assert at["root"][0] < at["a"][0] == at["b"][0] < at["c"][0]
    assert at["root"][1] == at["a"][1] == at["c"][1] < at["d"][1] < at["b"][1] < at["alone"][1]
    assert at["alone"][0] == at["root"][0]
    assert len(drawing.edges) == 4
    # a part of a lineage is drawn too: whose parent is missing is a root
    assert len(draw_lineage(rows[1:]).edges) == 2


def test_a_lineage_of_a_thousand_rounds_is_drawn(project):
    rows, parent = [], None
    for n in range(1000):
        row = Checkpoint(pk=n + 1, project=project, name=f"round-{n}", role="policy", parent_id=parent)
        rows.append(row)
        parent = row.pk
    drawing = draw_lineage(rows)
    assert len(drawing.edges) == 999
    assert len({node.y for node in drawing.nodes}) == 1


def test_numbers_of_parameters_are_said_as_people_say_them():
    said = {n: short_count(n).replace("\u202f", " ") for n in (None, 12, 1_130_000, 7_000_000_000, 350_000)}
    assert said == {None: "–", 12: "12", 1_130_000: "1.1 M", 7_000_000_000: "7.0 B", 350_000: "350 k"}


@pytest.mark.slow
def test_the_list_costs_the_same_for_more_checkpoints(make_checkpoint, bob, client_for):
    client = client_for(bob)

    def cost():
        with CaptureQueriesContext(connection) as queries:
            assert client.get(BASE).status_code == 200
        return len(queries)

    root = make_checkpoint("root")
    make_checkpoint("child", root)
    client.get(BASE)
    few = cost()
    for n in range(12):
        root = make_checkpoint(f"round-{n}", root)
    assert cost() == few


@pytest.mark.slow
def test_an_engineer_names_an_endpoint_whose_key_is_never_shown(project, erin, bob, client_for, settings):
    from apps.policies.endpoints import endpoint_key
    from apps.policies.models import Endpoint

    settings.ENDPOINT_ALLOW = ["127.0.0.1:9"]
    path = "/p/letters-test/policies/endpoints/new/"
    values = {"name": "ours", "base_url": "http://127.0.0.1:9/v1", "model": "qwen", "api_key": "sk-canary"}
    client = client_for(erin)
    tested = client.post(path, values | {"action": "test"})
    assert "cannot be reached" in tested.content.decode()
    assert not Endpoint.objects.exists()
    private = client.post(path, values | {"base_url": "http://127.0.0.1:8/v1"})
    assert private.status_code == 400
    assert "PREFLOOP_ENDPOINT_ALLOW" in private.content.decode()
    assert client.post(path, values).status_code == 302
    assert endpoint_key(Endpoint.objects.get()) == "sk-canary"
    page = client.get("/p/letters-test/policies/").content.decode()
    assert "http://127.0.0.1:9/v1" in page
    again = client.post(path, values)
    assert "already exists" in again.content.decode()
    assert "sk-canary" not in page + tested.content.decode() + again.content.decode()
    assert client_for(bob).post(path, values).status_code == 404


@pytest.mark.slow
def test_engineers_approve_once_and_withdraw_only_what_they_saw(
    make_checkpoint, alice, bob, erin, ann, charlie, client_for
):
    from apps.core.models import AuditEvent

    one = make_checkpoint("sft")
    path, withdraw = f"{BASE}{one.pk}/approve/", f"{BASE}{one.pk}/approval/withdraw/"
    for person in (ann, bob, charlie):
        assert client_for(person).post(path, {"note": "mine"}).status_code == 404
        assert client_for(person).post(withdraw, {"seen": ""}).status_code == 404
    assert client_for(charlie).post(f"/p/elsewhere/policies/{one.pk}/approve/").status_code == 404
    client_for(erin).post(path, {"note": "read 40 letters"})
    second = client_for(alice).post(path, {"note": "no, mine"}, follow=True).content.decode()
    assert "sft is approved already, by erin" in second
    one.refresh_from_db()
    assert (one.approved_by, one.approval_note) == (erin, "read 40 letters")
    assert ">approved</span>" in client_for(bob).get(BASE).content.decode()
    page = client_for(bob).get(f"{BASE}{one.pk}/").content.decode()
    assert "read 40 letters" in page
    assert withdraw not in page  # a lead is shown no button that does nothing
    for seen in ("", "yesterday", "2020-01-01T00:00:00+00:00", one.approved_at.replace(tzinfo=None).isoformat()):
        assert "check it again" in client_for(alice).post(withdraw, {"seen": seen}, follow=True).content.decode()
    client_for(alice).post(withdraw, {"seen": one.approved_at.isoformat()})
    one.refresh_from_db()
    assert (one.approved_at, one.approved_by, one.approval_note) == (None, None, "")
    said = AuditEvent.objects.filter(verb__contains="approv").order_by("id").values_list("actor__username", "verb")
    assert list(said) == [("erin", "checkpoint.approve"), ("alice", "checkpoint.withdraw_approval")]
    assert "2,000 characters at most" in client_for(erin).post(path, {"note": "x" * 2001}, follow=True).content.decode()
    one.refresh_from_db()
    assert one.approved_at is None


# --- whose models are whose -------------------------------------------------------------------------------------------
