"""Progress of a group of jobs, for pages that show runs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db.models import Count

from apps.jobs.models import TERMINAL, Job, JobGroup, JobState


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """`state` is a word of the status tag; `troubles`: what failed, its cause, and the job."""

    state: str
    n_jobs: int = 0
    n_ended: int = 0
    troubles: list[Job] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.n_ended < self.n_jobs


def group_progress_of(groups: Iterable[JobGroup | None]) -> dict[int, GroupProgress]:
    """Give the progress of each group in three queries, however many there are."""
    ids = sorted({group.pk for group in groups if group is not None})
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for group_id, state, n in (
        Job.objects.filter(group_id__in=ids)
        .order_by()
        .values_list("group_id", "state")
        .annotate(n=Count("id"))
        .values_list("group_id", "state", "n")
    ):
        counts[group_id or 0][state] = n
    troubles: dict[int, list[Job]] = defaultdict(list)
    failed = Job.objects.filter(group_id__in=ids, state=JobState.FAILED).order_by("-id")[:200]
    for job in failed:
        if job.group_id is not None and len(troubles[job.group_id]) < 3:
            troubles[job.group_id].append(job)
    return {pk: _progress(counts[pk], troubles[pk]) for pk in ids}


def _progress(counts: dict[str, int], troubles: list[Job]) -> GroupProgress:
    n = sum(counts.values())
    ended = sum(counts.get(state, 0) for state in TERMINAL)
    if ended < n:
        held = (JobState.STARTING, JobState.RUNNING, JobState.CANCELLING)
        state = "running" if ended or any(counts.get(one) for one in held) else "queued"
    elif counts.get(JobState.FAILED):
        state = "failed"
    elif counts.get(JobState.CANCELLED):
        state = "cancelled"
    else:
        state = "done"
    return GroupProgress(state=state, n_jobs=n, n_ended=ended, troubles=troubles)


def version_of(rows: Sequence[object]) -> str:
    """A short hash of what a live region shows; if it is equal, nothing changed."""
    return hashlib.blake2s(repr(list(rows)).encode(), digest_size=8).hexdigest()
