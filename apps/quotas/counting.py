"""How much of each quota is used: told by the app that owns the rows, counted by one statement over an index.

What is there now is counted from the rows themselves, so that nothing can differ from them; what was used in a month
lies in counters (`Used`), a row for each person in a project, whose number does not grow with what they did.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Aggregate, QuerySet, Sum
from django.utils import timezone

from apps.projects.models import Project
from apps.quotas.kinds import KINDS
from apps.quotas.models import Used


@dataclass(frozen=True, slots=True)
class Rows:
    """Counted from rows that have a `project`; `person` names the column of whoever is behind them, "" for nobody."""

    rows: Callable[[], QuerySet[Any]]
    amount: Aggregate
    person: str = ""

    def total(self, *, project_id: int | None = None, person_id: int | None = None) -> int:
        """Count what is used in a project, or by a person in all projects."""
        wanted = {"project": project_id} if person_id is None else {self.person: person_id}
        found: int | None = self.rows().filter(**wanted).aggregate(n=self.amount)["n"]
        return found or 0

    def by_project(self, projects: Iterable[Project]) -> dict[int, int]:
        rows = self.rows().filter(project__in=[project.pk for project in projects]).order_by()
        return {pk: n or 0 for pk, n in rows.values_list("project").annotate(n=self.amount)}

    def by_person(self, *, project_id: int | None = None, people: Iterable[int] = ()) -> dict[int | None, int]:
        """Count for each person: in this project, else for these people in all projects."""
        if not self.person:
            return {}
        wanted = {f"{self.person}__in": list(people)} if project_id is None else {"project": project_id}
        rows = self.rows().filter(**wanted).order_by()
        return {pk: n or 0 for pk, n in rows.values_list(self.person).annotate(n=self.amount)}


@dataclass(frozen=True, slots=True)
class Files:
    """Counted from what lies on the disk for a project; nobody in particular is behind it."""

    count: Callable[[Project], int]

    def total(self, *, project_id: int | None = None, person_id: int | None = None) -> int:
        return self.count(Project.objects.get(pk=project_id or 0))

    def by_project(self, projects: Iterable[Project]) -> dict[int, int]:
        return {project.pk: self.count(project) for project in projects}

    def by_person(self, *, project_id: int | None = None, people: Iterable[int] = ()) -> dict[int | None, int]:
        return {}


Counted = Rows | Files
_TOLD: dict[str, Counted] = {}


def this_month() -> dt.date:
    return timezone.now().astimezone(dt.UTC).date().replace(day=1)


def _monthly(name: str) -> Rows:
    return Rows(lambda: Used.objects.filter(kind=name, month=this_month()), Sum("amount"), "person")


def counted(name: str, how: Counted) -> None:
    """Say how a quota is counted; called in `AppConfig.ready()` of the app that owns what is counted."""
    if name not in KINDS or KINDS[name].monthly:
        raise AssertionError(f"{name!r} is no quota of what is there now (apps/quotas/kinds.py)")
    _TOLD[name] = how


def count_of(name: str) -> Counted:
    return _monthly(name) if KINDS[name].monthly else _TOLD[name]
