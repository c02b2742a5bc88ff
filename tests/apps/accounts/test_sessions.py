"""Sessions: a person sees where they are signed in, and ends one, the others, or all by a new password."""

from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from apps.accounts.models import OpenSession
from apps.core.models import AuditEvent

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
GOOD = "correct horse staple"


def browser(name: str, who: str = "dora", **extra) -> Client:
    client = Client(headers={"User-Agent": name})
    assert client.post("/login/", {"username": who, "password": GOOD}, **extra).status_code == 302
    return client


def listed(client: Client) -> list[tuple[str, str]]:
    return [(row.browser, row.address) for row in client.get("/account/sessions/").context["sessions"]]


def is_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def test_a_person_lists_and_ends_their_own_sessions(make_user):
    make_user("dora", password=GOOD)
    make_user("eve", password=GOOD)
    home, phone = browser("Home"), browser("Phone", REMOTE_ADDR="192.0.2.8")
    eve = browser("Eve", "eve")
    assert listed(home) == [("Phone", "192.0.2.8"), ("Home", "127.0.0.1")]
    assert home.get("/account/sessions/").content.count(b"this one") == 1
    theirs = OpenSession.objects.get(browser="Phone")
    eve.post("/account/sessions/end/", {"session": theirs.pk})
    eve.post("/account/sessions/end/", {"session": "others"})
    assert is_in(phone), "nobody ends another's"
    home.post("/account/sessions/end/", {"session": theirs.pk})
    assert not is_in(phone)
    assert is_in(home)
    assert listed(home) == [("Home", "127.0.0.1")]
    for name in ("Library", "Phone again"):
        browser(name)
    home.post("/account/sessions/end/", {"session": "others"})
    assert listed(home) == [("Home", "127.0.0.1")]
    ends = AuditEvent.objects.filter(verb="session.end").order_by("id")
    assert [(row.actor.username, row.data) for row in ends] == [("dora", {"n": 1}), ("dora", {"n": 2})]

    # a new password ends the others, and the session at hand goes on under another key
    other = browser("Library")
    new = "another horse staple"
    home.post("/account/password/", {"current": GOOD, "password": new})
    assert not is_in(other)
    assert is_in(home)
    assert listed(home) == [("Home", "127.0.0.1")]
    assert Session.objects.filter(session_key__in=OpenSession.objects.values("session_key")).count() == 2
    home.post("/account/logout/")
    assert list(OpenSession.objects.values_list("browser", flat=True)) == ["Eve"]
