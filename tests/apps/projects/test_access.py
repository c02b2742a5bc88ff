"""Alice (owner), Erin (engineer), Bob (lead), Ann (annotator), Charlie (of another project), a stranger."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import Http404

from apps.accounts.models import User
from apps.projects import access
from apps.projects.models import Role

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(alice, bob, erin, ann, charlie):
    return {"alice": alice, "bob": bob, "erin": erin, "ann": ann, "charlie": charlie, "anon": AnonymousUser()}


@pytest.mark.parametrize(
    ("wanted", "may"),
    [
        (Role.ANNOTATOR, {"alice", "erin", "bob", "ann"}),
        (Role.LEAD, {"alice", "erin", "bob"}),
        (Role.ENGINEER, {"alice", "erin"}),
        (Role.OWNER, {"alice"}),
    ],
)
def test_each_role_includes_the_ones_before_it(cast, project, wanted, may):
    for name, user in cast.items():
        assert access.has_role(user, project, wanted) == (name in may), name
        if name in may:
            assert access.project_for(user, project.slug, wanted) == project
        else:
            with pytest.raises(Http404):
                access.project_for(user, project.slug, wanted)


def test_absent_and_forbidden_look_the_same(charlie, project):
    with pytest.raises(Http404) as forbidden:
        access.project_for(charlie, project.slug)
    with pytest.raises(Http404) as absent:
        access.project_for(charlie, "no-such-project")
    assert str(forbidden.value) == str(absent.value)


def test_an_inactive_person_has_nothing(alice, project):
    User.objects.filter(pk=alice.pk).update(is_active=False)
    alice.refresh_from_db()
    assert access.role_of(alice, project) is None
    assert not access.projects_for(alice).exists()
    with pytest.raises(Http404):
        access.project_for(alice, project.slug)


def test_a_superuser_is_no_member_of_anything(make_user, project):
    root = make_user("root", is_superuser=True, is_staff=True)
    with pytest.raises(Http404):
        access.project_for(root, project.slug)


def test_a_list_of_projects_holds_ones_own(cast, project, other_project):
    assert set(access.projects_for(cast["ann"])) == {project}
    assert set(access.projects_for(cast["charlie"])) == {other_project}
    assert set(access.projects_for(cast["anon"])) == set()
