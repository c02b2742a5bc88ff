"""Decisions made seeing a judge's label: to agree with it or to correct it. Appended, one line of events a person."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.core.services import audit
from apps.judging.models import Judge
from apps.rankings.models import Override
from apps.rankings.preferences import judge_labels, preferences_derive
from apps.rankings.rounds import decision_made
from apps.rankings.services.vote import MAX_REASON
from apps.samples.models import Comparison
from prefloop.types import OUTCOMES, PrefloopError

# Why a label was corrected; what people pick most often, so that it can be counted. Free text may follow.
REASONS = {
    "wrong_fact": "Wrong fact",
    "missed_instruction": "Missed the instruction",
    "length": "Fell for length",
    "style": "Fell for style",
    "position": "Fell for the position",
    "unsafe": "Rude or unsafe",
    "no_difference": "No real difference",
}


class BadDecision(PrefloopError):
    """The decision says something that no decision can say."""


def override_create(
    *,
    comparison: Comparison,
    judge: Judge,
    user: User,
    now: datetime,
    kind: str = "override",
    choice: str = "",
    reason: str = "",
) -> Override:
    """Record that a person agrees with a judge's label, or what it should have been instead, with the reason.

    `choice` is canonical (first, second, tie, both_bad) and goes with `override` only. To agree where the judge has no
    label leaves the pair without one. The verdicts stay as they are.
    The same decision again is the same row.
    """
    if kind not in {"agree", "override"}:
        raise BadDecision(f"a decision is agree or override, not {kind!r}")
    if kind == "override" and choice not in OUTCOMES:
        raise BadDecision(f"choice must be one of {', '.join(OUTCOMES)}, not {choice!r}")
    if len(reason) > MAX_REASON:
        raise BadDecision(f"a reason has at most {MAX_REASON:,} characters")
    if judge.project_id != comparison.project_id:
        raise BadDecision("this judge belongs to another project")
    with transaction.atomic():
        Comparison.objects.select_for_update(no_key=True).get(pk=comparison.pk)
        label = judge_labels(comparison_ids=[comparison.pk], judge=judge).get(comparison.pk)
        if kind == "agree":
            choice = "" if label is None else label.outcome or ""
        head = _head(comparison, user)
        if head is not None and (head.kind, head.choice, head.reason) == (kind, choice, reason.strip()):
            return head
        made = Override.objects.create(
            comparison=comparison,
            judge=judge,
            user=user,
            rater=user.username,
            kind=kind,
            choice=choice,
            judge_outcome="" if label is None else (label.outcome or label.state),
            reason=reason.strip(),
            at=now,
            supersedes=head,
        )
        _follow(made, user, now)
    return made


def override_withdraw(*, comparison: Comparison, user: User, now: datetime) -> Override | None:
    """Take back this person's decision on a comparison; None if they have none that stands."""
    with transaction.atomic():
        Comparison.objects.select_for_update(no_key=True).get(pk=comparison.pk)
        head = _head(comparison, user)
        if head is None or head.kind == "withdrawn":
            return None
        made = Override.objects.create(
            comparison=comparison,
            judge=head.judge,
            user=user,
            rater=user.username,
            kind="withdrawn",
            judge_outcome=head.judge_outcome,
            at=now,
            supersedes=head,
        )
        _follow(made, user, now)
    return made


def _head(comparison: Comparison, user: User) -> Override | None:
    """The end of this person's line of decisions. The comparison is locked, so the line never forks."""
    return (
        Override.objects.filter(comparison=comparison, rater=user.username, superseded_by__isnull=True)
        .order_by("-id")
        .first()
    )


def _follow(made: Override, user: User, now: datetime) -> None:
    project = made.comparison.project
    preferences_derive(project=project, comparison_ids=[made.comparison_id], now=now)
    # a loop at its review gate goes on when the last of its comparisons is decided
    transaction.on_commit(lambda: decision_made(made.comparison_id))
    if made.kind != "agree":
        audit(
            actor=user,
            verb=f"override.{'withdraw' if made.kind == 'withdrawn' else 'create'}",
            target=f"comparison:{made.comparison_id}",
            project=project,
            data={"judge": made.judge.name, "was": made.judge_outcome, "choice": made.choice, "reason": made.reason},
        )
