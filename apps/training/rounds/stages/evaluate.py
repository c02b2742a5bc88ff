"""What the round made is measured on held-out prompts."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.jobs.models import JobGroup
from apps.training.models import Round, Stage, TrainingRun
from apps.training.rounds.ahead import Ahead, Foreseen
from apps.training.rounds.evaluation import evaluation_jobs, judged, waits_for_judge
from apps.training.rounds.on_the_way import kept_end, kept_jobs, next_kept
from apps.training.rounds.stages.base import At, RoundStage
from apps.training.rounds.stages.learn import kept_ahead
from prefloop.recipes.recipe import Recipe


class Evaluating(RoundStage):
    key = Stage.EVALUATION
    words, icon = gettext_noop("Evaluation"), "graph"

    def applies(self, recipe: Recipe, index: int, *, prepares: bool) -> bool:
        return index > 0 or not recipe.objective.makes_reward_model

    def enter(self, at: At) -> JobGroup:
        kept = next_kept(at.round_)
        return evaluation_jobs(at.loop, at.round_) if kept is None else kept_jobs(at.loop, kept)

    def leave(self, at: At) -> bool:
        if (kept := next_kept(at.round_)) is not None:  # those on the way come first
            kept_end(kept, now=at.now)
            return at.move(Stage.EVALUATION)
        if waits_for_judge(at.round_.evaluation):  # the answers are there: they are judged now
            return at.move(Stage.EVALUATION)
        return at.go_on(result=at.round_.result | judged(at.round_.evaluation))

    def foresee(self, ahead: Ahead, index: int) -> Foreseen:
        kept = kept_ahead(ahead, index)
        judge, n = ahead.measurer.judge, ahead.measured * (1 + kept)
        people = ahead.recipe.evaluation.people if index else 0
        seen = Foreseen(evaluation_answers=n, people_pairs=people, kept=kept)
        if judge is None:
            return seen
        pairs = n * min(index, 2)  # with the start's and, from the second round on, the round before's
        asked = ahead.paid(judge, pairs=pairs, answers=n, orders=2)  # both orders, whatever the judge's own policy
        return seen + asked + Foreseen(evaluation_calls=asked.judge_calls, evaluation_dollars=asked.dollars)

    def note(self, round_: Round, run: TrainingRun | None) -> str:
        rate = round_.result.get("win_rate_vs_initial")
        if rate is not None and round_.index > 0:
            return _("win rate %(rate).0f %%") % {"rate": 100 * rate}
        accuracy = round_.result.get("accuracy")
        return _("accuracy %(rate).0f %%") % {"rate": 100 * accuracy} if accuracy is not None else ""
