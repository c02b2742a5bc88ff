"""Batches with their progress, and the pairs that a new one can be made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, OuterRef, QuerySet

from apps.accounts.models import User
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.batch_models import Batch, BatchItem
from apps.rankings.models import DISPUTED, OPEN, Assignment
from apps.samples.models import Comparison, annotatable


@dataclass(frozen=True, slots=True)
class BatchGroup:
    """A group that a batch is for, and who is in it; of one that is deleted, who was."""

    name: str
    members: tuple[str, ...]
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """A batch, and of how many of its pairs answers are still wanted (free) or somebody's (held)."""

    batch: Batch
    people: tuple[str, ...]  # named ones
    groups: tuple[BatchGroup, ...]
    n: int
    n_left: int
    is_late: bool

    @property
    def n_done(self) -> int:
        return self.n - self.n_left

    @property
    def percent(self) -> int:
        return 100 * self.n_done // self.n if self.n else 100


def batches_of(project: Project, *, now: datetime) -> list[BatchProgress]:
    """List the open batches in the order in which they are given, then the closed ones, the latest first."""
    batches = Batch.objects.filter(project=project).select_related("by").annotate(n=Count("items"))
    rows = list(batches.prefetch_related("people", "groups__members"))
    found = []
    for row in rows:
        n_left = 0
        if row.closed_at is None:
            seats = Assignment.objects.filter(comparison=OuterRef("comparison"), project=project)
            wanted = Exists(seats.filter(user=None)) | Exists(seats.filter(state=OPEN))
            n_left = BatchItem.objects.filter(wanted, batch=row).count()
        late = row.closed_at is None and row.deadline is not None and row.deadline < now and n_left > 0
        groups = sorted(row.groups.all(), key=lambda group: group.name)
        found.append(
            BatchProgress(
                batch=row,
                people=_names(row.people.all()),
                groups=tuple(
                    BatchGroup(group.name, _names(group.members.all()), group.deleted_at is not None)
                    for group in groups
                ),
                n=row.n,
                n_left=n_left,
                is_late=late,
            )
        )
    return sorted(
        found,
        key=lambda one: (
            one.batch.closed_at is not None,
            one.batch.deadline is None,
            (one.batch.deadline or one.batch.created_at).timestamp(),
            -one.batch.pk if one.batch.closed_at else one.batch.pk,
        ),
    )


def _names(people: Iterable[User]) -> tuple[str, ...]:
    return tuple(sorted(person.username for person in people))


def batchable(
    project: Project, *, prompt_set: int | None = None, contains: str = "", disputed: bool = False
) -> QuerySet[Comparison]:
    """Return the pairs that still want answers and are in no open batch: of a prompt set, whose prompt contains a text,
    or on which judges disagree.
    """
    free = Assignment.objects.filter(comparison=OuterRef("pk"), user=None)
    if disputed:
        free = free.filter(priority=DISPUTED)
    inside = BatchItem.objects.filter(comparison=OuterRef("pk"), batch__closed_at=None)
    rows = Comparison.objects.filter(ready(), annotatable(), Exists(free), ~Exists(inside), project=project, gold="")
    if prompt_set is not None:
        rows = rows.filter(prompt__prompt_set=prompt_set)
    if contains:
        rows = rows.filter(prompt__text__icontains=contains)
    return rows.order_by("pk")
