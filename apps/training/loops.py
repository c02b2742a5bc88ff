"""Starting a loop, and what people do to it while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from apps.accounts.models import User
from apps.core.services import audit
from apps.jobs.models import Job
from apps.jobs.services import job_cancel, job_enqueue
from apps.judging.models import Judge, JudgeKind, Score
from apps.judging.selectors import NoJudge, compares_pairs, judge_by_name
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name, checkpoint_default
from apps.projects.models import Project
from apps.prompts.selectors import given_prompts
from apps.rankings.models import Preference
from apps.training.models import Loop, LoopState, Round, Stage
from prefloop.config import Value, apply_settings
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.recipe import AI_REWARD_MODEL, Recipe
from prefloop.types import PrefloopError

REWARD_MODEL_JUDGE = "reward-model"
LATEST = "latest"  # of `objective.reference`: the newest policy that a loop of the project made
MADE_JUDGES = (REWARD_MODEL_JUDGE, AI_REWARD_MODEL)  # from the project's labels; from a judge's alone
NO_POLICY = "the project has no policy to start from: import one on the Policies page"
ACTIVE = (LoopState.QUEUED, LoopState.RUNNING, LoopState.WAITING, LoopState.PAUSED)


class LoopRefused(PrefloopError):
    """A loop that can't start, and what would have to be there for it."""


class LoopNotActive(PrefloopError):
    """Only a loop that is under way can be cancelled, and only one that ended early resumed."""


def loop_start(
    *,
    project: Project,
    recipe: str,
    settings: Mapping[str, Value] | None = None,
    n_rounds: int | None = None,
    seed: int = 0,
    start: str = "",
    started_by: User | None = None,
) -> Loop:
    """Start a recipe. Nothing is written unless everything it needs is there or can be made first.

    Raises UnknownRecipe, ConfigError, LoopRefused, NoCheckpoint.
    """
    chosen = dict(settings or {})
    made = apply_settings(get_recipe(recipe), chosen)
    rounds = n_rounds if n_rounds is not None else made.rounds
    if not 1 <= rounds <= 1000:
        raise LoopRefused(f"rounds must be between 1 and 1000, not {rounds}")
    if made.group == "offline" and rounds != 1:
        raise LoopRefused(f"{recipe} trains once on what is there: rounds must be 1, not {rounds}")
    initial = checkpoint_by_name(project, start) if start else checkpoint_default(project, "policy")
    if initial is None:
        raise LoopRefused(NO_POLICY)
    made = _with_replayed(project, with_teacher(project, made))
    _check_ingredients(project, made)
    judge = loop_judge(project, made)
    with transaction.atomic():
        loop = Loop.objects.create(
            project=project,
            recipe=made.name,
            config=made.to_json(),
            chosen=chosen,
            n_rounds=rounds,
            seed=seed,
            initial=initial,
            judge=judge,
            started_by=started_by,
        )
        Round.objects.create(loop=loop, index=0, policy=initial, output=initial)
        audit(actor=started_by, verb="loop started", target=f"loop {loop.pk} ({recipe})", project=project, data=chosen)
        advance_enqueue(loop)
    return loop


def loop_obstacle(project: Project, recipe: Recipe) -> str:
    """Say why this recipe can't start here and now, in one line; "" where it can."""
    if checkpoint_default(project, "policy") is None:
        return NO_POLICY
    try:
        recipe = _with_replayed(project, with_teacher(project, recipe))
        _check_ingredients(project, recipe)
        loop_judge(project, recipe)
    except PrefloopError as error:
        return str(error)
    return ""


def with_teacher(project: Project, recipe: Recipe) -> Recipe:
    """Name the checkpoint that `objective.reference=latest` means now. Raises LoopRefused where no loop made one."""
    if recipe.objective.reference != LATEST:
        return recipe
    made = Round.objects.filter(loop__project=project, index__gt=0, output__role="policy").order_by("-id").first()
    if made is None or made.output is None:
        raise LoopRefused(
            f"{recipe.name} needs a teacher, and no loop of the project has made a policy yet: run another recipe "
            "first, or name one by objective.reference=checkpoint:NAME"
        )
    named = replace(recipe.objective, reference=f"checkpoint:{made.output.name}")
    return replace(recipe, objective=named)


def _with_replayed(project: Project, recipe: Recipe) -> Recipe:
    """Name the loop whose stream a tandem recipe learns from, so that the settings say it. Raises LoopRefused."""
    if recipe.memory.kind != "replay":
        return recipe
    loops = Loop.objects.filter(project=project, recipe__in=recipe.needs, state=LoopState.DONE)
    if recipe.memory.run:
        loops = loops.filter(pk=int(recipe.memory.run)) if recipe.memory.run.isdecimal() else loops.none()
    found = loops.order_by("-id").first()
    if found is None:
        names = " or ".join(recipe.needs)
        which = f"loop {recipe.memory.run!r} is no finished {names} loop" if recipe.memory.run else "there is none yet"
        raise LoopRefused(f"{recipe.name} learns from what a finished {names} loop logged, and {which}: run one first")
    return replace(recipe, memory=replace(recipe.memory, run=str(found.pk)))


def advance_enqueue(loop: Loop) -> Job:
    """Enqueue a step of the loop; steps are idempotent, so one too many does nothing."""
    return job_enqueue(
        kind="rounds.advance",
        queue="cpu",
        payload={"loop": loop.pk},
        project=loop.project,
        title=f"Loop {loop.pk}: next step",
    )


def loop_judge(project: Project, recipe: Recipe) -> Judge | None:
    """Return whose scores (or labels) the loop takes; None: nobody's, or a reward model that is made first.

    Raises LoopRefused for a judge that can't score, NoJudge for one that is not there.
    """
    if recipe.label.by == "judge" and recipe.score.by != "judge":
        return _comparing_judge(project, recipe)
    if recipe.score.by == "judge":
        name = recipe.score.judge
        if name in MADE_JUDGES:
            return _made_judge(project, name)
        judge = judge_by_name(project, name)
        if judge.kind not in (JudgeKind.REWARD_MODEL, JudgeKind.WORLD):
            raise LoopRefused(f"judge {name!r} compares answers but gives no scores; choose a reward model")
        return judge
    if recipe.label.by == "preferences" and recipe.label.judge not in ("", "people"):
        return judge_by_name(project, recipe.label.judge)
    return None


def _made_judge(project: Project, name: str) -> Judge | None:
    """Return the judge that a loop makes first where it is missing."""
    try:
        return judge_by_name(project, name)
    except NoJudge:
        return None


def _comparing_judge(project: Project, recipe: Recipe) -> Judge | None:
    """Return who compares fresh answers; None: a reward model that is made first. Raises LoopRefused, NoJudge."""
    name = recipe.label.judge or REWARD_MODEL_JUDGE
    if name == REWARD_MODEL_JUDGE:
        return _made_judge(project, name)
    judge = judge_by_name(project, name)
    if not compares_pairs(judge):
        raise LoopRefused(f"judge {name!r} can't compare two answers inside a step: choose one that compares pairs")
    return judge


def made_judge_name(recipe: Recipe) -> str:
    """Name the judge that the loop makes first where the project lacks it; "" where it takes none of that kind."""
    if recipe.label.by == "judge" and recipe.score.by != "judge":
        return REWARD_MODEL_JUDGE if recipe.label.judge in ("", REWARD_MODEL_JUDGE) else ""
    return recipe.score.judge if recipe.score.by == "judge" and recipe.score.judge in MADE_JUDGES else ""


def teaches(recipe: Recipe) -> bool:
    """Whether the start is to learn from judge demonstrations before the first round."""
    return recipe.score.by == "policy" and recipe.teach.eft > 0


def additive_scores(project: Project) -> QuerySet[Score]:
    """Return what language models wrote as judges on a scale from 0 to 5 in this project, and could be read."""
    return Score.objects.filter(
        judge__project=project, judge__kind=JudgeKind.LLM, judge__mode="additive", state="ok", value__isnull=False
    )


def needs_reward_model(loop: Loop, recipe: Recipe) -> bool:
    return bool(made_judge_name(recipe)) and loop.judge_id is None


def _check_ingredients(project: Project, recipe: Recipe) -> None:
    samples = any(draw.source != "data" for draw in recipe.draws)
    if samples and not given_prompts(project, split="train").exists():
        raise LoopRefused("the project has no training prompts: import some on the Data page")
    if recipe.objective.loss != "bradley-terry" and not given_prompts(project, split="eval").exists():
        raise LoopRefused("the project holds no prompts out to measure on: import some with the split eval")
    replays = recipe.memory.kind == "replay"
    from_labels = recipe.label.by == "preferences" or any(draw.source == "data" for draw in recipe.draws)
    from_labels = from_labels and not replays
    makes_reward_model = bool(made_judge_name(recipe))
    if teaches(recipe) and not project.world and not additive_scores(project).exists():
        raise LoopRefused(
            "the project has no judge demonstrations that the start could learn from: have a judge that gives a score "
            "from 0 to 5 judge some labelled pairs, or set teach.eft=0 for a start that can judge already"
        )
    from_labels = from_labels or bool(teaches(recipe) and recipe.teach.ift)
    if from_labels or (makes_reward_model and loop_judge(project, recipe) is None):
        named_judge = recipe.label.by == "preferences" and recipe.label.judge not in ("", "people")
        labelled = Preference.objects.filter(
            comparison__project=project, comparison__held_out=False, p_first__isnull=False
        )
        if not named_judge and not labelled.exists():
            raise LoopRefused(
                "no comparison of the project has a label yet: annotate some pairs, ask a judge, or import labels"
            )
    for name in (*(draw.source for draw in recipe.draws), recipe.objective.reference, recipe.prompts.writer):
        if name.startswith("checkpoint:"):
            checkpoint_by_name(project, name.removeprefix("checkpoint:"))


def loop_cancel(*, loop: Loop, by: User | None, now: datetime) -> None:
    """Stop a loop: its jobs are cancelled, what it made stays. Raises LoopNotActive."""
    with transaction.atomic():
        changed = Loop.objects.filter(pk=loop.pk, state__in=ACTIVE).update(state=LoopState.CANCELLED, ended_at=now)
        if not changed:
            raise LoopNotActive(f"loop {loop.pk} is not under way")
        audit(actor=by, verb="loop cancelled", target=f"loop {loop.pk}", project=loop.project)
    groups = loop.rounds.exclude(group=None).values_list("group_id", flat=True)
    for job in Job.objects.filter(group_id__in=list(groups)).exclude(state__in=("succeeded", "failed", "cancelled")):
        job_cancel(job=job, by=by)


def loop_resume(*, loop: Loop, by: User | None) -> None:
    """Go on with a loop that failed or was cancelled, from the stage it stopped in. Raises LoopNotActive.

    What was sampled, judged and trained so far is kept: the stage's jobs are made anew and continue.
    """
    with transaction.atomic():
        changed = Loop.objects.filter(
            pk=loop.pk, state__in=(LoopState.FAILED, LoopState.CANCELLED, LoopState.PAUSED)
        ).update(state=LoopState.RUNNING, ended_at=None, failure_class="", error="")
        if not changed:
            raise LoopNotActive(f"loop {loop.pk} did not stop early: there is nothing to resume")
        loop.rounds.exclude(stage=Stage.DONE).update(group=None)
        audit(actor=by, verb="loop resumed", target=f"loop {loop.pk}", project=loop.project)
        loop.refresh_from_db()
        advance_enqueue(loop)


def loop_continue(*, loop: Loop, by: User | None) -> None:
    """Leave the review gate with what people have decided so far. Raises LoopNotActive."""
    with transaction.atomic():
        changed = Loop.objects.filter(pk=loop.pk, state=LoopState.WAITING).update(state=LoopState.RUNNING)
        if not changed:
            raise LoopNotActive(f"loop {loop.pk} is not waiting for people")
        Round.objects.filter(loop=loop, stage=Stage.REVIEW).update(stage=Stage.SNAPSHOT, group=None)
        audit(actor=by, verb="review gate left", target=f"loop {loop.pk}", project=loop.project)
        advance_enqueue(loop)


def checkpoint_name(loop: Loop, index: int) -> str:
    return f"{loop.recipe}-{loop.pk}-round-{index}"


def previous_policy(loop: Loop, index: int) -> Checkpoint | None:
    """Return the policy that round `index` starts from: the output of the one before it."""
    before = loop.rounds.filter(index=index - 1).select_related("output").first()
    return before.output if before else loop.initial
