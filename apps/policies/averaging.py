"""Averaging checkpoints that were trained from one: whether it can be done, and the job that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.jobs.models import Job, Turn
from apps.jobs.services import job_enqueue
from apps.policies.models import Checkpoint
from apps.policies.selectors import NoCheckpoint, checkpoint_list
from apps.policies.services import CheckpointExists, room_on_disk
from apps.policies.store import check_name, checkpoint_relative_path, store_path
from apps.projects.models import Project
from prefloop.types import PrefloopError

BY = {
    "mean": _("The mean of the weights (WARM): for reward models"),
    "slerp": _("The spherical mean of what each has learnt since their start (SLERP, WARP): for policies"),
}


MOST = 8  # a worker holds the weights of all of them at once


class CantAverage(PrefloopError):
    """Checkpoints that have no average."""


@dataclass(frozen=True, slots=True)
class Average:
    """What is averaged, and what all of it was trained from."""

    of: list[Checkpoint]
    start: Checkpoint


def averageable(project: Project) -> list[Checkpoint]:
    """List the checkpoints that were trained from another one, the newest first."""
    return list(checkpoint_list(project).filter(parent__isnull=False).defer("manifest").reverse())


def average_planned(*, project: Project, name: str, of: Sequence[str], by: str, keep: float) -> Average:
    """Find what is to be averaged, by name. Raises CantAverage, NoCheckpoint, BadName."""
    check_name(name)
    if by not in BY:
        raise CantAverage(f"weights are averaged by {' or '.join(BY)}, not {by!r}")
    if not 0 < keep <= 1:
        raise CantAverage(f"the share of the way must be above 0 and at most 1, not {keep:g}")
    found = {row.name: row for row in checkpoint_list(project).filter(name__in=of)}
    if lost := [one for one in of if one not in found]:
        raise NoCheckpoint(f"no checkpoint {lost[0]!r} in project {project.slug}")
    rows = [found[one] for one in dict.fromkeys(of)]
    if len(rows) < 2:
        raise CantAverage("name two different checkpoints or more")
    if len(rows) > MOST:
        raise CantAverage(f"at most {MOST} checkpoints are averaged at once: a worker holds all of their weights")
    if len({row.role for row in rows}) > 1:
        raise CantAverage("policies and reward models can't be averaged with each other")
    return Average(rows, _common_ancestor(rows))


def name_free(project: Project, name: str) -> None:
    """Raise CheckpointExists if a checkpoint of this name is there, or its files."""
    taken = Checkpoint.objects.filter(project=project, name=name).exists()
    if taken or store_path(checkpoint_relative_path(project.slug, name)).exists():
        raise CheckpointExists(f"checkpoint {name!r} already exists")


def average_start(
    *, project: Project, created_by: User, name: str, of: Sequence[str], by: str = "mean", keep: float = 1.0
) -> Job:
    """Have a worker average these checkpoints.

    Raises what `average_planned` does, CheckpointExists and QuotaReached.
    """
    planned = average_planned(project=project, name=name, of=of, by=by, keep=keep)
    name_free(project, name)
    room_on_disk(project, planned.of[0].n_bytes, created_by)
    with transaction.atomic():
        return job_enqueue(
            kind="policies.average",
            turn=Turn.PERSON,
            queue="gpu",  # whose workers have torch
            payload={"name": name, "of": [row.name for row in planned.of], "by": by, "keep": keep},
            project=project,
            title=f"Average into checkpoint {name}",
            started_by=created_by,
        )


def _common_ancestor(rows: Sequence[Checkpoint]) -> Checkpoint:
    """The nearest checkpoint that all were trained from. Raises CantAverage."""
    lines = [_line(row) for row in rows]
    shared = set.intersection(*({one.pk for one in line} for line in lines))
    found = next((one for one in lines[0] if one.pk in shared), None)
    if found is None:
        raise CantAverage("the checkpoints were not trained from one: their weights can't be averaged")
    return found


def _line(row: Checkpoint) -> list[Checkpoint]:
    """What a checkpoint was trained from, the nearest first."""
    line: list[Checkpoint] = []
    while row.parent is not None and row.parent not in line:
        row = row.parent
        line.append(row)
    return line
