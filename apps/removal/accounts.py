"""Deleting an account: how somebody signs in and who they are at once, what they said and saw project by project.

The account is empty and out of all projects with the transaction that deletes it. What bears its name in projects is
removed by the deletion of a person's data there (services.py), each in a job of its own as soon as the project is free
for it; `User.leaving` says what is left, so that it ends whole whatever is killed or refused meanwhile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.leaving import account_empty
from apps.accounts.models import User
from apps.core.services import audit
from apps.events.models import Notification
from apps.jobs.models import Job, JobEvent, JobState
from apps.jobs.selectors import OPEN
from apps.labels.forgetting import label_ids_of
from apps.labels.models import Override, PairFlag, Ranking, Rating, Vote
from apps.projects.models import Invitation, Membership, Project
from apps.projects.services import LastOwner, member_remove
from apps.quotas.models import Quota
from apps.rankings.models import Assignment, Place, PracticeAnswer
from apps.ratings.models import RatingSeat
from apps.removal.services import LABELS, Asked, RemovalRefused, check_free, removal_start
from apps.samples.models import AnswerExposure, Completion, Exposure
from prefloop.types import PrefloopError

_SAID: tuple[tuple[type[Any], str], ...] = (
    (Vote, "comparison__project"),
    (Override, "comparison__project"),
    (Rating, "completion__project"),
    (Ranking, "prompt__project"),
    (PairFlag, "comparison__project"),
    (PairFlag, "completion__project"),
)
_SEEN: tuple[tuple[type[Any], str], ...] = (
    (Membership, "project"),
    (Assignment, "project"),
    (RatingSeat, "project"),
    (Place, "project"),
    (Exposure, "comparison__project"),
    (AnswerExposure, "completion__project"),
    (PracticeAnswer, "comparison__project"),
    (PracticeAnswer, "completion__project"),
)


class AccountKept(PrefloopError):
    """The account can't be deleted now, and why."""

    http_status = 409


@dataclass(frozen=True, slots=True)
class InProject:
    """What somebody leaves in a project: the name of their labels there, and how many labels bear it."""

    project: Project
    rater: str
    n_labels: int


def traces_of(user: User) -> list[InProject]:
    """List in which projects an account has said or seen anything, or is a member; the name of its labels in each."""
    names = {pair for model, path in _SAID for pair in model.objects.filter(user=user).values_list(path, "rater")}
    named = {project for project, _rater in names}
    seen = {pk for model, path in _SEEN for pk in model.objects.filter(user=user).values_list(path, flat=True)}
    for pk in seen - named - {None}:
        edited = Completion.objects.filter(project=pk, editor=user.username).exists()
        # an imported rater of the same name is somebody else; no rater is called what the other branch says
        names.add((pk, user.username if edited and not _is_imported(pk, user) else f"account:{user.pk}"))
    theirs = sorted((pk, rater) for pk, rater in names if pk is not None)
    projects = Project.objects.in_bulk([pk for pk, _rater in theirs])
    return [InProject(projects[pk], rater, len(label_ids_of(projects[pk], rater))) for pk, rater in theirs]


def _is_imported(project_id: int, user: User) -> bool:
    return Vote.objects.filter(comparison__project=project_id, rater=user.username, user=None).exists()


def account_delete(*, user: User, labels: str, by: User | None, now: datetime) -> None:
    """Delete an account. `labels`: "delete" them in all projects, or keep them under a "pseudonym".

    Raises AccountKept for the only owner of a project, and has changed nothing then.
    """
    if labels not in LABELS:
        raise AccountKept(_("Choose what becomes of the labels: they are kept under a pseudonym, or deleted."))
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if user.deleted_at is not None:
            raise AccountKept(_("This account is deleted already."))
        rest = [[one.project.pk, one.rater, None] for one in traces_of(user)]
        _memberships_end(user, by)
        name = user.username
        account_empty(user=user, now=now)
        Notification.objects.filter(user=user).delete()
        Invitation.objects.filter(created_by=user).delete()
        Invitation.objects.filter(used_by=user).update(note="")
        Quota.objects.filter(person=user).delete()
        _forget_in_logs(name, user)
        user.leaving = {"labels": labels, "rest": rest}
        user.save(update_fields=["leaving"])
        audit(actor=by, verb="user.delete", target=f"user:{user.pk}", data={"labels": labels, "n_projects": len(rest)})


def _memberships_end(user: User, by: User | None) -> None:
    """Take somebody out of all projects. Raises AccountKept, and names the projects that would have no owner."""
    kept = []
    for membership in Membership.objects.filter(user=user).select_related("project").order_by("project"):
        try:
            member_remove(membership=membership, actor=by)
        except LastOwner:
            if membership.project.removing == "project":
                membership.delete()
            else:
                kept.append(membership.project.name)
    if kept:
        raise AccountKept(
            _("%(name)s is the only owner of %(projects)s: make somebody else an owner there, or delete it, first.")
            % {"name": user.username, "projects": ", ".join(kept)}
        )


def _forget_in_logs(name: str, user: User) -> None:
    """Name the account by its id where the log of a job says who cancelled it or tried it again."""
    said = re.compile(rf"^(cancelled by )?{re.escape(name)} (before it started|asked for it|tried job)")
    for row in JobEvent.objects.filter(kind="state", text__contains=name).iterator():
        text = said.sub(rf"\1user:{user.pk} \2", row.text)
        if text != row.text:
            JobEvent.objects.filter(pk=row.pk).update(text=text)


def accounts_go_on(now: datetime) -> None:
    """Start what is left of deleted accounts where projects are free for it, and note what has ended."""
    for pk in User.objects.filter(deleted_at__isnull=False, leaving__isnull=False).values_list("pk", flat=True):
        with transaction.atomic():
            user = User.objects.select_for_update(no_key=True).filter(pk=pk, leaving__isnull=False).first()
            if user is not None and user.leaving is not None:
                _go_on(user, user.leaving["labels"], user.leaving["rest"])


def _go_on(user: User, labels: str, before: list[list[Any]]) -> None:
    rest = []
    for project_id, rater, job_id in before:
        project = Project.objects.filter(pk=project_id).first()
        state = Job.objects.filter(pk=job_id).values_list("state", flat=True).first()
        if project is None or state == JobState.SUCCEEDED:
            continue
        if state not in OPEN:
            # one that failed does not keep the name either
            Job.objects.filter(pk=job_id).update(payload={"project": project_id})
            job_id = _started(project, Asked("person", rater, labels, user.pk))
        rest.append([project_id, rater, job_id])
    if not rest:
        user.leaving = None
        audit(actor=None, verb="user.gone", target=f"user:{user.pk}")
    elif rest != before:
        user.leaving = {"labels": labels, "rest": rest}
    else:
        return
    user.save(update_fields=["leaving"])


def _started(project: Project, asked: Asked) -> int | None:
    """Start the deletion in a project and name its job; None where the project is not free for it yet."""
    try:
        check_free(project, asked)  # without the lock that holds up who queues a job
        return removal_start(project=project, asked=asked, by=None).pk
    except RemovalRefused:
        return None
