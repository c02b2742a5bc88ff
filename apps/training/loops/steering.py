"""What people can do to a started loop: pause, cancel, resume, leave the gate, change the next rounds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.core.services import audit
from apps.jobs.models import Job
from apps.jobs.services import job_cancel
from apps.training.changes import bare_key, changeable, recipe_of
from apps.training.loops.starting import check_ingredients, with_evaluator
from apps.training.models import ACTIVE, MAX_ROUNDS, UNDER_WAY, Loop, LoopChange, LoopState, Round, Stage
from apps.training.rounds.advance import LOOP_ENDED, advance_enqueue
from apps.training.rounds.loop_judge import LoopRefused
from prefloop.config import Value, apply_settings, describe
from prefloop.recipes.recipe import Recipe
from prefloop.types import PrefloopError


class LoopNotActive(PrefloopError):
    """Only a running loop can be paused or cancelled, and only one that stopped early resumed."""


def loop_pause(*, loop: Loop, by: User | None) -> None:
    """Pause a loop: its jobs return to the queue with their state. Raises LoopNotActive."""
    with transaction.atomic():
        changed = Loop.objects.filter(pk=loop.pk, state__in=UNDER_WAY).update(state=LoopState.PAUSED)
        if not changed:
            raise LoopNotActive(f"loop {loop.pk} is not running: there is nothing to pause")
        audit(actor=by, verb="loop paused", target=f"loop {loop.pk}", project=loop.project)
    _jobs_cancel(loop, by)


def loop_cancel(*, loop: Loop, by: User | None, now: datetime) -> None:
    """Stop a loop: its jobs are cancelled, its results stay. Raises LoopNotActive."""
    with transaction.atomic():
        changed = Loop.objects.filter(pk=loop.pk, state__in=ACTIVE).update(state=LoopState.CANCELLED, ended_at=now)
        if not changed:
            raise LoopNotActive(f"loop {loop.pk} is not running")
        audit(actor=by, verb="loop cancelled", target=f"loop {loop.pk}", project=loop.project)
        LOOP_ENDED.tell(loop.pk)
    _jobs_cancel(loop, by)


def _jobs_cancel(loop: Loop, by: User | None) -> None:
    groups = loop.rounds.exclude(group=None).values_list("group_id", flat=True)
    for job in Job.objects.filter(group_id__in=list(groups)).exclude(state__in=("succeeded", "failed", "cancelled")):
        job_cancel(job=job, by=by)


def loop_resume(*, loop: Loop, by: User | None) -> None:
    """Continue a paused, failed or cancelled loop from the stage it stopped in. Raises LoopNotActive.

    Answers, verdicts and training so far are kept: the stage's jobs are made again and continue.
    """
    with transaction.atomic():
        changed = Loop.objects.filter(
            pk=loop.pk, state__in=(LoopState.FAILED, LoopState.CANCELLED, LoopState.PAUSED)
        ).update(state=LoopState.RUNNING, ended_at=None, failure_class="", error="")
        if not changed:
            raise LoopNotActive(f"loop {loop.pk} was not stopped early: there is nothing to resume")
        loop.rounds.exclude(stage=Stage.DONE).update(group=None)
        audit(actor=by, verb="loop resumed", target=f"loop {loop.pk}", project=loop.project)
        loop.refresh_from_db()
        advance_enqueue(loop)


def loop_continue(*, loop: Loop, by: User | None) -> None:
    """Leave the review gate with the decisions made so far. Raises LoopNotActive."""
    with transaction.atomic():
        changed = Loop.objects.filter(pk=loop.pk, state=LoopState.WAITING).update(state=LoopState.RUNNING)
        if not changed:
            raise LoopNotActive(f"loop {loop.pk} is not waiting for people")
        Round.objects.filter(loop=loop, stage=Stage.REVIEW).update(stage=Stage.SNAPSHOT, group=None)
        audit(actor=by, verb="review gate left", target=f"loop {loop.pk}", project=loop.project)
        advance_enqueue(loop)


def loop_change(
    *, loop: Loop, settings: Mapping[str, Value], n_rounds: int | None = None, by: User | None
) -> LoopChange:
    """Change settings, or the number of rounds, from the next round on; rounds that have started keep theirs.

    Raises ConfigError for an invalid value, LoopRefused for a setting that must stay, for a loop that has ended, and if
    no round is left for the change.
    """
    with transaction.atomic():
        locked = Loop.objects.select_for_update(no_key=True).get(pk=loop.pk)
        if locked.state == LoopState.DONE:
            raise LoopRefused(f"loop {loop.pk} is done: branch a new loop from one of its rounds instead")
        recipe = recipe_of(locked)
        made = apply_settings(recipe, settings)
        before = {info.key: info.default for info in describe(recipe)}
        _refuse_fixed(recipe, settings)
        really = {key: value for key, value in settings.items() if key not in before or _differs(made, key, before)}
        begun = Round.objects.filter(loop=locked).order_by("-index").values_list("index", flat=True).first() or 0
        rounds = locked.n_rounds if n_rounds is None else n_rounds
        _refuse_rounds(locked, recipe.group == "offline", rounds, begun)
        if not really and rounds == locked.n_rounds:
            raise LoopRefused("nothing would change: all values are the same as before")
        if really and begun + 1 > rounds:
            raise LoopRefused(f"round {begun} is the last one and has started: no round is left for a change")
        check_ingredients(locked.project, made)
        with_evaluator(locked.project, made, locked.judge)
        change = LoopChange.objects.create(
            loop=locked,
            from_round=begun + 1,
            chosen=really,
            n_rounds=rounds if rounds != locked.n_rounds else None,
            by=by,
        )
        Loop.objects.filter(pk=loop.pk).update(n_rounds=rounds)
        data = {"from_round": begun + 1, **{key: f"{before.get(key, '')} → {value}" for key, value in really.items()}}
        if rounds != locked.n_rounds:
            data["rounds"] = f"{locked.n_rounds} → {rounds}"
        audit(actor=by, verb="loop changed", target=f"loop {loop.pk}", project=locked.project, data=data)
    return change


def _differs(made: Recipe, key: str, before: Mapping[str, Value]) -> bool:
    now = {info.key: info.default for info in describe(made)}
    return key not in now or now[key] != before[key]


def _refuse_fixed(recipe: Recipe, settings: Mapping[str, Value]) -> None:
    """Refuse what may not change; a setting that belongs to an allowed change (`filter.beta`) may."""
    there = {bare_key(info.key) for info in describe(recipe)}
    free = {bare_key(info.key) for info in changeable(recipe)}
    for key in settings:
        if bare_key(key) in there - free:
            raise LoopRefused(f"{key} can't change while the loop runs: branch a new loop from one of its rounds")


def _refuse_rounds(loop: Loop, offline: bool, rounds: int, begun: int) -> None:
    if rounds == loop.n_rounds:
        return
    if offline:
        raise LoopRefused(f"{loop.recipe} trains once, on existing data: rounds must be 1, not {rounds}")
    if not max(begun, 1) <= rounds <= MAX_ROUNDS:
        raise LoopRefused(f"rounds must be between {max(begun, 1)}, which has started, and {MAX_ROUNDS}, not {rounds}")
