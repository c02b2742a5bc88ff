"""People look at the labels that are worth their time, where the recipe says so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.events.telling import tell
from apps.jobs.models import Job
from apps.training.models import Loop, LoopState, Round, Stage, TrainingRun
from apps.training.rounds.ahead import Ahead, Foreseen
from apps.training.rounds.review import review_choose, review_is_done, reviewed_ids
from apps.training.rounds.stages.base import At, Progress, RoundStage
from prefloop.recipes.recipe import Recipe


class Reviewing(RoundStage):
    key = Stage.REVIEW
    words, icon = gettext_noop("People"), "people"

    def applies(self, recipe: Recipe, index: int, *, prepares: bool) -> bool:
        asks = recipe.review.mode != "none" and recipe.objective.trains
        return asks and index > 0 and not recipe.learns_in_steps

    def in_each_step(self, recipe: Recipe) -> bool:
        return recipe.is_online and recipe.memory.kind == "overrides"

    def has_jobs(self, at: At) -> bool:
        return False

    def leave(self, at: At) -> bool:
        """Go on where people have decided all that is asked and nothing more is worth asking; else wait for them."""
        here = Loop.objects.filter(pk=at.loop.pk)
        if not self.applies(at.recipe, at.round_.index, prepares=False):
            return at.go_on()
        if not review_is_done(at.round_):
            self._wait(at, len(at.round_.review_comparison_ids))  # resumed while the gate was closed: it waits again
            return False
        chosen = review_choose(loop=at.loop, round_=at.round_, recipe=at.recipe)
        if not chosen:
            here.filter(state=LoopState.WAITING).update(state=LoopState.RUNNING)
            return at.go_on()
        asked = [*at.round_.review_comparison_ids, *chosen]
        Round.objects.filter(pk=at.round_.pk).update(review_comparison_ids=asked)
        self._wait(at, len(asked))
        return True  # look again: people may have decided all of it meanwhile, or before

    def _wait(self, at: At, n: int) -> None:
        """Let the loop wait for people, and tell of it once."""
        with transaction.atomic():
            if Loop.objects.filter(pk=at.loop.pk, state=LoopState.RUNNING).update(state=LoopState.WAITING):
                tell("review.waiting", at.loop.project, loop=at.loop.pk, round=at.round_.index, n=n)

    def foresee(self, ahead: Ahead, index: int) -> Foreseen:
        n, review = ahead.labelled, ahead.recipe.review
        return Foreseen(reviews=n if review.mode == "all" else min(review.budget or n, n))

    def progress(self, round_: Round, jobs: Sequence[Job], run: TrainingRun | None, now: datetime) -> Progress | None:
        total = len(round_.review_comparison_ids)
        return Progress(len(reviewed_ids(round_)), total) if total else None

    def note(self, round_: Round, run: TrainingRun | None) -> str:
        of = len(round_.review_comparison_ids)
        return _("%(n)d of %(of)d looked at") % {"n": len(reviewed_ids(round_)), "of": of} if of else ""
