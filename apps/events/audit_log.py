"""Reading the audit log: of a project for its owners, of the installation for its operators."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import Http404
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.acts import ACTS, VERBS_OF
from apps.core.models import AuditEvent
from apps.projects.access import is_operator, project_for
from apps.projects.models import Project, Role

_PERSON = "user:"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: of one person, of one area (apps/core/acts.py), of these days; None or "" for all."""

    person: int | None = None
    area: str = ""
    since: dt.date | None = None
    until: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as the page shows it, with the names that its people have now."""

    row: AuditEvent
    who: str
    did: str
    target: str
    data: str


def project_for_audit(user: User | AnonymousUser, slug: str) -> Project:
    return project_for(user, slug, Role.OWNER)


def operators_only(user: User | AnonymousUser) -> None:
    """Let through who runs the installation; Http404 otherwise."""
    if not is_operator(user):
        raise Http404("no such page")


def entries_of(project: Project | None) -> QuerySet[AuditEvent]:
    """Give the entries of a project, or of the whole installation, newest first.

    A project that had the same address before is another one: its entries are older than this project.
    """
    rows = AuditEvent.objects.select_related("actor").order_by("-id")
    if project is None:
        return rows
    return rows.filter(project_slug=project.slug, created_at__gte=project.created_at)


def entries_wanted(rows: QuerySet[AuditEvent], wanted: Wanted) -> QuerySet[AuditEvent]:
    if wanted.person is not None:
        rows = rows.filter(actor_id=wanted.person)
    if wanted.area:
        rows = rows.filter(verb__in=VERBS_OF[wanted.area])
    if wanted.since:
        rows = rows.filter(created_at__gte=_midnight(wanted.since))
    if wanted.until:
        rows = rows.filter(created_at__lt=_midnight(wanted.until) + dt.timedelta(days=1))
    return rows


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def people_in(rows: QuerySet[AuditEvent]) -> list[User]:
    """Give everybody who did something in these entries, by name."""
    ids = rows.order_by().filter(actor__isnull=False).values_list("actor_id", flat=True).distinct()
    return sorted(User.objects.filter(pk__in=ids), key=str)


def lines_of(rows: Iterable[AuditEvent]) -> list[Line]:
    rows = list(rows)
    ids = {int(row.target.removeprefix(_PERSON)) for row in rows if _names_a_person(row)}
    names = {user.pk: str(user) for user in User.objects.filter(pk__in=ids)}
    lines = []
    for row in rows:
        target = row.target
        if _names_a_person(row):
            target = names.get(int(target.removeprefix(_PERSON)), target)
        words = str(ACTS.get(row.verb, row.verb))
        did = words % {"target": target} if "%(" in words else words
        data = ", ".join(f"{key}: {_shown(value)}" for key, value in row.data.items() if value not in ("", None, []))
        lines.append(Line(row, str(row.actor) if row.actor else _("The system"), did, target, data))
    return lines


def _names_a_person(row: AuditEvent) -> bool:
    return row.target.startswith(_PERSON) and row.target.removeprefix(_PERSON).isdecimal()


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
