"""Leaving a person's labels out, from a date or all of them: what it changes, doing it, and undoing it.

No label is deleted. The labels of comparisons are derived without what the person said (derive.py), so preferences,
reports, exports and training sets made from then on agree; training sets that were frozen before stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.core.listeners import Listeners
from apps.core.services import audit
from apps.jobs.models import Turn
from apps.jobs.services import job_enqueue
from apps.labels.derive import derive
from apps.labels.models import Exclusion, Override, Rating, Vote
from apps.labels.review_counts import reviews_counted
from apps.labels.selectors import CHUNK, events_of, label_judge
from apps.labels.services import AT_ONCE, preferences_derive
from apps.labels.types import PEOPLE, Events, Label, OverrideEvent, VoteEvent
from apps.projects.models import Project
from apps.prompts.models import Prompt, ready
from apps.samples.locks import prompts_lock
from apps.samples.models import Comparison, comparable
from prefloop.types import PrefloopError

MAX_REASON = 2000
# told of the comparisons on which somebody's votes count no more, or count again
EXCLUSION_CHANGED: Listeners[[Project, Sequence[int]]] = Listeners()
# told of the prompts whose answers somebody rated whose ratings count no more, or count again; they are locked
RATER_CHANGED: Listeners[[Project, Sequence[int]]] = Listeners()


class NobodyThere(PrefloopError):
    """Nobody of this name has labelled anything in the project."""


class AlreadyExcluded(PrefloopError):
    """The person is excluded, from another date or all of it."""

    http_status = 409


class NotExcluded(PrefloopError):
    """There is no such exclusion, or it was lifted."""

    http_status = 409


@dataclass(frozen=True, slots=True)
class ExclusionEffect:
    """What leaving a person out changes in the labels. Training pairs: those that a new training set could take."""

    n_votes: int  # blind votes and adjudications that would no longer count
    n_decisions: int
    n_comparisons: int  # that these are about
    n_changed: int  # labels that say something else, are gone, or are new
    n_flipped: int  # of them: from one answer to the other
    n_to_judge: int  # labels that a judge gives where people did
    n_lost: int  # comparisons without any label
    n_pairs: int  # training pairs among these comparisons now
    n_pairs_after: int
    n_labels_after: int  # of these comparisons, those that people label without this person


def people_who_said(project: Project) -> list[str]:
    """Name everybody who voted, rated or decided in a project, imported raters among them."""
    votes = Vote.objects.filter(comparison__project=project).order_by().values_list("rater", flat=True).distinct()
    decided = Override.objects.filter(comparison__project=project).order_by().values_list("rater", flat=True)
    rated = Rating.objects.filter(completion__project=project).order_by().values_list("rater", flat=True)
    return sorted({*votes, *decided.distinct(), *rated.distinct()})


def exclusions_of(project: Project) -> list[Exclusion]:
    """List every exclusion, lifted ones too, the latest first."""
    return list(Exclusion.objects.filter(project=project).select_related("by", "lifted_by").order_by("-id"))


def exclusion_effect(*, project: Project, rater: str, since: datetime | None) -> ExclusionEffect:
    """Compare the labels as they are with those without this person's labels since then. Writes nothing.

    Raises NobodyThere.
    """
    _known(project, rater)
    ids = _touched(project, rater)
    comparable_ids = Comparison.objects.filter(ready(), comparable(), project=project, held_out=False)
    trainable = set(comparable_ids.filter(pk__in=ids).values_list("id", flat=True)) if ids else set()
    on: set[int] = set()
    n_votes = n_decisions = changed = flipped = to_judge = lost = pairs = pairs_after = left = 0
    for key, said in _said_of(project, ids):
        without = _without(said, rater, since)
        votes = _newly(said.votes, without.votes)
        decisions = _newly(said.overrides, without.overrides)
        if not votes and not decisions:
            continue
        on.add(key)
        n_votes += votes
        n_decisions += decisions
        before, after = _label(said), _label(without)
        left += _by_people(after)
        if key in trainable:
            pairs += before is not None and before.p_first is not None
            pairs_after += after is not None and after.p_first is not None
        to_judge += _by_people(before) and after is not None and not _by_people(after)
        lost += before is not None and after is None
        changed += (before and before.outcome) != (after and after.outcome)
        if before is not None and after is not None and before.p_first is not None and after.p_first is not None:
            flipped += (before.p_first - 0.5) * (after.p_first - 0.5) < 0
    return ExclusionEffect(
        n_votes=n_votes,
        n_decisions=n_decisions,
        n_comparisons=len(on),
        n_changed=changed,
        n_flipped=flipped,
        n_to_judge=to_judge,
        n_lost=lost,
        n_pairs=pairs,
        n_pairs_after=pairs_after,
        n_labels_after=left,
    )


def _said_of(project: Project, comparison_ids: Sequence[int]) -> Iterator[tuple[int, Events]]:
    """Read all labels of these comparisons, by one criterion after the other."""
    for criterion in ("", *project.known_criteria):
        judge = label_judge(project, criterion)
        yield from events_of(comparison_ids=comparison_ids, judge=judge, criterion=criterion).items()


def exclusion_create(
    *, project: Project, rater: str, since: datetime | None, reason: str, by: User, now: datetime
) -> Exclusion:
    """Exclude a person, and derive the labels they had a part in. Raises NobodyThere and AlreadyExcluded."""
    if len(reason) > MAX_REASON:
        raise PrefloopError(f"a reason has at most {MAX_REASON:,} characters")
    _known(project, rater)
    try:
        with transaction.atomic():
            prompt_ids = _rated_locked(project, rater)
            with reviews_counted(_reviewed(project, rater)):
                made = Exclusion.objects.create(project=project, rater=rater, since=since, reason=reason.strip(), by=by)
                ids = _changed(made, verb="annotator.exclude", by=by, now=now)
            EXCLUSION_CHANGED.tell(project, ids)
            RATER_CHANGED.tell(project, prompt_ids)
    except IntegrityError as error:
        raise AlreadyExcluded(f"{rater} is excluded already; undo that first to choose another date") from error
    return made


def exclusion_lift(*, exclusion: Exclusion, by: User, now: datetime) -> None:
    """Undo an exclusion: what the person said counts again. Raises NotExcluded."""
    with transaction.atomic():
        prompt_ids = _rated_locked(exclusion.project, exclusion.rater)
        with reviews_counted(_reviewed(exclusion.project, exclusion.rater)):
            lifted = Exclusion.objects.filter(pk=exclusion.pk, lifted_at=None).update(lifted_at=now, lifted_by=by)
            if not lifted:
                raise NotExcluded(f"{exclusion.rater} is not excluded any more")
            ids = _changed(exclusion, verb="annotator.include", by=by, now=now)
        EXCLUSION_CHANGED.tell(exclusion.project, ids)
        RATER_CHANGED.tell(exclusion.project, prompt_ids)


def _rated_locked(project: Project, rater: str) -> list[int]:
    """Find the prompts whose answers the person rated, and lock them: prompts come before comparisons."""
    rated = Rating.objects.filter(completion__project=project, rater=rater).order_by()
    ids = sorted(set(rated.values_list("completion__prompt", flat=True)))
    for some in chunks(ids, CHUNK):
        prompts_lock(Prompt.objects.filter(pk__in=some))
    return ids


def _reviewed(project: Project, rater: str) -> list[int]:
    """Find the comparisons whose place in Review may change at once; where they are many, those that the person
    decided on, which may wait again, and the job that derives the labels sees to the others.
    """
    touched = _touched(project, rater)
    if len(touched) <= AT_ONCE:
        return touched
    rows = Override.objects.filter(comparison__project=project, rater=rater).order_by("comparison")
    return list(rows.values_list("comparison_id", flat=True).distinct())


def _known(project: Project, rater: str) -> None:
    if rater not in people_who_said(project):
        raise NobodyThere(f"nobody called {rater!r} has labelled anything in this project")


def _changed(exclusion: Exclusion, *, verb: str, by: User, now: datetime) -> list[int]:
    """Derive the labels again; returns the comparisons whose labels are derived at once rather than by a job."""
    project, ids = exclusion.project, _touched(exclusion.project, exclusion.rater)
    since = exclusion.since.isoformat() if exclusion.since else ""
    audit(
        actor=by,
        verb=verb,
        target=f"exclusion:{exclusion.pk}",
        project=project,
        data={"since": since},
    )
    if len(ids) > AT_ONCE:
        title = f"Derive the labels that {exclusion.rater} had a part in"
        payload = {"comparison_ids": ids}
        job_enqueue(
            kind="labels.derive",
            turn=Turn.SOON,
            queue="cpu",
            payload=payload,
            project=project,
            title=title,
            started_by=by,
        )
        return []
    preferences_derive(project=project, comparison_ids=ids, now=now)
    return ids


def _touched(project: Project, rater: str) -> list[int]:
    """Find the comparisons that a person voted on or decided."""
    voted = Vote.objects.filter(comparison__project=project, rater=rater).values("comparison")
    decided = Override.objects.filter(comparison__project=project, rater=rater).values("comparison")
    rows = Comparison.objects.filter(Q(pk__in=voted) | Q(pk__in=decided), ready(), comparable(), project=project)
    return list(rows.order_by("id").values_list("id", flat=True))


def _without(said: Events, rater: str, since: datetime | None) -> Events:
    def is_theirs(event: VoteEvent | OverrideEvent) -> bool:
        return event.rater == rater and (since is None or event.at >= since)

    return Events(
        tuple(replace(vote, excluded=True) if is_theirs(vote) else vote for vote in said.votes),
        tuple(replace(one, excluded=True) if is_theirs(one) else one for one in said.overrides),
        said.judge,
    )


def _newly(before: Sequence[VoteEvent | OverrideEvent], after: Sequence[VoteEvent | OverrideEvent]) -> int:
    """Count the events that stand before and not after, replaced ones aside."""
    replaced = {event.supersedes for event in before}
    return sum(
        new.excluded and not old.excluded and old.id not in replaced and "withdrawn" not in {old.choice, _kind(old)}
        for old, new in zip(before, after, strict=True)
    )


def _kind(event: VoteEvent | OverrideEvent) -> str:
    return event.kind if isinstance(event, OverrideEvent) else ""


def _label(said: Events) -> Label | None:
    return derive(votes=said.votes, overrides=said.overrides, judge=said.judge)


def _by_people(label: Label | None) -> bool:
    return label is not None and label.source in PEOPLE
