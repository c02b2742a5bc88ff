from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from django.core.cache import cache
from django.utils import timezone

from apps.accounts.models import User
from apps.core.models import AuditEvent
from apps.projects import services
from apps.projects.models import Guideline, Invitation, Membership, Project, Role

pytestmark = pytest.mark.django_db
GOOD = "correct horse staple"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()


def _url(project, tail=""):
    return f"/p/{project.slug}/settings/{tail}"


def _token(url):
    return url.rstrip("/").rsplit("/", 1)[1]


# --- making one ------------------------------------------------------------------------------------------------------


def test_whoever_makes_a_project_owns_it(client_for, make_user):
    dora = make_user("dora", is_superuser=True)
    response = client_for(dora).post("/projects/new/", {"name": "Poems about Rain!", "criterion": "wetter"})
    assert response.headers["Location"] == "/p/poems-about-rain/"
    project = Project.objects.get()
    assert (project.name, project.criterion) == ("Poems about Rain!", "wetter")
    assert Membership.objects.get(project=project).role == "owner"


@pytest.mark.slow
@pytest.mark.parametrize("creators", ["admins", "everyone"])
def test_who_makes_projects_is_the_operators_choice(creators, client_for, make_user, alice, project, settings):
    settings.PROJECT_CREATORS = creators
    may = creators == "everyone"
    for number, person in enumerate((alice, make_user("dora"))):
        assert ("New project" in client_for(person).get("/").content.decode()) == may
        assert client_for(person).get("/projects/new/").status_code == (200 if may else 404)
        made = client_for(person).post("/projects/new/", {"name": f"Mine {number}"})
        assert made.status_code == (302 if may else 404)
    assert Project.objects.count() == (3 if may else 1)


def test_an_address_is_taken_once_and_said_so(client_for, make_user, project):
    response = client_for(make_user(is_superuser=True)).post("/projects/new/", {"name": "Letters test"})
    assert response.status_code == 400
    assert b"is taken: choose another name" in response.content


def test_a_name_without_letters_makes_no_address(client_for, make_user):
    assert client_for(make_user(is_superuser=True)).post("/projects/new/", {"name": "!!!"}).status_code == 400


@pytest.mark.parametrize("slug", ["../x", "A", "a--b", "-a", "a/b", "a b", "x" * 65, "%2e"])
def test_a_strange_address_is_refused(slug):
    with pytest.raises(services.ProjectRefused):
        services.project_create(name="x", slug=slug, owner=None)


def test_the_start_page_shows_ones_own_projects_with_their_numbers(
    client_for, ann, project, other_project, make_comparison, make_prompt
):
    make_comparison(project)
    make_prompt(project)
    page = client_for(ann).get("/").content.decode()
    assert "Thank-you letters" in page
    assert other_project.name not in page
    text = re.sub(r"<[^>]+>", "", page)
    assert "2 prompts" in text
    assert "1 comparison\n" in text
    assert "1 member\n" in text


def test_without_projects_the_start_page_says_the_next_step(client_for, make_user):
    page = client_for(make_user(is_superuser=True)).get("/").content
    assert b"No projects yet" in page
    assert b"/demo/chat/" in page
    page = client_for(make_user()).get("/").content
    assert b"for an invitation" in page
    assert b"/demo/chat/" not in page


@pytest.mark.slow
def test_the_first_page_makes_a_demo_once_and_only_for_who_may_make_projects(client_for, make_user):
    root, bob = make_user(is_superuser=True), make_user()
    assert client_for(bob).post("/demo/chat/").status_code == 404
    assert client_for(root).post("/demo/no-such/").status_code == 404
    assert not Project.objects.exists()
    assert client_for(root).post("/demo/chat/").headers["Location"] == "/p/chat/"
    project = Project.objects.get()
    assert (project.slug, project.world, project.label_judge) == ("chat", "chat", "rules")
    assert project.memberships.get().user == root
    assert [job.kind for job in project.jobs.all()] == ["demo.seed"]
    again = client_for(make_user(is_superuser=True)).post("/demo/chat/", follow=True).content.decode()
    assert "address “chat” already" in again
    assert project.memberships.count() == project.jobs.count() == 1
    page = client_for(root).get("/").content
    assert b"/demo/chat/" not in page
    assert b"/demo/letters/" in page


# --- who may change what ---------------------------------------------------------------------------------------------

CHANGES = [
    ("general/", {"name": "Changed", "criterion": "", "description": ""}, {"alice"}),
    ("labels/", {"votes_per_comparison": "3"}, {"alice"}),
    ("guidelines/", {"text": "Be kind."}, {"alice", "erin", "bob"}),
    ("invitations/", {"role": "annotator"}, {"alice"}),
    ("members/{ann}/role/", {"role": "lead"}, {"alice"}),
    ("members/{ann}/remove/", {}, {"alice", "ann"}),
    ("invitations/{invitation}/revoke/", {}, {"alice"}),
]


def _state():
    return (
        list(Project.objects.order_by("pk").values()),
        list(Membership.objects.order_by("pk").values()),
        list(Guideline.objects.values()),
        list(Invitation.objects.order_by("pk").values()),
        AuditEvent.objects.count(),
    )


@pytest.mark.parametrize("who", ["alice", "erin", "bob", "ann", "charlie"])
@pytest.mark.parametrize(("tail", "data", "may"), CHANGES, ids=[change[0] for change in CHANGES])
def test_a_change_is_made_by_those_who_may_and_audited_and_else_is_404(
    client_for, alice, erin, bob, ann, charlie, project, who, tail, data, may
):
    people = {"alice": alice, "erin": erin, "bob": bob, "ann": ann, "charlie": charlie}
    invitation, _ = services.invitation_create(project=project, role=Role.LEAD, actor=alice, now=timezone.now())
    membership = Membership.objects.get(user=ann)
    path = _url(project, tail.format(ann=membership.pk, invitation=invitation.pk))
    before = _state()
    response = client_for(people[who]).post(path, data)
    if who in may:
        assert response.status_code in {200, 302}
        assert AuditEvent.objects.filter(actor=people[who]).exists()
        assert _state() != before
    else:
        assert response.status_code == 404
        assert _state() == before


@pytest.mark.parametrize("tail", ["members/{pk}/role/", "members/{pk}/remove/"])
def test_a_member_of_another_project_cannot_be_reached_through_ones_own(client_for, alice, charlie, project, tail):
    pk = Membership.objects.get(user=charlie).pk
    assert client_for(alice).post(_url(project, tail.format(pk=pk)), {"role": "owner"}).status_code == 404
    assert Membership.objects.get(pk=pk).role == "owner"


def test_an_invitation_of_another_project_cannot_be_revoked_through_ones_own(
    client_for, alice, charlie, other_project, project
):
    row, _ = services.invitation_create(project=other_project, role=Role.LEAD, actor=charlie, now=timezone.now())
    assert client_for(alice).post(_url(project, f"invitations/{row.pk}/revoke/")).status_code == 404


@pytest.mark.slow
def test_an_annotator_sees_neither_members_nor_invitations(client_for, ann, bob, alice, project):
    services.invitation_create(project=project, role=Role.LEAD, actor=alice, now=timezone.now(), note="for Zoe")
    page = client_for(ann).get(_url(project, "?tab=members")).content.decode()
    assert "bob" not in page
    assert "for Zoe" not in page
    assert "for Zoe" not in client_for(bob).get(_url(project, "?tab=members")).content.decode()


def test_settings_cannot_be_mass_assigned(client_for, alice, project):
    client_for(alice).post(_url(project, "general/"), {"name": "N", "slug": "stolen", "world": "letters", "id": "99"})
    project.refresh_from_db()
    assert (project.name, project.slug, project.world) == ("N", "letters-test", "")


def test_a_tab_that_does_not_exist_is_404(client_for, alice, project):
    assert client_for(alice).get(_url(project, "?tab=nope")).status_code == 404


# --- members ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_last_owner_can_be_neither_demoted_nor_removed(client_for, alice, ann, project):
    pk = Membership.objects.get(user=alice).pk
    client = client_for(alice)
    for tail, data in ((f"members/{pk}/role/", {"role": "lead"}), (f"members/{pk}/remove/", {})):
        page = client.post(_url(project, tail), data, follow=True).content
        assert b"keeps at least one owner" in page
        assert Membership.objects.get(pk=pk).role == "owner"


def test_with_a_second_owner_the_first_may_go(alice, ann, project):
    services.member_add(project=project, user=ann, role=Role.OWNER, actor=alice)
    services.member_remove(membership=Membership.objects.get(user=alice), actor=alice)
    with pytest.raises(services.LastOwner):
        services.member_change_role(membership=Membership.objects.get(user=ann), role=Role.LEAD, actor=ann)


def test_a_role_that_does_not_exist_changes_nothing(client_for, alice, ann, project):
    pk = Membership.objects.get(user=ann).pk
    client_for(alice).post(_url(project, f"members/{pk}/role/"), {"role": "king"})
    assert Membership.objects.get(pk=pk).role == "annotator"


# --- invitations -----------------------------------------------------------------------------------------------------


def test_an_invitation_is_shown_once_and_only_its_hash_is_kept(client_for, alice, project):
    client = client_for(alice)
    page = client.post(_url(project, "invitations/"), {"role": "lead", "note": "Zoe"}).content.decode()
    url = re.search(r'id="invitation-url">([^<]+)<', page).group(1)
    assert _token(url) not in client.get(_url(project, "?tab=members")).content.decode()
    assert _token(url) not in str(Invitation.objects.get().__dict__)


def test_a_stranger_makes_an_account_and_is_in(client, alice, project):
    _, url = services.invitation_create(project=project, role=Role.LEAD, actor=alice, now=timezone.now())
    path = urlsplit(url).path
    assert b"Thank-you letters" in client.get(path).content
    response = client.post(path, {"username": "zoe", "password": GOOD, "role": "owner"})
    assert response.headers["Location"] == "/p/letters-test/"
    assert Membership.objects.get(user__username="zoe").role == "lead"
    assert client.get(_url(project)).status_code == 200
    client.post("/account/logout/")
    assert client.post(path, {"username": "zed", "password": GOOD}).status_code == 404
    assert not User.objects.filter(username="zed").exists()


def test_a_refused_account_leaves_the_invitation_open(client, alice, project):
    _, url = services.invitation_create(project=project, role=Role.LEAD, actor=alice, now=timezone.now())
    path = urlsplit(url).path
    for data in ({"username": "alice", "password": GOOD}, {"username": "zoe", "password": "short"}, {}):
        assert client.post(path, data).status_code == 400
    assert client.post(path, {"username": "zoe", "password": GOOD}).status_code == 302


def test_the_signed_in_person_joins_at_the_press_of_a_button(client_for, charlie, alice, project):
    _, url = services.invitation_create(project=project, role=Role.ANNOTATOR, actor=alice, now=timezone.now())
    client = client_for(charlie)
    client.get(urlsplit(url).path)
    assert not Membership.objects.filter(user=charlie, project=project).exists()
    client.post(urlsplit(url).path)
    assert Membership.objects.get(user=charlie, project=project).role == "annotator"


def test_an_invitation_never_lowers_a_role(alice, bob, project):
    _, url = services.invitation_create(project=project, role=Role.ANNOTATOR, actor=alice, now=NOW)
    assert services.invitation_accept(token=_token(url), user=bob, now=NOW).role == "lead"


def test_an_invitation_ends_after_a_week_when_used_and_when_revoked(alice, charlie, project):
    row, url = services.invitation_create(project=project, role=Role.ANNOTATOR, actor=alice, now=NOW)
    services.invitation_find(token=_token(url), now=NOW + timedelta(days=6))
    with pytest.raises(services.InvitationInvalid):
        services.invitation_find(token=_token(url), now=NOW + timedelta(days=8))
    services.invitation_revoke(invitation=row, actor=alice, now=NOW)
    with pytest.raises(services.InvitationInvalid):
        services.invitation_accept(token=_token(url), user=charlie, now=NOW)
    with pytest.raises(services.InvitationInvalid):
        services.invitation_revoke(invitation=row, actor=alice, now=NOW)


# --- guidelines and label policy -------------------------------------------------------------------------------------


def test_each_saving_makes_a_version_and_the_same_text_does_not(alice, project):
    assert services.guideline_add(project=project, text="one", actor=alice).version == 1
    assert services.guideline_add(project=project, text="two", actor=alice).version == 2
    assert services.guideline_add(project=project, text="two", actor=alice).version == 2
    with pytest.raises(services.ProjectRefused):
        services.guideline_add(project=project, text=" \n", actor=alice)
    assert [g.text for g in project.guidelines.order_by("version")] == ["one", "two"]


def test_guidelines_are_rendered_without_danger(client_for, ann, alice, project):
    services.guideline_add(project=project, text="**warm** <script>alert(1)</script>", actor=alice)
    page = client_for(ann).get(_url(project, "?tab=guidelines")).content
    assert b"<strong>warm</strong>" in page
    assert b"<script>alert" not in page


@pytest.mark.parametrize("n", ["0", "26", "-1", "x", ""])
def test_an_impossible_number_of_votes_is_refused(client_for, alice, project, n):
    response = client_for(alice).post(_url(project, "labels/"), {"votes_per_comparison": n})
    assert response.status_code == 400
    project.refresh_from_db()
    assert project.votes_per_comparison == 1


@pytest.mark.slow
def test_annotators_lose_the_review_page_where_they_may_not_override(client_for, alice, ann, project):
    assert b'/review/"' in client_for(ann).get(_url(project)).content
    client_for(alice).post(_url(project, "labels/"), {"votes_per_comparison": "2"})
    assert b'/review/"' not in client_for(ann).get(_url(project)).content
    assert b'/review/"' in client_for(alice).get(_url(project)).content


@pytest.mark.parametrize("how", ["removed", "demoted"])
def test_an_invitation_ends_with_its_makers_right_to_give_it(how, project, alice, member, make_user):
    other = member("olga", "owner")
    _row, url = services.invitation_create(project=project, role=Role.OWNER, actor=other, now=timezone.now())
    membership = Membership.objects.get(project=project, user=other)
    if how == "removed":
        services.member_remove(membership=membership, actor=alice)
    else:
        services.member_change_role(membership=membership, role=Role.LEAD, actor=alice)
    for person in (other, make_user("dora")):
        with pytest.raises(services.InvitationInvalid):
            services.invitation_accept(token=_token(url), user=person, now=timezone.now())
    assert not Membership.objects.filter(project=project, user=other, role="owner").exists()
