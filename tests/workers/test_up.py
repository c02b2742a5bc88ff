"""`manage.py up` and the projects that were made before anybody was there to own them."""

from __future__ import annotations

import io

import pytest

from apps.accounts.services import user_create
from apps.projects.access import role_of
from apps.projects.models import Role
from apps.projects.services import member_add, project_create
from workers.management.commands.up import Command

pytestmark = pytest.mark.django_db


def test_admin_gets_the_projects_that_nobody_owns_and_no_others():
    admin, other = user_create(username="admin"), user_create(username="other")
    orphan = project_create(name="mine", owner=None)
    led = project_create(name="led", owner=None)
    member_add(project=led, user=other, role=Role.LEAD, actor=None)
    owned = project_create(name="theirs", owner=other)
    command = Command(stdout=io.StringIO())
    command.began = 0.0

    command._adopt(admin)
    command._adopt(admin)

    assert [role_of(admin, project) for project in (orphan, led, owned)] == [Role.OWNER, Role.OWNER, None]
    assert role_of(other, led) is Role.LEAD
