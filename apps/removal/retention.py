"""Retention: how long a project keeps what nobody needs for ever, and removing what has outlived it.

Each kind is declared once, with what removes it. Nothing that says something about an answer is among them: labels,
verdicts, scores and prompts are only deleted by a person (services.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import ProtectedError, Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.core.services import audit
from apps.core.store import weights
from apps.exchange.models import Upload
from apps.exchange.uploads import upload_drop
from apps.jobs.models import TERMINAL, JobEvent, Turn
from apps.jobs.services import job_enqueue
from apps.labels.forgetting import replies_forget
from apps.policies.models import Checkpoint
from apps.policies.store import store_path
from apps.projects.models import Project
from apps.removal.files import tree_delete
from prefloop.types import PrefloopError

JOB = "removal.retain"
EVERY = timedelta(days=1)
MOST_DAYS = 3650


class BadRetention(PrefloopError):
    """Days that can't be."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A kind of data that is kept for so many days. `remove` gets the project and what is older than when."""

    label: str | Promise
    about: str | Promise
    remove: Callable[[Project, datetime], int]


def _logs(project: Project, before: datetime) -> int:
    rows = JobEvent.objects.filter(job__project=project, job__state__in=TERMINAL, job__ended_at__lt=before)
    return rows.delete()[0]


def _uploads(project: Project, before: datetime) -> int:
    idle = Q(job=None) | Q(job__state__in=TERMINAL)
    rows = list(Upload.objects.filter(idle, project=project, batch=None, created_at__lt=before))
    for upload in rows:
        upload_drop(upload=upload)
    return len(rows)


def _checkpoints(project: Project, before: datetime) -> int:
    """Remove checkpoints that nothing names: no run, round, loop, judge, answer or other checkpoint."""
    rows = Checkpoint.objects.filter(project=project, created_at__lt=before, is_default=False, approved_at=None)
    n = 0
    for checkpoint in rows.order_by("-id"):
        path, version = checkpoint.path, checkpoint.fingerprint
        try:
            with transaction.atomic():
                Checkpoint.objects.select_for_update().get(pk=checkpoint.pk)  # nobody begins to name it meanwhile
                checkpoint.delete()  # every row that names one protects it
                # within the transaction: the row of what a killed worker has removed in part stays, and is due again
                if not Checkpoint.objects.filter(path=path).exists():
                    weights().drop(path, version)
                    tree_delete(store_path(path))
        except ProtectedError:
            continue
        n += 1
    return n


KEPT: Mapping[str, Kept] = {
    "logs": Kept(_("Logs of jobs"), _("Lines of jobs that have ended. The jobs and what came of them stay."), _logs),
    "raw": Kept(
        _("Judges' replies in full"),
        _("The text and the reasons of a judge's reply. Its verdict or score stays."),
        replies_forget,
    ),
    "uploads": Kept(_("Uploaded files"), _("Files that were never imported."), _uploads),
    "checkpoints": Kept(
        _("Unused checkpoints"),
        _("Models that no loop, run, judge or answer names, and that are neither approved nor the default."),
        _checkpoints,
    ),
}


def retention_set(*, project: Project, days: Mapping[str, int | None], by: User | None) -> None:
    """Set for how many days each kind of KEPT is kept; None or a kind left out: for ever. Raises BadRetention."""
    if unknown := sorted(set(days) - set(KEPT)):
        raise BadRetention(f"there is no retention of {unknown[0]!r}: there are {', '.join(KEPT)}")
    chosen = {name: n for name, n in days.items() if n is not None}
    if any(not 1 <= n <= MOST_DAYS for n in chosen.values()):
        raise BadRetention(f"data are kept 1 to {MOST_DAYS} days, or for ever")
    with transaction.atomic():
        Project.objects.filter(pk=project.pk).update(retention=chosen, retained_at=None)
        project.retention = chosen
        audit(actor=by, verb="retention.set", target=f"project:{project.slug}", project=project, data=chosen)


def retention_start(now: datetime) -> None:
    """Start the removal for each project that keeps something for a time, once a day, by whoever is first."""
    due = Q(retained_at=None) | Q(retained_at__lte=now - EVERY)
    for project in Project.objects.filter(due).exclude(retention={}):
        with transaction.atomic():
            if Project.objects.filter(due, pk=project.pk).update(retained_at=now):
                job_enqueue(
                    kind=JOB,
                    turn=Turn.WORK,
                    queue="cpu",
                    payload={"project": project.pk},
                    title=f"Remove what {project.name} keeps no longer",
                )


def retention_apply(*, project: Project, now: datetime) -> dict[str, int]:
    """Remove what has outlived its days; return how many of which kind. Doing it again removes nothing more."""
    found = {
        name: KEPT[name].remove(project, now - timedelta(days=days))
        for name, days in project.retention.items()
        if name in KEPT
    }
    found = {name: n for name, n in found.items() if n}
    if found:
        audit(actor=None, verb="retention.run", target=f"project:{project.slug}", project=project, data=found)
    return found
