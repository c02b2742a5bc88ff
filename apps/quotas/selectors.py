"""What is used and what is allowed, for pages and programs. Statements: a few for each kind, however much was used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from django.conf import settings
from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.projects.models import Project
from apps.quotas.counting import count_of
from apps.quotas.kinds import KINDS, Kind
from apps.quotas.models import Quota

Owner = TypeVar("Owner", Project, User)


@dataclass(frozen=True, slots=True)
class Line:
    """A quota of a project or a person: what is used of it, and the limit, None where there is none, both in parts."""

    kind: Kind
    used: int
    limit: int | None = None
    is_default: bool = False  # nobody set the limit for this one
    people: tuple[tuple[str, str], ...] = field(default=())  # who used how much, in words, the most first

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def label(self) -> str | Promise:
        return self.kind.label

    @property
    def shown(self) -> str:
        """Write what is used and what is allowed: "9,900 of 10,000"."""
        used = self.kind.shown(self.used)
        return used if self.limit is None else _("%(used)s of %(limit)s") % {"used": used, "limit": self.limit_shown}

    @property
    def limit_shown(self) -> str:
        return "" if self.limit is None else self.kind.shown(self.limit)

    @property
    def is_reached(self) -> bool:
        return self.limit is not None and self.used >= self.limit

    @property
    def used_in_units(self) -> Decimal:
        return Decimal(self.used) / self.kind.scale

    @property
    def limit_in_units(self) -> Decimal | None:
        return None if self.limit is None else Decimal(self.limit) / self.kind.scale


def _line(kind: Kind, used: int, set_: Mapping[str, Decimal], defaults: Mapping[str, Decimal]) -> Line:
    amount = set_.get(kind.name, defaults.get(kind.name))
    limit = None if amount is None else kind.parts(amount)
    return Line(kind, used, limit, is_default=limit is not None and kind.name not in set_)


def limits_set(owner: Project | User) -> dict[str, Decimal]:
    """Give the limits that somebody set for a project or a person, in the kinds' units."""
    rows = Quota.objects.filter(project=owner) if isinstance(owner, Project) else Quota.objects.filter(person=owner)
    return dict(rows.values_list("kind", "amount"))


def lines_of_project(project: Project) -> list[Line]:
    """List every quota of a project, with who used how much of it."""
    set_ = limits_set(project)
    shares = {name: count_of(name).by_person(project_id=project.pk) for name in KINDS}
    ids = {pk for share in shares.values() for pk in share if pk is not None}
    names = {user.pk: str(user) for user in User.objects.filter(pk__in=ids)}
    found = []
    for name, kind in KINDS.items():
        share = shares[name]
        used = sum(share.values()) if kind.of_people else count_of(name).total(project_id=project.pk)
        most = sorted(((n, names.get(pk or 0, "")) for pk, n in share.items() if n), key=lambda one: (-one[0], one[1]))
        people = tuple((who or _("Nobody in particular"), kind.shown(n)) for n, who in most)
        line = _line(kind, used, set_, settings.PROJECT_QUOTAS)
        found.append(Line(line.kind, line.used, line.limit, line.is_default, people))
    return found


def lines_of_person(person: User) -> list[Line]:
    """List every quota of a person, in all projects together."""
    set_ = limits_set(person)
    return [
        _line(kind, count_of(name).by_person(people=[person.pk]).get(person.pk, 0), set_, settings.PERSON_QUOTAS)
        for name, kind in KINDS.items()
        if kind.of_people
    ]


def projects_to_list() -> QuerySet[Project]:
    return Project.objects.order_by("slug")


def people_to_list() -> QuerySet[User]:
    return User.objects.filter(deleted_at=None).order_by("username")


def lines_of_projects(projects: Sequence[Project]) -> list[tuple[Project, list[Line]]]:
    """List the quotas of several projects, by a statement for each kind."""
    rows = Quota.objects.filter(project__in=projects).values_list("project", "kind", "amount")
    return _of_several(
        projects,
        rows,
        settings.PROJECT_QUOTAS,
        list(KINDS.values()),
        lambda name: count_of(name).by_project(projects),
    )


def lines_of_people(people: Sequence[User]) -> list[tuple[User, list[Line]]]:
    """List the quotas of several people, by a statement for each kind."""
    rows = Quota.objects.filter(person__in=people).values_list("person", "kind", "amount")
    ids = [person.pk for person in people]
    return _of_several(
        people,
        rows,
        settings.PERSON_QUOTAS,
        [kind for kind in KINDS.values() if kind.of_people],
        lambda name: count_of(name).by_person(people=ids),
    )


def _of_several(
    owners: Sequence[Owner],
    rows: Iterable[tuple[int, str, Decimal]],
    defaults: Mapping[str, Decimal],
    kinds: Sequence[Kind],
    used: Callable[[str], Mapping[int, int] | Mapping[int | None, int]],
) -> list[tuple[Owner, list[Line]]]:
    set_: dict[int, dict[str, Decimal]] = {owner.pk: {} for owner in owners}
    for pk, name, amount in rows:
        set_[pk][name] = amount
    counts = {kind.name: dict(used(kind.name)) for kind in kinds}
    return [
        (owner, [_line(kind, counts[kind.name].get(owner.pk, 0), set_[owner.pk], defaults) for kind in kinds])
        for owner in owners
    ]
