"""The job's state machine: one table of allowed transitions, and one function that makes them.

Every change is a compare-and-set on the expected states (and on the fencing token for workers), adds a JobEvent, and,
if it ends the job, closes its place in the group, all in one transaction. Terminal states have no transitions: a retry
is a new job.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q

from apps.jobs.models import TERMINAL, Job, JobEvent, JobGroup, JobState, Turn

S = JobState

EDGES: dict[str, frozenset[str]] = {
    S.QUEUED: frozenset({S.STARTING, S.CANCELLED, S.FAILED}),
    S.STARTING: frozenset({S.RUNNING, S.QUEUED, S.FAILED, S.CANCELLING, S.CANCELLED}),
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.QUEUED, S.CANCELLING, S.CANCELLED}),
    # a job that was done before it heard of the cancelling keeps its result
    S.CANCELLING: frozenset({S.CANCELLED, S.SUCCEEDED, S.FAILED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
}
HELD = (S.STARTING, S.RUNNING, S.CANCELLING)  # a worker holds the job


class EdgeNotAllowed(Exception):
    """A transition that is not in the table: a mistake in the code, never in the data."""


def transition(
    *,
    job_id: int,
    to: JobState,
    from_states: Collection[JobState],
    text: str,
    held_by: UUID | None = None,
    where: Q | None = None,
    data: dict[str, Any] | None = None,
    **fields: Any,
) -> bool:
    """Make a transition if the job is still in the expected state; return whether it was made.

    `held_by`: the fencing token that the row must have. `fields`: what else the UPDATE sets.
    """
    for state in from_states:
        if to not in EDGES[state]:
            raise EdgeNotAllowed(f"{state} -> {to}")
    with transaction.atomic():
        rows = Job.objects.filter(pk=job_id, state__in=list(from_states))
        if held_by is not None:
            rows = rows.filter(token=held_by)
        if where is not None:
            rows = rows.filter(where)
        if rows.update(state=to, **fields) == 0:
            return False
        JobEvent.objects.create(job_id=job_id, kind="state", text=text, data={"to": str(to), **(data or {})})
        if to in TERMINAL:
            _leave_group(job_id=job_id, ended=to)
    return True


def _leave_group(*, job_id: int, ended: JobState) -> None:
    """Close the job's place; whoever brings `open_count` to zero inserts the follow-up, in this transaction.

    The UPDATE locks the group's row until commit (SQLite: the whole database), so only one job sees zero.
    """
    group_id = Job.objects.only("group_id").get(pk=job_id).group_id
    if group_id is None:
        return
    changes: dict[str, Any] = {"open_count": F("open_count") - 1}
    if ended == S.FAILED:
        changes["failed_count"] = F("failed_count") + 1
    elif ended == S.CANCELLED:
        changes["cancelled_count"] = F("cancelled_count") + 1
    JobGroup.objects.filter(pk=group_id).update(**changes)
    group = JobGroup.objects.get(pk=group_id)
    if group.open_count == 0:
        follow_up_insert(group=group)


def follow_up_insert(*, group: JobGroup) -> Job | None:
    """Insert the group's follow-up once (OneToOne), whatever the results of its members; it gets their counts.

    A failed or cancelled member does not stop it: the follow-up's handler finds `n_failed` and `n_cancelled` in its
    payload, beside `group_id`, and decides.
    """
    if not group.follow_up_kind:
        return None
    existing = Job.objects.filter(follow_up_of=group).first()
    if existing is not None:
        return existing
    payload = {
        **group.follow_up_payload,
        "group_id": group.pk,
        "n_failed": group.failed_count,
        "n_cancelled": group.cancelled_count,
    }
    job = Job.objects.create(
        project_id=group.project_id,
        kind=group.follow_up_kind,
        queue=group.follow_up_queue,
        title=f"{group.name}: next step"[:200],
        payload=payload,
        follow_up_of=group,
        turn=Turn.SOON,  # what was begun is ended before other work begins
    )
    JobEvent.objects.create(job=job, kind="state", text="queued when the group ended", data={"to": str(S.QUEUED)})
    from apps.jobs.doorbell import ring_after_commit

    ring_after_commit(queue=job.queue)
    return job
