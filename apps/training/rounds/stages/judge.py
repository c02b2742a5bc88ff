"""The round's answers are scored or compared, and become pairs with labels."""

from __future__ import annotations

from django.utils.translation import gettext_noop, ngettext

from apps.jobs.models import JobGroup
from apps.jobs.services import group_create
from apps.judging.services import judging_run_create, judging_run_enqueue, scoring_enqueue
from apps.samples.models import Comparison
from apps.training.models import Loop, Round, Stage, TrainingRun
from apps.training.rounds.ahead import Ahead, Foreseen
from apps.training.rounds.answers import round_pairs_create
from apps.training.rounds.labels import round_origin, stored_of
from apps.training.rounds.self_rewarding import own_judge
from apps.training.rounds.stages.base import At, RoundStage, need
from apps.training.sets.snapshots import NothingToTrainOn
from prefloop.judging.kinds import ASKING
from prefloop.recipes.recipe import Recipe


class Judging(RoundStage):
    key = Stage.JUDGING
    words, icon = gettext_noop("Judging"), "judges"

    def applies(self, recipe: Recipe, index: int, *, prepares: bool) -> bool:
        if index == 0 or recipe.learns_in_steps:
            return False
        return self._scores(recipe) or _asks_a_judge(recipe) or recipe.label.by == "data"

    def in_each_step(self, recipe: Recipe) -> bool:
        return recipe.is_online

    def _scores(self, recipe: Recipe) -> bool:
        return recipe.score.by == "policy" or (recipe.score.by == "judge" and recipe.samples)

    def has_jobs(self, at: At) -> bool:
        return self._scores(at.recipe) or (_asks_a_judge(at.recipe) and at.loop.judge is not None)

    def enter(self, at: At) -> JobGroup:
        if at.recipe.score.by == "policy":  # the round's judge is the policy that it starts from
            at.loop.judge = own_judge(at.loop, at.recipe, need(at.round_.policy))
            Loop.objects.filter(pk=at.loop.pk).update(judge=at.loop.judge)
        return _scoring_jobs(at) if self._scores(at.recipe) else _judging_jobs(at)

    def leave(self, at: At) -> bool:
        if self._scores(at.recipe) or at.recipe.label.by == "data":
            round_pairs_create(loop=at.loop, round_=at.round_, recipe=at.recipe)
        return at.go_on()

    def foresee(self, ahead: Ahead, index: int) -> Foreseen:
        return ahead.asked

    def shown_as(self, recipe: Recipe, index: int) -> tuple[str, str]:
        # the data's answers against the policy's own: nobody is asked which is better
        return (gettext_noop("Pairs"), "columns") if recipe.label.by == "data" else (self.words, self.icon)

    def note(self, round_: Round, run: TrainingRun | None) -> str:
        loop = round_.loop
        n = Comparison.objects.filter(project=loop.project_id, origin=round_origin(loop, round_.index)).count()
        return (ngettext("%(n)s pair", "%(n)s pairs", n) % {"n": f"{n:,}"}) if n else ""


def _asks_a_judge(recipe: Recipe) -> bool:
    """Whether a judge labels stored comparisons."""
    return recipe.label.by == "preferences" and bool(recipe.label.named_judge)


def _scoring_jobs(at: At) -> JobGroup:
    if at.loop.judge is None or at.round_.sampling_run is None:
        raise NothingToTrainOn("the loop has no judge to score its answers")
    return scoring_enqueue(
        judge=at.loop.judge,
        sampling_run=at.round_.sampling_run,
        follow_up_kind="rounds.advance",
        follow_up_payload=at.payload,
    )


def _judging_jobs(at: At) -> JobGroup:
    loop, round_ = at.loop, at.round_
    if round_.judging_run is not None:
        return judging_run_enqueue(
            run=round_.judging_run, follow_up_kind="rounds.advance", follow_up_payload=at.payload
        )
    if loop.judge is None:
        raise NothingToTrainOn("the loop has no judge to ask")
    ids = list(stored_of(loop).values_list("id", flat=True))
    if loop.judge.refusal(ASKING):  # what it said is all that there is
        return group_create(
            project=loop.project,
            name=f"loop {loop.pk}: imported verdicts",
            jobs=[],
            follow_up_kind="rounds.advance",
            follow_up_payload=at.payload,
        )
    run = judging_run_create(
        project=loop.project,
        judge=loop.judge,
        comparison_ids=ids,
        purpose="loop",
        started_by=loop.started_by,
        follow_up_kind="rounds.advance",
        follow_up_payload=at.payload,
    )
    Round.objects.filter(pk=round_.pk).update(judging_run=run)
    if run.group is None:
        raise AssertionError("a judging run has its jobs")
    return run.group
