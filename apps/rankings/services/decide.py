"""Decisions made after seeing a judge's label: to agree with it or to correct it. Appended, one chain of events per
person.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

from django.db import transaction
from django.utils.translation import gettext_noop

from apps.accounts.models import User
from apps.core.services import audit
from apps.labels.models import Judge, Override
from apps.labels.raters import rater_name
from apps.labels.selectors import decisions_among, judge_labels, last_decision, last_standing
from apps.labels.services import override_append
from apps.labels.telling import decision_told
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.rounds import decision_made
from apps.rankings.services.vote import MAX_REASON
from apps.samples import exposure
from apps.samples.models import Comparison, comparable
from prefloop.types import OUTCOMES, PrefloopError

# Why a label was corrected; what people pick most often, so that it can be counted. Free text may follow.
REASONS = {
    "wrong_fact": gettext_noop("Wrong fact"),
    "missed_instruction": gettext_noop("Missed the instruction"),
    "length": gettext_noop("Fell for length"),
    "style": gettext_noop("Fell for style"),
    "position": gettext_noop("Preferred the answer shown first"),
    "unsafe": gettext_noop("Rude or unsafe"),
    "no_difference": gettext_noop("No real difference"),
}


_TRIES = 3
MOST_TOGETHER = 200  # agreements in one step


class BadDecision(PrefloopError):
    """An invalid decision."""


class NoDecision(PrefloopError):
    """This person has no current decision here."""

    http_status = 409

    def __init__(self) -> None:
        super().__init__("You have no decision to undo here.")


def override_create(
    *,
    comparison: Comparison,
    judge: Judge,
    user: User,
    now: datetime,
    kind: str = "override",
    choice: str = "",
    reason: str = "",
    together: str = "",
) -> Override:
    """Record that a person agrees with a judge's label, or what it should have been instead, with the reason.

    `choice` is canonical (first, second, tie, both_bad) and goes with `override` only. Agreeing where the judge has no
    label leaves the pair without one; an override equal to the judge's label is stored as an agreement. The verdicts
    stay unchanged. The same decision again returns the same row. The person has seen the label and can't vote blind any
    more.
    """
    if kind not in {"agree", "override"}:
        raise BadDecision(f"a decision is agree or override, not {kind!r}")
    if kind == "override" and choice not in OUTCOMES:
        raise BadDecision(f"choice must be one of {', '.join(OUTCOMES)}, not {choice!r}")
    if len(reason) > MAX_REASON:
        raise BadDecision(f"a reason has at most {MAX_REASON:,} characters")
    if judge.project_id != comparison.project_id:
        raise BadDecision("this judge belongs to another project")
    exposure.shown(user_id=user.pk, comparison_ids=[comparison.pk], where="override")
    with transaction.atomic():
        Comparison.objects.select_for_update(no_key=True).get(pk=comparison.pk)
        label = judge_labels(comparison_ids=[comparison.pk], judge=judge).get(comparison.pk)
        said = "" if label is None else label.outcome or ""
        if choice == said:
            kind = "agree"
        if kind == "agree":
            choice = said
        head = last_decision(comparison, user, judge.criterion_name)
        if head is not None and (head.kind, head.choice, head.reason) == (kind, choice, reason.strip()):
            return head
        made = Override(
            comparison=comparison,
            judge=judge,
            user=user,
            rater=rater_name(user, comparison),
            kind=kind,
            choice=choice,
            judge_outcome="" if label is None else (label.outcome or label.state),
            reason=reason.strip(),
            at=now,
            together=together,
            supersedes=head,
        )
        _decided(made, user, now)
    return made


def agree_many(*, project: Project, judge: Judge, comparison_ids: Sequence[int], user: User, now: datetime) -> int:
    """Agree with a judge's labels of several comparisons in one step, which one undo takes back.

    Left out: those that somebody has decided meanwhile, and those on which the judge has no label. Returns how many
    were agreed with. Raises BadDecision.
    """
    wanted = sorted(set(comparison_ids))
    if len(wanted) > MOST_TOGETHER:
        raise BadDecision(f"at most {MOST_TOGETHER} comparisons in one step, not {len(wanted)}")
    rows = Comparison.objects.filter(ready(), comparable(), project=project, held_out=False, pk__in=wanted)
    labels = judge_labels(comparison_ids=wanted, judge=judge)
    decided = decisions_among(wanted, judge.criterion_name)
    together, n = uuid4().hex, 0
    for comparison in rows.select_related("project").order_by("id"):
        label = labels.get(comparison.pk)
        if comparison.pk in decided or label is None or label.outcome is None:
            continue
        override_create(comparison=comparison, judge=judge, user=user, now=now, kind="agree", together=together)
        n += 1
    return n


def override_withdraw(*, comparison: Comparison, user: User, now: datetime, criterion: str = "") -> Override:
    """Withdraw this person's own decision on a comparison, by a criterion. Raises NoDecision if there is none."""
    with transaction.atomic():
        Comparison.objects.select_for_update(no_key=True).get(pk=comparison.pk)
        head = last_decision(comparison, user, criterion)
        if head is None or head.kind == "withdrawn":
            raise NoDecision
        made = Override(
            comparison=comparison,
            judge=head.judge,
            user=user,
            rater=head.rater,
            kind="withdrawn",
            judge_outcome=head.judge_outcome,
            at=now,
            supersedes=head,
        )
        _decided(made, user, now)
    return made


def override_undo(*, project: Project, user: User, now: datetime) -> Override:
    """Withdraw this person's last current decision in a project; called again, the one before it.

    Decisions that were made in one step are withdrawn in one step. Raises NoDecision.
    """
    said = Override.objects.filter(comparison__project=project, user=user).select_related("comparison", "judge")
    # one that is taken back in another tab meanwhile gives way to the one before it
    for last in last_standing(said, _TRIES, said="kind"):
        with suppress(NoDecision):
            taken = _taken_back(last, user, now)
            if last.together:
                for other in last_standing(said, 2 * MOST_TOGETHER, said="kind"):
                    if other.together == last.together:
                        with suppress(NoDecision):
                            _taken_back(other, user, now)
            return taken
    raise NoDecision


def _taken_back(last: Override, user: User, now: datetime) -> Override:
    criterion = last.judge.criterion_name
    return override_withdraw(comparison=last.comparison, user=user, now=now, criterion=criterion)


def _decided(made: Override, user: User, now: datetime) -> None:
    project = made.comparison.project
    override_append(override=made, now=now)
    decision_told(f"override.{'withdrawn' if made.kind == 'withdrawn' else 'created'}", project, made)
    # a loop at its review gate goes on when the last of its comparisons is decided
    transaction.on_commit(lambda: decision_made(made.comparison_id))
    if made.kind != "agree":
        audit(
            actor=user,
            verb=f"override.{'withdraw' if made.kind == 'withdrawn' else 'create'}",
            target=f"comparison:{made.comparison_id}",
            project=project,
            data={"judge": made.judge.name, "was": made.judge_outcome, "choice": made.choice, "override": made.pk},
        )
