"""A training set is frozen, and the policy learns from it; ReST goes through both several times."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils.translation import gettext_noop, ngettext

from apps.jobs.models import JobGroup
from apps.judging.services import judge_create
from apps.labels.selectors import preferences
from apps.policies.models import Checkpoint
from apps.training.models import Loop, Round, Stage, TrainingRun
from apps.training.rounds.ahead import Ahead, Foreseen
from apps.training.rounds.labels import n_left_out
from apps.training.rounds.loop_judge import REWARD_MODEL_JUDGE
from apps.training.rounds.material import round_material, start_of
from apps.training.rounds.on_the_way import n_kept
from apps.training.rounds.stages.base import At, RoundStage, need, steps_in_words, steps_of_run
from apps.training.rounds.stages.sample import drawer, round_prompts
from apps.training.rounds.stepwise import online_run_create
from apps.training.sets.overrides import overrides_before
from apps.training.sets.runs import training_run_create, training_run_enqueue
from apps.training.sets.snapshots import NothingToTrainOn, snapshot_create
from prefloop.judging.kinds import REWARD_MODEL
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import trainer_seed


class Freezing(RoundStage):
    key = Stage.SNAPSHOT
    words, icon = gettext_noop("Training set"), "file"

    def applies(self, recipe: Recipe, index: int, *, prepares: bool) -> bool:
        return index > 0 and recipe.objective.trains and not recipe.learns_in_steps

    def in_each_step(self, recipe: Recipe) -> bool:
        return recipe.is_online

    def has_jobs(self, at: At) -> bool:
        return False

    def leave(self, at: At) -> bool:
        """Freeze what the next training learns from, and make its run, once."""
        loop, round_, recipe = at.loop, at.round_, at.recipe
        step = _trainings(round_).filter(output__isnull=False).count()
        if step >= recipe.filter.n_steps:  # all of it was trained before
            return at.go_on()
        material = round_material(loop, round_, recipe, step=step)
        name = f"loop-{loop.pk}-round-{round_.index}" + (f"-step-{step + 1}" if step else "")
        # one transaction, behind the round's lock: of two who come at once the second finds it done
        with transaction.atomic():
            locked = Round.objects.select_for_update().get(pk=round_.pk)
            if locked.stage != round_.stage:
                return True
            if _trainings(round_).count() == step:
                snapshot = snapshot_create(
                    project=loop.project,
                    name=name,
                    labels=material.labels,
                    start=start_of(loop),
                    rows=material.rows,
                    sources=material.sources,
                    before=overrides_before(loop, round_.index),
                    label_policy={
                        "recipe": loop.recipe,
                        "label": recipe.to_json()["label"],
                        "judge": loop.judge.name if loop.judge else "",
                        "left_out": n_left_out(loop, recipe),
                    },
                )
                training_run_create(
                    project=loop.project,
                    round_=round_,
                    kind=_run_kind(recipe),
                    snapshot=snapshot,
                    start=_start(loop, round_, recipe),
                    reference=_reference(loop, round_, recipe) if recipe.objective.needs_reference else None,
                    # ReST: the rate falls with each Improve step (by how much, the paper does not say)
                    objective=replace(recipe.objective, lr=recipe.objective.lr / 2**step),
                    adapter=recipe.adapter,
                    anchor=recipe.anchor,
                    seed=trainer_seed(loop.seed, "round", round_.index, *([step] if step else [])),
                    keep_every=recipe.keep_every,
                )
            return at.go_on()

    def note(self, round_: Round, run: TrainingRun | None) -> str:
        if run is None or run.snapshot is None:
            return ""
        n = run.snapshot.n_pairs
        return ngettext("%(n)s row", "%(n)s rows", n) % {"n": f"{n:,}"}


class Training(RoundStage):
    key = Stage.TRAINING
    words, icon = gettext_noop("Training"), "bolt"

    def applies(self, recipe: Recipe, index: int, *, prepares: bool) -> bool:
        return index > 0 and recipe.objective.trains

    def has_jobs(self, at: At) -> bool:
        return at.recipe.learns_in_steps or _last_run(at.round_) is not None

    def enter(self, at: At) -> JobGroup:
        run = _last_run(at.round_) or online_run_create(
            loop=at.loop,
            round_=at.round_,
            recipe=at.recipe,
            prompt_ids=round_prompts(at.loop, at.round_, at.recipe, "train"),
            start=need(at.round_.policy),
            reference=_reference(at.loop, at.round_, at.recipe),
        )
        return training_run_enqueue(run=run, follow_up_payload=at.payload)

    def leave(self, at: At) -> bool:
        run = _last_run(at.round_)
        if run is None or _trainings(at.round_).filter(output__isnull=False).count() < at.recipe.filter.n_steps:
            return at.move(Stage.SNAPSHOT)  # the next Improve step
        if not at.recipe.objective.makes_reward_model:
            return at.go_on(output=run.output)
        with transaction.atomic():
            moved = at.go_on()
            if moved and run.output is not None:
                _reward_judge_create(at, run.output)
        return moved

    def foresee(self, ahead: Ahead, index: int) -> Foreseen:
        recipe, objective = ahead.recipe, ahead.recipe.objective
        made = Foreseen(checkpoints=recipe.filter.n_steps + kept_ahead(ahead, index))
        if recipe.memory.kind == "replay":
            return made + _replayed(ahead)
        steps = sum(_steps(ahead, index))
        if recipe.is_online:
            rows = objective.epochs * ahead.prompts if objective.rows == "pairs" else 0
            return made + ahead.asked + Foreseen(answers=ahead.answers, rows=rows, steps=steps)
        return made + Foreseen(rows=sum(_rows(ahead, index)), flags=ahead.flags, left_out=ahead.left_out, steps=steps)

    def count(self, round_: Round, run: TrainingRun | None) -> tuple[int, int] | None:
        return steps_of_run(run)

    def note(self, round_: Round, run: TrainingRun | None) -> str:
        return steps_in_words(run)


def _reward_judge_create(at: At, weights: Checkpoint) -> None:
    """Make the judge that scores by the new reward model.

    One by named criteria, or of a number of prompts, has a name of its own: it does not follow the project's usual one.
    """
    named = [name for name in at.recipe.label.weights if name]
    some = [str(at.recipe.prompts.n)] if at.recipe.prompts.n else []
    judge_create(
        project=at.loop.project,
        name="-".join((REWARD_MODEL_JUDGE, *named, *some))[:120],  # a judge's name is no longer
        kind=REWARD_MODEL.name,
        checkpoint=weights,
        criterion_name=named[0] if len(at.recipe.label.weights) == 1 and named else "",
    )


def _trainings(round_: Round) -> QuerySet[TrainingRun]:
    """The round's own training runs, oldest first: not the ingredients that round 0 makes for the loop."""
    runs = TrainingRun.objects.filter(round=round_).order_by("id")
    return runs if round_.index else runs.none()


def _last_run(round_: Round) -> TrainingRun | None:
    return TrainingRun.objects.filter(round=round_).select_related("output").order_by("-id").first()


def _start(loop: Loop, round_: Round, recipe: Recipe) -> Checkpoint:
    """Whose weights the next training of the round starts from: the one before it in this round, where there is one."""
    before = _trainings(round_).filter(output__isnull=False).select_related("output").last()
    if before is not None:
        return need(before.output)
    return need(loop.initial if recipe.objective.start_from == "initial" else round_.policy)


def _reference(loop: Loop, round_: Round, recipe: Recipe) -> Checkpoint:
    return drawer(loop, round_, recipe.objective.reference)


def _run_kind(recipe: Recipe) -> str:
    if recipe.run_kind is None:
        raise NothingToTrainOn(f"{recipe.name} trains nothing")
    return recipe.run_kind


def _rows(ahead: Ahead, index: int) -> list[int]:
    """Rows of each training of a round (ReST has several), at most: its own, and those that memory brings back."""
    recipe = ahead.recipe
    own = [_own_rows(ahead)]
    if recipe.filter.kind == "thresholds":
        own = [ceil(ahead.answers * (1 - quantile)) for quantile in recipe.filter.quantiles]
    if recipe.memory.kind == "rounds":
        return [rows * min(index, recipe.memory.k + 1) for rows in own]
    return [rows + _overridden(ahead) for rows in own] if recipe.memory.kind == "overrides" else own


def _steps(ahead: Ahead, index: int) -> list[int]:
    """Steps of each training of a round."""
    recipe, objective = ahead.recipe, ahead.recipe.objective
    if recipe.memory.kind == "replay":
        return [_replayed(ahead).steps]
    # on-policy, a step is a batch of prompts, whatever is made of their answers
    trainings = [ahead.prompts] if recipe.is_online else _rows(ahead, index)
    return [objective.epochs * -(-rows // objective.batch) for rows in trainings]


def kept_ahead(ahead: Ahead, index: int) -> int:
    """Count the policies of a round that will be measured on the way."""
    recipe = ahead.recipe
    return sum(n_kept(steps, recipe.keep_every) for steps in _steps(ahead, index)) if index and recipe.keep_every else 0


def _own_rows(ahead: Ahead) -> int:
    objective = ahead.recipe.objective
    if objective.rows == "groups" or objective.needs("teacher"):  # of each prompt: its own answer, or the data's
        return ahead.prompts
    if objective.rows == "demonstrations" and ahead.recipe.samples:
        return ahead.prompts * ahead.recipe.filter.n_kept(ahead.drawn)
    # both of each comparison, and the answers that are compared with none
    return 2 * ahead.labelled + ahead.flags + ahead.rated if objective.rows == "answers" else ahead.labelled


def _overridden(ahead: Ahead) -> int:
    rows = preferences().filter(comparison__project=ahead.project, comparison__held_out=False, source="override")
    return rows.filter(p_first__isnull=False).exclude(comparison__prompt__split="eval").count()


def _replayed(ahead: Ahead) -> Foreseen:
    """Pairs and steps of the loop that is replayed: the one named, else the newest of its kind."""
    recipe = ahead.recipe
    loops = Loop.objects.filter(project=ahead.project, recipe__in=recipe.needs, state="done").order_by("-id")
    if recipe.memory.run.isdecimal():
        loops = loops.filter(pk=int(recipe.memory.run))
    runs = TrainingRun.objects.filter(round__loop__in=loops[:1], kind="online", output__isnull=False)
    sums = runs.aggregate(steps=Sum("n_steps"), rows=Sum("snapshot__n_pairs"))
    return Foreseen(rows=sums["rows"] or 0, steps=sums["steps"] or 0)
