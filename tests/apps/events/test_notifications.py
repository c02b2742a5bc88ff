"""Notifications: who is told what, once, on the page and by mail."""

from __future__ import annotations

from datetime import timedelta
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected

import pytest
from django.core import mail
from django.db.models import F

from apps.accounts.models import User
from apps.events.models import Event, Notification
from apps.events.telling import tell
from apps.events.types import EVENTS
from apps.jobs.models import Job
from apps.projects.models import Membership

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(alice, bob, erin, ann, charlie):
    return {one.username: one for one in (alice, bob, erin, ann, charlie)}


def told():
    return sorted(Notification.objects.values_list("event__kind", "user__username"))


def test_each_event_notifies_the_roles_that_it_declares_once(project, people, work):
    tell("review.waiting", project, loop=3, round=1, n=40)
    tell("loop.failed", project, loop=3, error="no pairs")
    tell(
        "vote.created",
        project,
        vote=1,
        comparison=2,
        rater="ann",
        criterion="",
        choice="first",
        reason="",
        reasons=[],
        marks=[],
    )
    work()
    expected = [("loop.failed", who) for who in ("alice", "erin")]
    expected += [("review.waiting", who) for who in ("alice", "bob", "erin")]
    assert told() == expected
    Event.objects.update(spread_at=None)  # a worker died before it had marked them
    work()
    assert told() == expected


def test_the_words_and_the_page_of_every_declared_notification_can_be_filled():
    for kind in EVENTS.values():
        data = dict.fromkeys(kind.fields, "x")
        assert bool(kind.words) == bool(kind.page) == (kind.notifies is not None)
        assert "%" not in str(kind.words) % data + kind.page % data


@pytest.mark.slow
def test_the_page_lists_them_and_marks_them_read(project, people, work, client_for, api_for):
    tell("review.waiting", project, loop=3, round=1, n=40)
    work()
    browser = client_for(people["bob"])
    page = browser.get("/notifications/").content.decode()
    assert "Loop 3 waits for reviews of 40 pairs (round 1)" in page
    assert 'href="/p/letters-test/loops/3/"' in page
    assert "1 unread notification" in page
    (row,) = api_for(people["bob"]).get("/api/v1/notifications/").json()
    assert (row["kind"], row["page"], row["read_at"]) == ("review.waiting", "/p/letters-test/loops/3/", None)
    browser.post("/notifications/")
    assert "0 unread notifications" in browser.get("/notifications/").content.decode()
    assert "1 unread" in client_for(people["erin"]).get("/notifications/").content.decode()  # each has their own
    assert api_for(people["erin"]).post("/api/v1/notifications/").status_code == 204
    for who in ("ann", "charlie"):
        assert "Loop 3" not in client_for(people[who]).get("/notifications/").content.decode()
    Membership.objects.filter(user=people["bob"]).delete()  # whoever has left sees nothing more of the project
    assert "Loop 3" not in browser.get("/notifications/").content.decode()


def test_mail_goes_to_those_who_want_it_and_once(project, people, work, settings):
    settings.EMAIL_HOST, settings.BASE_URL = "mail.example.org", "https://prefloop.example.org"
    User.objects.filter(username__in=["bob", "ann"]).update(wants_mail=True, email="x@example.org")
    User.objects.filter(username="erin").update(email="erin@example.org")  # does not want it
    User.objects.filter(username="alice").update(wants_mail=True)  # has no address
    tell("judge.paused", project, job=7, title="Ask j", why="cap_reached", error="the cap is reached")
    tell("loop.done", project, loop=3, rounds=2)
    work()
    work()
    (sent,) = mail.outbox  # of loop.done: bob is a lead, and judges that stop concern engineers
    assert sent.to == ["x@example.org"]
    assert sent.subject == "[Thank-you letters] Loop 3 is done after 2 rounds"
    assert "https://prefloop.example.org/p/letters-test/loops/3/" in sent.body
    assert Notification.objects.filter(mail="sent").count() == 1


def test_without_a_mail_server_nothing_is_mailed(project, people, work, settings):
    User.objects.filter(username="bob").update(wants_mail=True, email="x@example.org")
    settings.EMAIL_HOST = ""
    tell("loop.done", project, loop=3, rounds=2)
    work()
    assert not Job.objects.filter(kind="events.mail").exists()


@pytest.fixture
def bobs_mail(project, people, settings, monkeypatch):
    """bobs_mail(error): tell Bob something; every attempt to mail it ends so, until `error` is None."""
    settings.EMAIL_HOST = "mail.example.org"
    User.objects.filter(username="bob").update(wants_mail=True, email="x@example.org")

    def told(error):
        def send(self, *_):
            raise error

        tell("loop.done", project, loop=4, rounds=2)
        monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", send)
        return lambda: Notification.objects.values_list("mail", "mail_attempts").get(user=people["bob"])

    return told


@pytest.fixture
def later(work):
    """later(timedelta(…)): a turn of a worker after so much time."""

    def turn(passed):
        Notification.objects.update(mail_after=F("mail_after") - passed)
        work()

    return turn


def test_a_mail_server_that_is_down_is_asked_again_later(bobs_mail, work, later, monkeypatch):
    state = bobs_mail(ConnectionRefusedError("nobody there"))
    work()
    work()  # it waits
    assert state() == ("due", 1)
    later(timedelta(seconds=11))
    assert state() == ("due", 2)
    later(timedelta(seconds=11))  # the second wait is longer
    assert state() == ("due", 2)
    monkeypatch.undo()
    later(timedelta(seconds=20))
    assert state() == ("sent", 3)
    assert len(mail.outbox) == 1
    assert set(Job.objects.filter(kind="events.mail").values_list("state", flat=True)) == {"succeeded"}


@pytest.mark.slow
def test_a_mail_is_given_up_after_ten_attempts(bobs_mail, work, later):
    state = bobs_mail(SMTPServerDisconnected("gone"))
    work()
    for _n in range(12):
        later(timedelta(days=1))
    assert state() == ("failed", 10)


@pytest.mark.parametrize(("code", "after"), [(450, ("due", 1)), (550, ("failed", 1))])
def test_a_refusal_is_final_where_the_server_says_so(bobs_mail, work, code, after):
    state = bobs_mail(SMTPRecipientsRefused({"x@example.org": (code, b"no")}))
    work()
    assert state() == after


def test_the_profile_asks_for_mail(people, client_for):
    sent = {"first_name": "", "last_name": "", "email": "b@example.org", "theme": "auto", "wants_mail": "on"}
    assert client_for(people["bob"]).post("/account/", sent).status_code == 302
    assert User.objects.get(username="bob").wants_mail
    del sent["wants_mail"]
    client_for(people["bob"]).post("/account/", sent)
    assert not User.objects.get(username="bob").wants_mail
