"""A project's budget of labels: what is used, what is left, what it costs, and when it will be used up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from apps.accounts.models import User
from apps.labels.ratings import standing_ratings
from apps.labels.selectors import standing_votes
from apps.projects.models import Membership, Project
from apps.rankings.models import Place
from prefloop.types import SKIPPED

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Worker:
    """A member, with the labels they gave, what these cost, and why they are paused ("": they are not)."""

    user: User
    n_labels: int
    cost: Decimal | None
    pause: str


@dataclass(frozen=True, slots=True)
class Budget:
    n_used: int
    n_left: int | None  # None: there is no budget
    n_day: int  # labels of the last 24 hours
    ends_at: datetime | None  # at that pace; None: not known, or used up
    cost: Decimal | None
    cost_left: Decimal | None
    workers: tuple[Worker, ...]


def budget_of(project: Project, *, now: datetime) -> Budget:
    """Read the budget of a project, and each member's part of it. Skips are no labels; imported votes cost nothing."""
    places = {row.user_id: row for row in Place.objects.filter(project=project)}
    nowhere = Place(project=project)
    price = project.label_price
    n_used = places.get(None, nowhere).n_labels
    left = None if project.label_budget is None else max(0, project.label_budget - n_used)
    here = standing_votes(None).filter(comparison__project=project, user__isnull=False, created_at__gte=now - DAY)
    rated = standing_ratings(project).filter(user__isnull=False, created_at__gte=now - DAY)
    n_day = sum(rows.exclude(choice=SKIPPED).count() for rows in (here.filter(ranking__rating=None), rated))
    members = Membership.objects.filter(project=project).select_related("user").order_by("user__username")
    workers = []
    for member in members:
        place = places.get(member.user_id, nowhere)
        cost = None if price is None else price * place.n_labels
        workers.append(Worker(member.user, place.n_labels, cost, place.pause))
    return Budget(
        n_used=n_used,
        n_left=left,
        n_day=n_day,
        ends_at=now + left / n_day * DAY if left and n_day else None,
        cost=None if price is None else price * n_used,
        cost_left=None if price is None or left is None else price * left,
        workers=tuple(workers),
    )
