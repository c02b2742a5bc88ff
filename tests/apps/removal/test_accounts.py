"""Deleting an account: who may, what goes at once and what in projects, and what an only owner is told."""

from __future__ import annotations

import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.accounts.models import LoginLink, OpenSession, User
from apps.accounts.services import login_link_create
from apps.core.audit_chain import chain_check, entries_seal
from apps.core.models import AuditEvent
from apps.events.models import Event, Notification
from apps.jobs.drain import drain
from apps.jobs.models import Job
from apps.jobs.services import job_cancel
from apps.labels.models import Override, PairFlag, Verdict, Vote
from apps.projects.models import Invitation, Membership, Role
from apps.projects.services import invitation_accept, invitation_create, member_add
from apps.rankings.services.counts import differences
from apps.removal.accounts import AccountKept, account_delete, accounts_go_on
from apps.samples.models import Completion, Exposure
from apps.training.models import Loop
from tests.canary import CANARY, left_in_tables

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.postgresql]
GOOD = "correct horse staple"
OWN = "/account/delete/"


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.STORE_DIR = tmp_path / "store"


@pytest.fixture
def later(monkeypatch):
    """later(600): let so many seconds pass, for the clock that allauth reads."""
    real, passed = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + passed[0])
    return lambda seconds: passed.__setitem__(0, passed[0] + seconds)


@pytest.fixture
def dora(make_user, project, other_project, alice, charlie, make_comparison, make_verdict, make_judge, make_vote):
    """Somebody with something in every place where an account can have something; her name is the canary."""
    user: Any = make_user(
        CANARY, password=GOOD, first_name=CANARY, last_name=CANARY, email=f"{CANARY}@example.org", is_superuser=True
    )
    now = timezone.now()
    _, address = invitation_create(project=project, role=Role.LEAD, actor=alice, now=now, note=CANARY)
    invitation_accept(token=address.rstrip("/").rpartition("/")[2], user=user, now=now)
    member_add(project=other_project, user=user, role=Role.OWNER, actor=charlie)
    invitation_create(project=other_project, role=Role.ANNOTATOR, actor=user, now=now, note="for a friend")
    for one, member in ((project, alice), (other_project, charlie)):
        pair, untouched = make_comparison(one), make_comparison(one)
        verdict = make_verdict(pair, "second", judge=make_judge(one, "rm"))
        make_vote(pair, "first", user=user)
        make_vote(untouched, "first", user=member)
        Override.objects.create(
            comparison=pair, judge=verdict.judge, user=user, rater=CANARY, kind="override", choice="tie"
        )
        PairFlag.objects.create(comparison=pair, user=user, rater=CANARY, reason="broken")
        Exposure.objects.create(comparison=untouched, user=user)
        event = Event.objects.create(project=one, kind="vote", data={"rater": CANARY}, spread_at=now)
        Notification.objects.create(user=user, event=event)
        Completion.objects.create(
            project=one, prompt=pair.prompt, index=7, text="edited", parent=pair.first, editor=CANARY
        )
    job = Job.objects.create(project=project, kind="x", queue="cpu", title="x")
    job_cancel(job=job, by=user)
    EmailAddress.objects.create(user=user, email=user.email, verified=True)
    SocialAccount.objects.create(user=user, provider="sso", uid=CANARY, extra_data={"name": CANARY})
    login_link_create(user=user, now=now)
    return user


def everything_ends():
    for _ in range(4):
        accounts_go_on(timezone.now())
        drain(["cpu"], worker_name="w")


def sign_in(client, user):
    assert client.post("/login/", {"username": user.username, "password": GOOD}).status_code == 302
    return client


@pytest.mark.parametrize("labels", ["pseudonym", "delete"])
def test_a_person_deletes_their_account_and_nothing_says_who_they_were(
    dora, project, other_project, client_for, api_for, later, labels
):
    everywhere = ("accounts.User", "jobs.JobEvent", "events.Event", "labels.Vote", "projects.Invitation")
    assert {one.rpartition(".")[2] for one in everywhere} <= {one.rpartition(".")[2] for one in left_in_tables()}
    browser, api = sign_in(client_for(None), dora), api_for(dora)
    shown = browser.get(OWN)
    assert [(one.project, one.n_labels) for one in shown.context["traces"]] == [(project, 2), (other_project, 2)]
    assert browser.post(OWN, {"username": "dora", "labels": labels}).status_code == 400
    assert api.get("/api/v1/projects/").status_code == 200
    later(600)
    asked = browser.post(OWN, {"username": CANARY, "labels": labels})
    assert asked.headers["Location"].startswith("/account/confirm/?next="), "who it is is asked again"
    assert User.objects.get(pk=dora.pk).deleted_at is None
    assert browser.post(f"/account/confirm/?next={OWN}", {"password": "not that one"}).status_code == 200
    assert User.objects.get(pk=dora.pk).deleted_at is None
    done = browser.post(f"/account/confirm/?next={OWN}", {"password": GOOD})
    assert done.headers["Location"] == "/login/"

    gone = User.objects.get(pk=dora.pk)
    assert (gone.is_active, gone.is_superuser, gone.email, gone.get_full_name()) == (False, False, "", "")
    assert api.get("/api/v1/projects/").status_code == 401
    assert browser.get("/account/").headers["Location"].startswith("/login/")
    assert client_for(None).post("/login/", {"username": CANARY, "password": GOOD}).status_code == 400
    for model in (Membership, OpenSession, LoginLink, Authenticator, EmailAddress, SocialAccount, Notification):
        assert not model.objects.filter(user=gone).exists(), model
    assert not Invitation.objects.filter(created_by=gone).exists()

    everything_ends()
    assert User.objects.get(pk=dora.pk).leaving is None
    assert left_in_tables() == []
    assert not Exposure.objects.filter(user=gone).exists()
    assert (differences(project), differences(other_project)) == ({}, {})
    said = Vote.objects.filter(user=None).order_by("comparison__project").values_list("comparison__project", "rater")
    if labels == "delete":
        assert (list(said), Vote.objects.count(), Completion.objects.filter(text="edited").count()) == ([], 2, 0)
    else:
        assert [one for one, _ in said] == [project.pk, other_project.pk]
        assert len({name for _, name in said}) == 2, "nobody can tell that they are one person"
        assert all(name.startswith("person-") for _, name in said)
    entries_seal(timezone.now())
    checked = chain_check()
    assert (checked.problems, checked.n_waiting) == ([], 0)
    assert AuditEvent.objects.get(verb="user.delete").actor == gone
    assert AuditEvent.objects.filter(verb="user.gone").count() == 1


def test_the_only_owner_of_a_project_names_another_first(dora, other_project, charlie, client_for, api_for, later):
    Membership.objects.filter(user=charlie).delete()
    browser = sign_in(client_for(None), dora)
    api = api_for(dora)
    answer = browser.post(OWN, {"username": CANARY, "labels": "pseudonym"})
    assert answer.status_code == 400
    assert b"only owner of Elsewhere" in answer.content
    assert Membership.objects.filter(user=dora).count() == 2, "nothing has happened"
    assert api.get("/api/v1/projects/").status_code == 200
    member_add(project=other_project, user=charlie, role=Role.OWNER, actor=dora)
    assert browser.post(OWN, {"username": CANARY, "labels": "pseudonym"}).headers["Location"] == "/login/"


def test_labels_are_deleted_when_the_project_is_at_rest_and_renamed_at_once(
    dora, project, other_project, bob, make_vote
):
    Loop.objects.create(project=project, recipe="dpo", config={}, n_rounds=1, state="paused")
    make_vote(Verdict.objects.filter(comparison__project=project).get().comparison, "first", user=bob)
    account_delete(user=dora, labels="delete", by=None, now=timezone.now())
    account_delete(user=bob, labels="pseudonym", by=None, now=timezone.now())
    everything_ends()
    assert set(Vote.objects.filter(user=dora).values_list("comparison__project", flat=True)) == {project.pk}
    assert not Vote.objects.filter(rater="bob").exists()
    assert User.objects.get(pk=bob.pk).leaving is None
    assert len(User.objects.get(pk=dora.pk).leaving["rest"]) == 1
    Loop.objects.update(state="done")
    everything_ends()
    assert not Vote.objects.filter(user=dora).exists()
    assert left_in_tables() == []
    with pytest.raises(AccountKept, match="already"):
        account_delete(user=dora, labels="delete", by=None, now=timezone.now())


def test_an_admin_deletes_accounts_on_a_page_and_by_command(dora, alice, bob, ann, client_for, later):
    page = f"/people/{ann.pk}/delete/"
    assert client_for(alice).get(page).status_code == 404
    admin = sign_in(client_for(None), dora)
    assert page.encode() in admin.get(f"/quotas/people/{ann.pk}/").content
    assert admin.post(page, {"username": "alice", "labels": "delete"}).status_code == 400
    assert admin.post(page, {"username": "ann", "labels": "delete"}).headers["Location"] == "/quotas/"
    assert AuditEvent.objects.get(verb="user.delete").actor == dora
    assert admin.get(page).status_code == 404
    with pytest.raises(CommandError, match="only owner"):
        call_command("delete_account", "alice", "--labels", "pseudonym")
    with pytest.raises(CommandError, match="no user 'ann'"):
        call_command("delete_account", "ann", "--labels", "pseudonym")
    call_command("delete_account", "bob", "--labels", "pseudonym", stdout=StringIO())
    assert set(User.objects.exclude(deleted_at=None).values_list("pk", flat=True)) == {ann.pk, bob.pk}
    assert (
        AuditEvent.objects.filter(verb="user.delete", created_at__gt=timezone.now() - timedelta(hours=1)).count() == 2
    )
