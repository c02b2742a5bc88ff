"""Deleting a prompt's, a person's or a project's data, each in a job that starts over where its worker was killed.

The files come first: what is in them is known by rows. Then the rows go in one transaction, with the entry in the audit
log, which says that it was done, by whom, and how much it was; not what it was. From the start to the end of the job
`Project.removing` says what is deleted: no job of the project is taken up meanwhile (apps/jobs/fairness.py), and a
project that goes as a whole is seen by nobody. So a job that goes on after a kill finds what the one before has left.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from apps.accounts.models import User
from apps.core.services import audit
from apps.events.models import Event, Notification
from apps.jobs.models import Job, JobState, Turn
from apps.jobs.selectors import OPEN
from apps.jobs.services import job_enqueue
from apps.judging.models import Alignment
from apps.labels.exclusions import EXCLUSION_CHANGED, RATER_CHANGED
from apps.labels.forgetting import label_ids_of, labels_delete, labels_rename, ratings_by, seats_forget
from apps.labels.models import Judge, Vote
from apps.labels.review_counts import review_counts_repair
from apps.labels.services import preferences_derive
from apps.projects.models import Membership, Project
from apps.projects.services import LastOwner, member_remove
from apps.prompts.models import Prompt
from apps.rankings.models import Assignment, Place, PracticeAnswer
from apps.rankings.services.counts import counts_repair
from apps.ratings.models import RatingSeat
from apps.removal.files import Theirs, files_delete, is_gone, project_files_pruned, pruned
from apps.removal.rows import rows_delete
from apps.removal.selectors import Effect, person_effect, project_effect, prompt_effect
from apps.samples.models import AnswerExposure, Comparison, Completion, Exposure
from apps.training.models import ACTIVE, Loop
from prefloop.types import PrefloopError

JOB = "removal.delete"
KEYS = "removal:"  # what the keys of its jobs begin with
MOST_ATTEMPTS = 1000  # it ends whole, whatever happens to workers and the store meanwhile
LABELS = ("pseudonym", "delete")
Check = Callable[[], None]


class RemovalRefused(PrefloopError):
    """It can't be deleted now, and why."""

    http_status = 409


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be deleted: `which` is a prompt's id, a rater's name, or the project's address.

    `labels`, of a person: "delete", or "pseudonym", under which they are kept. `account`: whose name it is, where the
    account is deleted and so not found by it.
    """

    kind: str
    which: str
    labels: str = ""
    account: int | None = None


def effect_of(project: Project, asked: Asked) -> Effect:
    """Count what a deletion takes away. Raises RemovalRefused."""
    return KINDS[asked.kind].effect(project, asked)


def removal_start(*, project: Project, asked: Asked, by: User | None) -> Job:
    """Start the deletion. Raises RemovalRefused while anything of the project is at work, or for what is not there."""
    if asked.kind not in KINDS or (asked.kind == "person" and asked.labels not in LABELS):
        raise RemovalRefused("choose what is deleted, and for a person what becomes of the labels")
    with transaction.atomic():
        # whoever is queueing a job comes before, and is seen, or waits and finds `removing`
        Project.objects.select_for_update().get(pk=project.pk)
        check_free(project, asked)
        KINDS[asked.kind].check(project, asked)
        Project.objects.filter(pk=project.pk).update(removing=asked.kind)
        return job_enqueue(
            kind=JOB,
            turn=Turn.PERSON,
            queue="cpu",
            payload={"project": project.pk, **asdict(asked)},
            # a project's job would be deleted with it, and is not named after what it deletes
            title=f"Delete a {asked.kind}'s data",
            started_by=by,
            unique_key=f"{_key_of(project)}{secrets.token_hex(8)}",
            max_attempts=MOST_ATTEMPTS,
        )


def removal_run(*, project: Project, asked: Asked, by: User | None, now: datetime, check: Check) -> dict[str, int]:
    """Delete it; return how much it was. `check` is asked between files. Raises RemovalRefused."""
    return KINDS[asked.kind].delete(project, asked, by, now, check)


def removal_over(project_id: int) -> None:
    """Let the jobs of a project go on, unless a deletion of its data still waits or runs."""
    with transaction.atomic():
        project = Project.objects.select_for_update().filter(pk=project_id).first()
        if project is not None and not _jobs_of(project).filter(state__in=OPEN).exists():
            Project.objects.filter(pk=project_id).update(removing="")


def removals_settle(now: datetime) -> None:
    """Let the jobs of projects go on whose deletion has failed for good or was cancelled."""
    for project_id in Project.objects.exclude(removing="").values_list("pk", flat=True):
        removal_over(project_id)


def last_failure(project: Project) -> str:
    """Say why the last deletion of the project's data failed; "" if it did not."""
    last = _jobs_of(project).order_by("-id").first()
    return last.error if last is not None and last.state == JobState.FAILED else ""


def _jobs_of(project: Project) -> QuerySet[Job]:
    return Job.objects.filter(unique_key__startswith=_key_of(project))


def _key_of(project: Project) -> str:
    return f"{KEYS}{project.pk}:"


def check_free(project: Project, asked: Asked) -> None:
    """Refuse during another deletion, and while a loop or a job could read or write what is deleted.

    Labels that are only renamed can be renamed at any time. Raises RemovalRefused.
    """
    if _jobs_of(project).filter(state__in=OPEN).exists():
        raise RemovalRefused("data of this project are being deleted already: wait until that is done")
    if asked.kind == "person" and asked.labels == "pseudonym":
        return
    loop = Loop.objects.filter(project=project, state__in=ACTIVE).order_by("id").first()
    if loop is not None:
        raise RemovalRefused(f"loop {loop.pk} is {loop.state}: stop it first")
    if Job.objects.filter(project=project, state__in=OPEN).exists():
        raise RemovalRefused("jobs of this project wait or run: let them end, or cancel them first")


def prompt_of(project: Project, external_id: str) -> Prompt:
    """Find a prompt by its id. Raises RemovalRefused."""
    found = Prompt.objects.filter(project=project, external_id=external_id).first()
    if found is None:
        raise RemovalRefused(f"there is no prompt {external_id!r} in this project")
    return found


def check_not_last(project: Project, rater: str) -> None:
    """Refuse to delete the only owner. Raises RemovalRefused."""
    owners = Membership.objects.filter(project=project, role="owner")
    theirs = owners.filter(user__in=accounts_of(project, rater))
    if theirs.exists() and theirs.count() == owners.count():
        raise RemovalRefused(str(LastOwner()))


def accounts_of(project: Project, rater: str) -> list[User]:
    """Find the account behind a rater's name: by its labels here, else the member of that name.

    An imported rater of the same name is somebody else (apps/labels/raters.py).
    """
    said = Q(votes__rater=rater, votes__comparison__project=project)
    said |= Q(overrides__rater=rater, overrides__comparison__project=project)
    said |= Q(ratings__rater=rater, ratings__completion__project=project)
    found = list(User.objects.filter(said).distinct())
    if not found and not Vote.objects.filter(comparison__project=project, rater=rater, user=None).exists():
        found = list(User.objects.filter(username=rater, memberships__project=project))
    return found


# --- a prompt --------------------------------------------------------------------------------------------------------


def prompt_delete(
    *, project: Project, external_id: str, by: User | None, now: datetime, check: Check
) -> dict[str, int]:
    """Delete a prompt with its answers, comparisons and labels, from training sets and runs too."""
    prompt = Prompt.objects.filter(project=project, external_id=external_id).first()
    if prompt is None:  # a killed job had come to its end
        return {}
    theirs = theirs_of(Completion.objects.filter(prompt=prompt), prompt=prompt)
    n_files = project_files_pruned(project, theirs, now=now, check=check)
    with transaction.atomic():
        copies_prune(project, theirs)
        counts = rows_delete(Prompt, [prompt.pk])
        _counted_again(project)
        told = _told(counts, n_files)
        audit(actor=by, verb="prompt.delete", target=f"prompt:{prompt.pk}", project=project, data=told)
    return told


def theirs_of(answers: QuerySet[Completion], *, prompt: Prompt | None = None) -> Theirs:
    """Say how these answers, and the comparisons between them, are known in files; of a prompt, it as well."""
    pairs = Comparison.objects.filter(Q(first__in=answers) | Q(second__in=answers))
    ids = {f"comparison:{pk}{side}" for pk in pairs.values_list("pk", flat=True) for side in ("", ":first", ":second")}
    ids |= {f"rated:{pk}" for pk in answers.values_list("pk", flat=True)}
    ids |= {f"score:{pk}" for pk in answers.filter(scores__isnull=False).values_list("scores", flat=True)}
    if prompt is None:
        return Theirs(frozenset(ids), frozenset(answers.exclude(text="").values_list("text", flat=True)))
    ids.add(f"prompt:{prompt.pk}")
    return Theirs(frozenset(ids), frozenset({prompt.text} - {""}), [prompt.messages] if prompt.messages else [])


def copies_prune(project: Project, theirs: Theirs) -> None:
    """Take what is theirs out of JSON that other rows keep: examples of judges, and what jobs were given and found."""
    pairs = {int(one.split(":")[1]) for one in theirs.ids if one.startswith("comparison:")}
    for judge in Judge.objects.filter(project=project):
        _keep(judge, {"options": judge.options}, theirs)
    for row in Alignment.objects.filter(judge__project=project):
        _keep(row, {"examples": row.examples, "pairs": row.pairs}, theirs)
    for job in Job.objects.filter(project=project).exclude(result={}, payload={}):
        _keep(job, {"payload": job.payload, "result": job.result}, theirs)
    for event in Event.objects.filter(project=project):
        if event.data.get("comparison") in pairs:
            event.delete()


def _keep(row: Any, values: dict[str, Any], theirs: Theirs) -> None:
    left = {name: pruned(value, theirs) for name, value in values.items()}
    left = {name: type(values[name])() if is_gone(value) else value for name, value in left.items()}
    if left != values:
        type(row)._base_manager.filter(pk=row.pk).update(**left)


def _counted_again(project: Project) -> None:
    """Count again what is kept in counts, and let nobody read figures that were computed before."""
    counts_repair(project)
    review_counts_repair(project)
    Project.objects.filter(pk=project.pk).update(n_erasures=F("n_erasures") + 1)


def _told(counts: dict[str, int], n_files: int) -> dict[str, int]:
    told = {label.rpartition(".")[2].lower(): n for label, n in sorted(counts.items())}
    return {f"n_{name}": n for name, n in told.items()} | {"n_files": n_files}


# --- a person --------------------------------------------------------------------------------------------------------


def person_delete(
    *,
    project: Project,
    rater: str,
    labels: str,
    by: User | None,
    now: datetime,
    check: Check,
    account: int | None = None,
) -> dict[str, int]:
    """Delete a person's data in a project, who leaves it: their labels too, or all but those, under a pseudonym."""
    check_not_last(project, rater)
    users = list(User.objects.filter(pk=account)) if account is not None else accounts_of(project, rater)
    edited = Completion.objects.filter(project=project, editor=rater)
    ids = label_ids_of(project, rater)
    if not (users or ids or edited.exists()):  # a killed job had come to its end
        return {}
    n_files = 0
    if labels == "delete":
        theirs = theirs_of(_with_edits_of(edited))
        theirs = Theirs(theirs.ids | ids, theirs.texts)
        n_files = project_files_pruned(project, theirs, now=now, check=check)
    with transaction.atomic():
        n_labels = len(ids)
        if labels == "delete":
            copies_prune(project, theirs)
            _labels_delete(project, rater, now)
        else:
            _labels_rename(project, rater)
        for user in users:
            _leave(project, user, by)
        _counted_again(project)
        data = {"labels": labels, "n_labels": n_labels, "n_files": n_files}
        target = f"user:{users[0].pk}" if users else "rater"
        audit(actor=by, verb="person.delete", target=target, project=project, data=data)
    return {"n_labels": n_labels, "n_files": n_files}


def _with_edits_of(answers: QuerySet[Completion]) -> QuerySet[Completion]:
    """Give these answers and what was edited from them, however often."""
    found = set(answers.values_list("pk", flat=True))
    new = found
    while new:
        new = set(Completion.objects.filter(parent_id__in=new).values_list("pk", flat=True)) - found
        found |= new
    return Completion.objects.filter(pk__in=found)


def _labels_delete(project: Project, rater: str, now: datetime) -> None:
    rated = ratings_by(project, rater)
    prompt_ids = sorted(set(rated.values_list("completion__prompt", flat=True)))
    edits = list(_with_edits_of(Completion.objects.filter(project=project, editor=rater)).values_list("pk", flat=True))
    rows_delete(Completion, edits)
    ids = labels_delete(project, rater)
    _events(project, rater).delete()
    preferences_derive(project=project, comparison_ids=ids, now=now)
    EXCLUSION_CHANGED.tell(project, ids)
    RATER_CHANGED.tell(project, prompt_ids)


def _labels_rename(project: Project, rater: str) -> None:
    pseudonym = f"person-{secrets.token_hex(4)}"
    labels_rename(project, rater, pseudonym)
    for event in _events(project, rater):
        event.data["rater"] = pseudonym
        event.save(update_fields=["data"])


def _events(project: Project, rater: str) -> QuerySet[Event]:
    return Event.objects.filter(project=project, data__rater=rater)


def _leave(project: Project, user: User, by: User | None) -> None:
    """End what ties an account to the project; the account itself stays."""
    membership = Membership.objects.filter(project=project, user=user).first()
    if membership is not None:
        member_remove(membership=membership, actor=by)
    seats = Assignment.objects.filter(project=project, user=user)
    pairs = sorted(set(seats.values_list("comparison", flat=True)))
    rated = RatingSeat.objects.filter(project=project, user=user)
    prompt_ids = sorted(set(rated.values_list("completion__prompt", flat=True)))
    seats_forget(seats=seats, rating_seats=rated)
    seats._raw_delete(seats.db)
    rated._raw_delete(rated.db)
    EXCLUSION_CHANGED.tell(project, pairs)
    RATER_CHANGED.tell(project, prompt_ids)
    Place.objects.filter(project=project, user=user).delete()
    Exposure.objects.filter(comparison__project=project, user=user).delete()
    AnswerExposure.objects.filter(completion__project=project, user=user).delete()
    practised = Q(comparison__project=project) | Q(completion__project=project)
    PracticeAnswer.objects.filter(practised, user=user).delete()
    Notification.objects.filter(event__project=project, user=user).delete()


# --- a project -------------------------------------------------------------------------------------------------------


def project_delete(*, project: Project, by: User | None) -> dict[str, int]:
    """Delete a project: its files in the store, then all its rows."""
    files_delete(project)
    with transaction.atomic():
        told = _told(rows_delete(Project, [project.pk]), 0)
        audit(actor=by, verb="project.delete", target=f"project:{project.pk}", project=project, data=told)
    return told


# --- the kinds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be deleted: what goes with it, what forbids it (raises RemovalRefused), and the deletion."""

    effect: Callable[[Project, Asked], Effect]
    check: Callable[[Project, Asked], object]
    delete: Callable[[Project, Asked, User | None, datetime, Check], dict[str, int]]


KINDS = {
    "prompt": Kind(
        effect=lambda project, asked: prompt_effect(prompt_of(project, asked.which)),
        check=lambda project, asked: prompt_of(project, asked.which),
        delete=lambda project, asked, by, now, check: prompt_delete(
            project=project, external_id=asked.which, by=by, now=now, check=check
        ),
    ),
    "person": Kind(
        effect=lambda project, asked: person_effect(project, asked.which, labels=asked.labels),
        check=lambda project, asked: check_not_last(project, asked.which),
        delete=lambda project, asked, by, now, check: person_delete(
            project=project,
            rater=asked.which,
            labels=asked.labels,
            by=by,
            now=now,
            check=check,
            account=asked.account,
        ),
    ),
    "project": Kind(
        effect=lambda project, asked: project_effect(project),
        check=lambda project, asked: None,
        delete=lambda project, asked, by, now, check: project_delete(project=project, by=by),
    ),
}
