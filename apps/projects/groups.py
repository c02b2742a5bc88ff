"""Groups of a project's members, so that work can be given to all of them: made, filled and deleted by leads."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import IntegrityError, transaction

from apps.accounts.models import User
from apps.core.listeners import Listeners
from apps.core.services import audit
from apps.projects.models import MemberGroup, Membership, Project
from prefloop.types import PrefloopError

MOST = 100  # groups of a project
GROUPS_CHANGED: Listeners[[Project]] = Listeners()  # who is in one, or which there are


class BadGroup(PrefloopError):
    """A group that can't be made or changed as asked."""


def group_create(*, project: Project, name: str, members: Collection[User], by: User) -> MemberGroup:
    """Make a group of members of the project. Raises BadGroup."""
    name = _name(name)
    _check_members(project, members)
    if project.groups.filter(deleted_at=None).count() >= MOST:
        raise BadGroup(f"a project has at most {MOST} groups: delete one first")
    with _named_once(name):
        made = MemberGroup.objects.create(project=project, name=name, by=by)
        made.members.set(members)
        _audit(made, by, "group.create", {"name": name, "members": _ids(members)})
    return made


def group_change(*, group: MemberGroup, name: str, members: Collection[User], by: User) -> None:
    """Give a group another name, other members, or both. Seats that are held stay. Raises BadGroup."""
    name = _name(name)
    _check_members(group.project, members)
    with _named_once(name):
        there = MemberGroup.objects.select_for_update().get(pk=group.pk)
        if there.deleted_at is not None:
            raise BadGroup("the group is deleted")
        before = set(there.members.all())
        added, removed = set(members) - before, before - set(members)
        if there.name == name and not added and not removed:
            return
        data: dict[str, object] = {"name": name, "was": there.name, "added": _ids(added), "removed": _ids(removed)}
        group.name = there.name = name
        there.save(update_fields=["name"])
        there.members.set(members)
        _audit(group, by, "group.change", data)
        GROUPS_CHANGED.tell(group.project)


def group_delete(*, group: MemberGroup, by: User, now: datetime) -> None:
    """Delete a group: nobody can choose it any more. Batches that are for it stay with whoever is in it now."""
    with transaction.atomic():
        if MemberGroup.objects.filter(pk=group.pk, deleted_at=None).update(deleted_at=now):
            _audit(group, by, "group.delete", {"name": group.name, "members": _ids(group.members.all())})


def groups_leave(*, project: Project, user_id: int) -> None:
    """Take somebody who leaves the project out of its groups, in the transaction in which they leave."""
    rows = MemberGroup.members.through.objects.filter(membergroup__project=project, user_id=user_id)
    if rows.delete()[0]:
        GROUPS_CHANGED.tell(project)


@contextmanager
def _named_once(name: str) -> Iterator[None]:
    """Work in a transaction, and say so where another group has the name."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        raise BadGroup(f"there is a group {name!r} already") from None


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not name or not name.isprintable():
        raise BadGroup("a group needs a name")
    if len(name) > MemberGroup.LONGEST_NAME:
        raise BadGroup(f"a group's name has at most {MemberGroup.LONGEST_NAME} characters")
    return name


def _check_members(project: Project, members: Collection[User]) -> None:
    known = set(Membership.objects.filter(project=project).values_list("user_id", flat=True))
    strangers = sorted(user.username for user in members if user.pk not in known)
    if strangers:
        raise BadGroup(f"{strangers[0]} is no member of the project")


def _ids(members: Collection[User]) -> list[int]:
    return sorted(user.pk for user in members)


def _audit(group: MemberGroup, by: User, verb: str, data: dict[str, object]) -> None:
    audit(actor=by, verb=verb, target=f"group:{group.pk}", project=group.project, data=data)
