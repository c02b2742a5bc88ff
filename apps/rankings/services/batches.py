"""Making and closing batches. What they say of the queue is kept with the project, which every request reads anyway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.core.services import audit
from apps.labels.selectors import CHUNK
from apps.projects.models import Project
from apps.prompts.models import PromptSet
from apps.rankings.batch_models import FIRST_LANE, Batch, BatchItem
from apps.rankings.selectors.batches import batchable
from apps.rankings.services.seats import seats_settle
from prefloop.types import PrefloopError

MOST_ITEMS = 20_000
MOST_OPEN = 50


class BadBatch(PrefloopError):
    """A batch that can't be made."""


def batch_create(
    *,
    project: Project,
    name: str,
    comparison_ids: Sequence[int],
    people: Iterable[User] = (),
    deadline: datetime | None = None,
    by: User,
) -> Batch:
    """Make a batch of comparisons of the project that are in no open one. Raises BadBatch."""
    if not name.strip():
        raise BadBatch("a batch needs a name")
    if not comparison_ids:
        raise BadBatch("no pair that still wants answers fits: nothing to make a batch of")
    if len(comparison_ids) > MOST_ITEMS:
        raise BadBatch(f"a batch has at most {MOST_ITEMS:,} pairs")
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        taken = set(Batch.objects.filter(project=project, closed_at=None).values_list("lane", flat=True))
        if len(taken) >= MOST_OPEN:
            raise BadBatch(f"at most {MOST_OPEN} batches can be open: close one first")
        lane = next(lane for lane in range(FIRST_LANE, FIRST_LANE + MOST_OPEN) if lane not in taken)
        made = Batch.objects.create(project=project, name=name.strip()[:120], lane=lane, deadline=deadline, by=by)
        made.people.set(people)
        for ids in chunks(sorted(set(comparison_ids)), CHUNK):
            BatchItem.objects.bulk_create([BatchItem(batch=made, comparison_id=pk) for pk in ids])
        _keep(project)
        seats_settle(project=project, comparison_ids=comparison_ids)
        _audit(made, by, "batch.create", {"name": made.name, "n": len(set(comparison_ids))})
    return made


def batch_of_fitting(
    *,
    project: Project,
    name: str,
    prompt_set: PromptSet | None,
    contains: str,
    disputed: bool,
    most: int,
    people: Iterable[User],
    deadline: datetime | None,
    by: User,
) -> Batch:
    """Make a batch of at most so many pairs that still want answers and fit. Raises BadBatch."""
    rows = batchable(
        project,
        prompt_set=None if prompt_set is None else prompt_set.pk,
        contains=contains,
        disputed=disputed,
    )
    ids = list(rows.values_list("pk", flat=True)[:most])
    return batch_create(project=project, name=name, comparison_ids=ids, people=people, deadline=deadline, by=by)


def batch_close(*, batch: Batch, by: User, now: datetime) -> None:
    """Close a batch: what is left of it comes like any other pair. Whoever is second changes nothing."""
    project = batch.project
    with transaction.atomic():
        if not Batch.objects.filter(pk=batch.pk, closed_at=None).update(closed_at=now):
            return
        _keep(project)
        seats_settle(project=project, comparison_ids=list(batch.items.values_list("comparison_id", flat=True)))
        _audit(batch, by, "batch.close", {"name": batch.name})


def _keep(project: Project) -> None:
    rows = Batch.objects.filter(project=project, closed_at=None).prefetch_related("people")
    ordered = sorted(rows, key=lambda one: (one.deadline is None, one.deadline or one.created_at, one.lane))
    kept = [[one.lane, sorted(person.pk for person in one.people.all())] for one in ordered]
    Project.objects.filter(pk=project.pk).update(batch_lanes=kept)
    project.batch_lanes = kept


def _audit(batch: Batch, by: User, verb: str, data: dict[str, object]) -> None:
    audit(actor=by, verb=verb, target=f"batch:{batch.pk}", project=batch.project, data=data)
