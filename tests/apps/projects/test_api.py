"""Members and invitations by the API: owners change them, leads see who is there."""

from __future__ import annotations

import pytest

from apps.core.models import AuditEvent
from apps.projects.models import Membership
from apps.projects.services import invitation_find

pytestmark = pytest.mark.django_db
AT = "/api/v1/projects/letters-test/"


def test_members_are_listed_given_roles_and_removed(project, alice, bob, ann, api_for):
    seen = api_for(bob).get(f"{AT}members/").json()
    assert {row["username"]: row["role"] for row in seen} == {"alice": "owner", "bob": "lead", "ann": "annotator"}
    ids = {row["username"]: row["id"] for row in seen}
    owner = api_for(alice)
    changed = owner.patch(f"{AT}members/{ids['ann']}/", {"role": "engineer"}, format="json")
    assert (changed.status_code, changed.json()["role"]) == (200, "engineer")
    assert owner.delete(f"{AT}members/{ids['ann']}/").status_code == 204
    assert not Membership.objects.filter(user=ann).exists()
    for refused in (
        owner.delete(f"{AT}members/{ids['alice']}/"),
        owner.patch(f"{AT}members/{ids['alice']}/", {"role": "lead"}, format="json"),
    ):
        assert refused.status_code == 400
        assert "owner" in refused.json()["detail"]
    assert owner.patch(f"{AT}members/{ids['bob']}/", {"role": "king"}, format="json").status_code == 400
    assert list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))[-2:] == [
        "member.role_change",
        "member.remove",
    ]


def test_an_invitation_shows_its_link_once_and_is_revoked(project, alice, api_for):
    from django.utils import timezone

    owner = api_for(alice)
    made = owner.post(f"{AT}invitations/", {"role": "lead", "note": "for Dora"}, format="json")
    assert made.status_code == 201
    token = made.json()["url"].rstrip("/").rpartition("/")[2]
    assert invitation_find(token=token, now=timezone.now()).pk == made.json()["id"]
    (listed,) = owner.get(f"{AT}invitations/").json()
    assert (listed["note"], "url" in listed) == ("for Dora", False)
    assert owner.delete(f"{AT}invitations/{listed['id']}/").status_code == 204
    assert owner.delete(f"{AT}invitations/{listed['id']}/").status_code in (400, 404, 409)
    assert owner.get(f"{AT}invitations/").json() == []


@pytest.mark.slow
def test_nobody_but_owners_changes_who_belongs(project, alice, bob, erin, ann, charlie, api_for):
    member = Membership.objects.get(user=ann)
    another = Membership.objects.get(user=alice)
    for person in (bob, erin, ann, charlie):
        client = api_for(person)
        assert client.patch(f"{AT}members/{member.pk}/", {"role": "owner"}, format="json").status_code == 404
        assert client.delete(f"{AT}members/{(another if person == ann else member).pk}/").status_code == 404
        assert client.post(f"{AT}invitations/", {"role": "owner"}, format="json").status_code == 404
        assert client.get(f"{AT}invitations/").status_code == 404
    elsewhere = Membership.objects.get(user=charlie)
    assert api_for(alice).delete(f"{AT}members/{elsewhere.pk}/").status_code == 404
    for person in (ann, charlie):
        assert api_for(person).get(f"{AT}members/").status_code == 404
    assert Membership.objects.count() == 5
    assert api_for(ann).delete(f"{AT}members/{member.pk}/").status_code == 204  # anybody may leave
    assert not Membership.objects.filter(user=ann).exists()
