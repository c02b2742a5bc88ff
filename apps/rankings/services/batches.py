"""Making and closing batches. What they say of the queue is kept with the project, which every request reads anyway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.core.services import audit
from apps.labels.selectors import CHUNK
from apps.projects.models import MemberGroup, Project
from apps.prompts.models import PromptSet
from apps.rankings.batch_models import FIRST_LANE, Batch, BatchItem
from apps.rankings.selectors.batches import batchable
from apps.rankings.services.seats import seats_settle
from prefloop.types import PrefloopError

MOST_ITEMS = 20_000
MOST_OPEN = 50
NOBODY = 0  # the id of no person


class BadBatch(PrefloopError):
    """A batch that can't be made."""


def batch_create(
    *,
    project: Project,
    name: str,
    comparison_ids: Sequence[int],
    people: Iterable[User] = (),
    groups: Iterable[MemberGroup] = (),
    deadline: datetime | None = None,
    by: User,
) -> Batch:
    """Make a batch of comparisons of the project that are in no open one. Raises BadBatch.

    It is for these people and whoever is in these groups when a pair is given; without any it is for everybody.
    """
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
        made.groups.set(groups := list(groups))
        for ids in chunks(sorted(set(comparison_ids)), CHUNK):
            BatchItem.objects.bulk_create([BatchItem(batch=made, comparison_id=pk) for pk in ids])
        _keep(project)
        seats_settle(project=project, comparison_ids=comparison_ids)
        _audit(
            made,
            by,
            "batch.create",
            {"name": made.name, "n": len(set(comparison_ids)), "groups": [group.name for group in groups]},
        )
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
    groups: Iterable[MemberGroup],
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
    return batch_create(
        project=project, name=name, comparison_ids=ids, people=people, groups=groups, deadline=deadline, by=by
    )


def batch_close(*, batch: Batch, by: User, now: datetime) -> None:
    """Close a batch: what is left of it comes like any other pair. Whoever is second changes nothing."""
    project = batch.project
    with transaction.atomic():
        if not Batch.objects.filter(pk=batch.pk, closed_at=None).update(closed_at=now):
            return
        _keep(project)
        seats_settle(project=project, comparison_ids=list(batch.items.values_list("comparison_id", flat=True)))
        _audit(batch, by, "batch.close", {"name": batch.name})


def groups_changed(project: Project) -> None:
    """Others are in the groups of the project now: its batches are for them."""
    with transaction.atomic():
        _keep(project)


def _keep(project: Project) -> None:
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # of two changes the later sees the other's
    rows = Batch.objects.filter(project=project, closed_at=None).prefetch_related("people", "groups__members")
    ordered = sorted(rows, key=lambda one: (one.deadline is None, one.deadline or one.created_at, one.lane))
    kept = [[one.lane, _whose(one)] for one in ordered]
    Project.objects.filter(pk=project.pk).update(batch_lanes=kept)
    project.batch_lanes = kept


def _whose(batch: Batch) -> list[int]:
    """Who gets its pairs first, by id; [] is everybody, so groups without members are for NOBODY."""
    groups = batch.groups.all()
    people = {person.pk for person in batch.people.all()}
    people |= {member.pk for group in groups for member in group.members.all()}
    return sorted(people) or ([NOBODY] if groups else [])


def _audit(batch: Batch, by: User, verb: str, data: dict[str, object]) -> None:
    audit(actor=by, verb=verb, target=f"batch:{batch.pk}", project=batch.project, data=data)
