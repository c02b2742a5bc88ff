"""Asking for room under the quotas, counting what was used, and setting limits.

Whoever starts something asks here first, in the transaction that makes it. Where there is a limit, the row of the
project or person that has it is locked until that transaction ends, so of two who ask at the same time the second
counts what the first has made: never more is begun than the limit allows. A limit that is lowered ends nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.origin import origin_now
from apps.core.services import audit
from apps.projects.models import Project
from apps.quotas.counting import count_of, this_month
from apps.quotas.kinds import KINDS, Kind, check_names, kind_of, written
from apps.quotas.models import Quota, Used
from prefloop.types import PrefloopError

Owner = Project | User


class QuotaReached(PrefloopError):
    """There is no room under a quota; nothing was begun."""

    http_status = 429
    code = "quota_reached"

    def __init__(self, kind: Kind, *, owner: Owner, used: int, limit: int, wanted: int) -> None:
        self.kind = kind.name
        said = {
            "owner": owner.name if isinstance(owner, Project) else str(owner),
            "what": kind.label,
            "used": kind.shown(used),
            "limit": kind.shown(limit),
            "wanted": kind.shown(wanted),
        }
        if isinstance(owner, Project):
            text = _("The quota of the project %(owner)s leaves no room for this.") % said
        else:
            text = _("The quota of %(owner)s leaves no room for this.") % said
        if kind.shown(wanted) == kind.shown(0):  # how much it takes is not known yet
            counts = _("%(what)s: %(used)s of %(limit)s are used.") % said
        else:
            counts = _("%(what)s: %(used)s of %(limit)s are used, and this takes %(wanted)s.") % said
        super().__init__(f"{text} {counts} {_('An administrator can raise the limit.')}")


def limits_of(*, project_id: int | None = None, person_id: int | None = None) -> dict[tuple[str, str], int]:
    """Give the limits of a project and of a person by kind and whose they are ("project", "person"), in parts.

    What nobody set follows from the defaults in the environment; a kind that is missing here has no limit.
    """
    found: dict[tuple[str, str], Decimal] = {}
    if project_id is not None:
        found |= {(name, "project"): amount for name, amount in settings.PROJECT_QUOTAS.items()}
    if person_id is not None:
        found |= {(name, "person"): amount for name, amount in settings.PERSON_QUOTAS.items()}
    whose = Q(project=project_id) if person_id is None else Q(person=person_id)
    if project_id is not None and person_id is not None:
        whose |= Q(project=project_id)
    for kind, of_project, amount in Quota.objects.filter(whose).values_list("kind", "project", "amount"):
        found[kind, "project" if of_project else "person"] = amount
    return {(name, owner): KINDS[name].parts(amount) for (name, owner), amount in found.items() if name in KINDS}


def in_a_job() -> bool:
    """Whether this is part of a job's work: what has begun is not asked for jobs again."""
    return origin_now().by.startswith("job ")


def ask(*, project_id: int | None, person_id: int | None = None, **wanted: int) -> None:
    """Ask for room for so much of each quota, in parts, and count what is counted by the month.

    In the transaction that makes what is asked for. Raises QuotaReached, and has counted nothing then. What belongs to
    no project is nobody's share.
    """
    if not connection.in_atomic_block:
        raise AssertionError("a quota is asked in the transaction that makes what it counts")
    asked = {name: wanted[name] for name in KINDS if wanted.get(name, 0) > 0}
    if wanted.keys() - KINDS.keys():
        raise AssertionError(f"no quotas: {wanted.keys() - KINDS.keys()}")
    if project_id is None or not asked:
        return
    _check(project_id, person_id, asked)
    _add(project_id, person_id, this_month(), {name: n for name, n in asked.items() if KINDS[name].monthly})


def room(kind: str, *, project_id: int, person_id: int | None = None) -> int | None:
    """Give the parts of a quota that are left, None where it has no limit. Raises QuotaReached if none are."""
    limits = limits_of(project_id=project_id, person_id=person_id)
    if not {(kind, "project"), (kind, "person")} & limits.keys():
        return None
    _check(project_id, person_id, {kind: 1}, limits)
    how = count_of(kind)
    left = [
        limit - how.total(project_id=project_id, person_id=person_id if whose == "person" else None)
        for (name, whose), limit in limits.items()
        if name == kind
    ]
    return min(left)


def settle(*, project_id: int, person_id: int | None, month: dt.date, **taken: int) -> None:
    """Correct what was counted in a month, by what was really used; nothing is asked and nothing refused."""
    _add(project_id, person_id, month, {name: n for name, n in taken.items() if n})


def _check(
    project_id: int,
    person_id: int | None,
    asked: Mapping[str, int],
    limits: Mapping[tuple[str, str], int] | None = None,
) -> None:
    """Lock whoever has a limit, project before person, and compare. Raises QuotaReached."""
    limits = limits_of(project_id=project_id, person_id=person_id) if limits is None else limits
    for whose, model, pk in (("project", Project, project_id), ("person", User, person_id)):
        limited = [name for name in asked if (name, whose) in limits]
        if not limited or pk is None:
            continue
        if connection.in_atomic_block:
            # not FOR UPDATE: others go on making rows that name it
            owner: Owner = model._default_manager.select_for_update(no_key=True).get(pk=pk)
        else:
            owner = model._default_manager.get(pk=pk)
        for name in limited:
            only = {"project_id": project_id} if whose == "project" else {"person_id": person_id}
            used = count_of(name).total(**only)
            if used + asked[name] > limits[name, whose]:
                raise QuotaReached(KINDS[name], owner=owner, used=used, limit=limits[name, whose], wanted=asked[name])


def _add(project_id: int, person_id: int | None, month: dt.date, amounts: Mapping[str, int]) -> None:
    for name in KINDS:  # always in this order, so that two never wait for each other
        if not amounts.get(name):
            continue
        row = Used.objects.filter(kind=name, month=month, project=project_id, person=person_id)
        if not row.update(amount=F("amount") + amounts[name]):
            new = Used(kind=name, month=month, project_id=project_id, person_id=person_id)
            Used.objects.bulk_create([new], ignore_conflicts=True)  # another may have just made it
            row.update(amount=F("amount") + amounts[name])


def quotas_set(*, owner: Owner, limits: Mapping[str, Decimal | None], by: User | None) -> dict[str, Decimal | None]:
    """Set these limits of a project or a person, in the kinds' units; None: as by default. Returns what changed.

    Raises NoSuchQuota. What was begun before goes on, whatever the limit is now.
    """
    is_project = isinstance(owner, Project)
    check_names(dict.fromkeys(limits, Decimal(0)), of_people=not is_project)
    whose: dict[str, Any] = {"project": owner} if is_project else {"person": owner}
    with transaction.atomic():
        manager = Project.objects if is_project else User.objects
        manager.select_for_update(no_key=True).get(pk=owner.pk)  # of two changes the log has both
        before = dict(Quota.objects.filter(**whose).values_list("kind", "amount"))
        changed = {name: amount for name, amount in limits.items() if before.get(name) != amount}
        for name, amount in changed.items():
            if amount is None:
                Quota.objects.filter(kind=name, **whose).delete()
            else:
                Quota.objects.update_or_create(kind=kind_of(name).name, **whose, defaults={"amount": amount})
        if changed:
            audit(
                actor=by,
                verb="quota.set",
                target=f"project:{owner.slug}" if isinstance(owner, Project) else f"user:{owner.pk}",
                project=owner if isinstance(owner, Project) else None,
                data={name: "default" if amount is None else written(amount) for name, amount in changed.items()},
            )
    return changed
