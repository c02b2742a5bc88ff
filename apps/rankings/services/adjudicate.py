"""A lead's decision where people split. It stands above their majority; every vote stays."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.core.services import audit
from apps.labels.models import Vote
from apps.labels.raters import rater_name
from apps.labels.selectors import last_adjudication
from apps.labels.services import vote_append, vote_withdraw
from apps.labels.telling import told
from apps.projects.models import Project
from apps.projects.selectors import criterion_named
from apps.rankings.services.decide import BadDecision, NoDecision
from apps.rankings.services.vote import MAX_REASON
from apps.samples import exposure
from apps.samples.models import Comparison
from prefloop.types import OUTCOMES


def adjudication_create(
    *, comparison: Comparison, user: User, choice: str, reason: str = "", criterion: str = "", now: datetime
) -> Vote:
    """Record which answer a lead decides for (first, second, tie, both_bad) by a criterion, having seen the votes.

    The same decision again returns the same row. Raises BadDecision, NoSuchCriterion.
    """
    criterion_named(comparison.project, criterion)
    if choice not in OUTCOMES:
        raise BadDecision(f"choice must be one of {', '.join(OUTCOMES)}, not {choice!r}")
    if len(reason) > MAX_REASON:
        raise BadDecision(f"a reason has at most {MAX_REASON:,} characters")
    exposure.shown(user_id=user.pk, comparison_ids=[comparison.pk], where="adjudication")
    with transaction.atomic():
        Comparison.objects.select_for_update(no_key=True).get(pk=comparison.pk)
        head = last_adjudication(comparison, user, criterion)
        if head is not None and not head.by_edit and (head.choice, head.reason) == (choice, reason.strip()):
            return head
        made = Vote(
            comparison=comparison,
            user=user,
            rater=rater_name(user, comparison),
            criterion=criterion,
            choice=choice,
            reason=reason.strip(),
            at=now,
            adjudication=True,
            supersedes=head,
        )
        vote_append(vote=made, now=now)
        _told(made, user, "adjudication.create")
    return made


def adjudication_withdraw(*, comparison: Comparison, user: User, now: datetime, criterion: str = "") -> Vote:
    """Withdraw this person's own adjudication by a criterion. Raises NoDecision if they have no current one."""
    with transaction.atomic():
        Comparison.objects.select_for_update(no_key=True).get(pk=comparison.pk)
        head = last_adjudication(comparison, user, criterion)
        if head is None or head.choice == "withdrawn":
            raise NoDecision
        made = vote_withdraw(vote=head, now=now)
        _told(made, user, "adjudication.withdraw")
    return made


def adjudication_undo(*, project: Project, user: User, now: datetime) -> Vote:
    """Withdraw this person's last adjudication in a project; called again, the one before it. Raises NoDecision."""
    mine = Vote.objects.filter(comparison__project=project, user=user, adjudication=True, superseded_by__isnull=True)
    last = mine.exclude(choice="withdrawn").exclude(by_edit=True).select_related("comparison").order_by("-id").first()
    if last is None:
        raise NoDecision
    return adjudication_withdraw(comparison=last.comparison, user=user, now=now, criterion=last.criterion)


def _told(vote: Vote, user: User, verb: str) -> None:
    event = "adjudication.withdrawn" if vote.choice == "withdrawn" else "adjudication.created"
    told(event, vote.comparison.project, vote)
    audit(
        actor=user,
        verb=verb,
        target=f"comparison:{vote.comparison_id}",
        project=vote.comparison.project,
        data={"choice": vote.choice, "vote": vote.pk},
    )
