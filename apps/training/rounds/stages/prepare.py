"""What is made before a round can sample: the loop's own reward model, a start that can judge, or new prompts."""

from __future__ import annotations

from django.utils.translation import gettext_noop, ngettext

from apps.jobs.models import JobGroup
from apps.training.models import Round, Stage, TrainingRun
from apps.training.rounds.ahead import Ahead, Foreseen
from apps.training.rounds.ingredients import (
    comparisons_to_ask,
    first_verdicts_jobs,
    reward_model_adopt,
    reward_model_jobs,
)
from apps.training.rounds.loop_judge import ai_judge, needs_reward_model
from apps.training.rounds.self_rewarding import (
    n_judged,
    needs_start,
    start_adopt,
    start_jobs,
    start_run,
    writing_jobs,
)
from apps.training.rounds.stages.base import At, RoundStage, steps_in_words, steps_of_run
from apps.training.sets.runs import training_run_enqueue
from prefloop.judging.kinds import ASKING
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.recipe import AI_REWARD_MODEL, Recipe
from prefloop.recipes.self_instruct import N_SHOTS
from prefloop.types import PrefloopError


class Preparing(RoundStage):
    key = Stage.PREPARE
    words, icon = gettext_noop("Reward model"), "flask"

    def applies(self, recipe: Recipe, index: int, *, prepares: bool) -> bool:
        return prepares if index == 0 else recipe.prompts.generator != "none" and not recipe.learns_in_steps

    def has_jobs(self, at: At) -> bool:
        if at.round_.index > 0:
            return self.applies(at.recipe, at.round_.index, prepares=False) and not at.round_.written
        run = self._run(at)
        return self._makes(at) and (run is None or run.output is None)

    def enter(self, at: At) -> JobGroup:
        if at.round_.index > 0:
            return writing_jobs(at.loop, at.round_)
        run = self._run(at)
        if not needs_start(at.loop, at.recipe):
            if run is None and comparisons_to_ask(at.loop, at.round_, at.recipe):
                return first_verdicts_jobs(at.loop, at.round_, at.recipe)
            return reward_model_jobs(at.loop, at.round_)
        if run is None:
            return start_jobs(at.loop, at.round_)
        return training_run_enqueue(run=run, follow_up_payload=at.payload)

    def leave(self, at: At) -> bool:
        if at.round_.index == 0 and self._makes(at):
            run = self._run(at)
            if run is None or run.output is None:  # its rows, or its labels, are there: it is trained now
                return at.move(Stage.PREPARE)
            if needs_start(at.loop, at.recipe):
                start_adopt(at.loop, run.output)
                return True  # look again: the loop begins with what was made
            reward_model_adopt(at.loop, run.output)
        return at.go_on()

    def _makes(self, at: At) -> bool:
        return needs_start(at.loop, at.recipe) or needs_reward_model(at.loop, at.recipe)

    def _run(self, at: At) -> TrainingRun | None:
        """The training run of the ingredient that is made now."""
        if needs_start(at.loop, at.recipe):
            return start_run(at.round_)
        return TrainingRun.objects.filter(round=at.round_, kind="reward-model").select_related("output").first()

    def foresee(self, ahead: Ahead, index: int) -> Foreseen:
        made = Foreseen()
        if index == 0 and ahead.makes:
            objective = get_recipe("reward-model").objective
            steps = objective.epochs * -(-ahead.labels.count() // objective.batch)
            made += _first_calls(ahead) + Foreseen(reward_model_steps=steps, checkpoints=1)
        if index == 0 and ahead.teaches_start:
            made += Foreseen(teaching_steps=_teaching_steps(ahead), checkpoints=1)
        return made

    def shown_as(self, recipe: Recipe, index: int) -> tuple[str, str]:
        if index > 0:
            return gettext_noop("Prompts"), "prompts"
        return (gettext_noop("Start"), "book") if recipe.score.by == "policy" else (self.words, self.icon)

    def count(self, round_: Round, run: TrainingRun | None) -> tuple[int, int] | None:
        return steps_of_run(run)

    def note(self, round_: Round, run: TrainingRun | None) -> str:
        if round_.index > 0:
            n = len(round_.written.get("prompt_ids", []))
            return ngettext("%(n)s new prompt", "%(n)s new prompts", n) % {"n": f"{n:,}"}
        return steps_in_words(run)


def _first_calls(ahead: Ahead) -> Foreseen:
    """Calls to the judge whose labels an AI reward model learns, where it has said nothing yet."""
    if ahead.makes != AI_REWARD_MODEL:
        return Foreseen()
    try:
        judge = ai_judge(ahead.project, ahead.recipe)
    except PrefloopError:  # starting the loop says it
        return Foreseen()
    rows = ahead.comparisons
    if judge is None or judge.refusal(ASKING) or rows.filter(verdicts__judge=judge).exists():
        return Foreseen()
    n = rows.count()
    return ahead.paid(judge, pairs=n, answers=2 * n)


def _teaching_steps(ahead: Ahead) -> int:
    """Steps in which the start learns to judge: at most, where judgements of the project's own may not all do."""
    teach = ahead.recipe.teach
    judged = teach.eft if ahead.project.world else min(teach.eft, n_judged(ahead.project))
    chosen = min(teach.ift, ahead.labels.exclude(p_first=0.5).count())
    written = teach.writing if ahead.meant("train").count() > N_SHOTS else 0
    return teach.epochs * -(-(judged + chosen + written) // teach.batch)
