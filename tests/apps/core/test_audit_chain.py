"""The audit log: the database refuses to change it, and its chain shows what was changed all the same."""

from __future__ import annotations

import json

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import override_settings
from django.utils import timezone

from apps.core.audit_chain import TRIGGERS, chain_check, entries_seal
from apps.core.models import AuditEvent
from apps.core.origin import origin
from apps.core.services import audit

pytestmark = [pytest.mark.django_db, pytest.mark.postgresql]
TABLE = "core_auditevent"


def refused(statement: str, *values) -> None:
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


def as_the_owner_of_the_database(*statements: str) -> None:
    """Do what nothing in the product can: with the triggers gone."""
    with connection.cursor() as cursor:
        for name in TRIGGERS[connection.vendor]:
            cursor.execute(f"DROP TRIGGER {name}" + (f" ON {TABLE}" if connection.vendor == "postgresql" else ""))
        for statement in statements:
            cursor.execute(statement)


def test_an_entry_says_from_where_and_names_only_declared_acts(alice, project):
    with origin(by="token 1a2b3c4d", address="192.0.2.7"):
        made = audit(actor=alice, verb="token.create", target=f"user:{alice.pk}", project=project)
    assert (made.address, made.origin) == ("192.0.2.7", "token 1a2b3c4d")
    assert audit(actor=None, verb="sign_in", target="").origin == "", "what it was is over"
    with pytest.raises(AssertionError, match="not declared"):
        audit(actor=alice, verb="token.creat", target="")


def test_the_database_refuses_every_change(alice):
    for number in range(3):
        audit(actor=alice, verb="data.export", target=f"project:{number}", data={"n": number})
    first, last = AuditEvent.objects.order_by("id")[0], AuditEvent.objects.order_by("-id")[0]
    refused(f"UPDATE {TABLE} SET verb = 'sign_in' WHERE id = %s", first.pk)
    refused(f"UPDATE {TABLE} SET position = 1, target = 'x' WHERE id = %s", first.pk)
    refused(f"DELETE FROM {TABLE} WHERE id = %s", last.pk)
    refused(f"UPDATE {TABLE} SET actor_id = NULL")
    entries_seal(timezone.now())
    for statement in ("SET seal = 'x'", "SET position = NULL, seal = ''", "SET position = position + 10"):
        refused(f"UPDATE {TABLE} {statement} WHERE id = %s", first.pk)
    columns = "created_at, verb, target, project_slug, data, address, origin, position, seal"
    own = f"SELECT created_at, verb, target, project_slug, data, address, origin, 99, 'x' FROM {TABLE}"
    refused(f"INSERT INTO {TABLE} ({columns}) {own} WHERE id = %s", first.pk)
    if connection.vendor == "sqlite":  # which deletes a row without telling the trigger of DELETE
        refused(f"INSERT OR REPLACE INTO {TABLE} SELECT * FROM {TABLE} WHERE id = %s", first.pk)
    else:
        with connection.cursor() as cursor:  # PostgreSQL truncates no table whose rows it has still to check
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        refused(f"TRUNCATE {TABLE}")
        with connection.cursor() as cursor:  # a session that only replicates skips other triggers
            cursor.execute("SET LOCAL session_replication_role = replica")
        refused(f"DELETE FROM {TABLE}")
    assert AuditEvent.objects.count() == 3
    assert chain_check().problems == []


def test_a_check_finds_what_was_changed_or_is_missing(alice, capsys):
    for number in range(6):
        audit(actor=alice, verb="data.export", target=f"project:{number}", data={"n": number, "x": 0.1, "wörd": [None]})
    assert chain_check().n_waiting == 6
    entries_seal(timezone.now())
    entries_seal(timezone.now())
    audit(actor=None, verb="data.export", target="project:new")
    call_command("check_audit", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["n_sealed"], told["n_waiting"], told["problems"]) == (6, 1, [])
    assert told["head"] == "6:" + AuditEvent.objects.get(position=6).seal
    entries_seal(timezone.now())
    assert chain_check(head=told["head"]).problems == [], "it has grown since"

    key = settings.SECRET_KEY
    with override_settings(SECRET_KEY="another"):
        assert len(chain_check().problems) == 7
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=["x", key]):
        assert chain_check().problems == []

    as_the_owner_of_the_database(
        f"UPDATE {TABLE} SET target = 'project:other' WHERE position = 2",
        f"DELETE FROM {TABLE} WHERE position IN (4, 5)",
    )
    missing = [f"the database lacks the trigger {name}: entries can be changed" for name in TRIGGERS[connection.vendor]]
    found = chain_check().problems
    assert found[:-2] == missing
    assert found[-2].startswith("entry 2 (id ")
    assert found[-1] == "entries 4 to 5 are missing"
    with pytest.raises(CommandError, match="entries 4 to 5 are missing"):
        call_command("check_audit")

    with connection.cursor() as cursor:  # the end is cut off: only who noted the head can tell
        cursor.execute(f"DELETE FROM {TABLE} WHERE position > 3 OR position = 2")
        cursor.execute(f"UPDATE {TABLE} SET position = 2 WHERE position = 3")
    assert [one for one in chain_check(head="7:abc").problems if "ends before" in one] == [
        "the chain ends before 7:abc"
    ]
    assert any("was changed" in one for one in chain_check().problems), "a position that was moved"
