"""Starting a loop: what it needs, and which judge it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from apps.accounts.models import User
from apps.core.services import audit
from apps.jobs.models import Job
from apps.jobs.services import job_enqueue
from apps.judging.models import Judge, JudgeKind, Score
from apps.judging.selectors import NoJudge, compares_pairs, judge_by_name
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name, checkpoint_default
from apps.projects.models import Project
from apps.prompts.selectors import given_prompts
from apps.rankings.models import Preference
from apps.training.models import Loop, LoopState, Round
from prefloop.config import Value, apply_settings
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.recipe import AI_REWARD_MODEL, Recipe
from prefloop.types import PrefloopError

REWARD_MODEL_JUDGE = "reward-model"
LATEST = "latest"  # of `objective.reference`: the newest policy that a loop of the project made
MADE_JUDGES = (REWARD_MODEL_JUDGE, AI_REWARD_MODEL)  # from the project's labels; from a judge's alone
NO_POLICY = "the project has no policy to start from: import one on the Policies page"
UNDER_WAY = (LoopState.QUEUED, LoopState.RUNNING, LoopState.WAITING)  # a paused loop takes no step
ACTIVE = (*UNDER_WAY, LoopState.PAUSED)


class LoopRefused(PrefloopError):
    """A loop that can't start, and what would have to be there for it.

    `offer`: how it can be made from the page: "import", "prompts", "labels", or "recipe:NAME", a loop that makes it.
    """

    def __init__(self, text: str, *, offer: str = "") -> None:
        super().__init__(text)
        self.offer = offer


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a recipe can't start here and now, in one line, and what is offered to put it right."""

    text: str
    offer: str = ""


def loop_start(
    *,
    project: Project,
    recipe: str,
    settings: Mapping[str, Value] | None = None,
    n_rounds: int | None = None,
    seed: int = 0,
    start: str = "",
    branched_from: Round | None = None,
    started_by: User | None = None,
) -> Loop:
    """Start a recipe. Nothing is written unless everything it needs is there or can be made first.

    `branched_from`: the finished round of another loop whose settings and checkpoint this one was begun with.
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
        raise LoopRefused(NO_POLICY, offer="import")
    made = _with_replayed(project, with_teacher(project, made))
    check_ingredients(project, made)
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
            branched_from=branched_from,
            started_by=started_by,
        )
        Round.objects.create(loop=loop, index=0, policy=initial, output=initial)
        audit(actor=started_by, verb="loop started", target=f"loop {loop.pk} ({recipe})", project=project, data=chosen)
        advance_enqueue(loop)
    return loop


def loop_obstacle(project: Project, recipe: Recipe) -> Obstacle | None:
    """Say why this recipe can't start here and now; None where it can."""
    if checkpoint_default(project, "policy") is None:
        return Obstacle(NO_POLICY, "import")
    try:
        recipe = _with_replayed(project, with_teacher(project, recipe))
        check_ingredients(project, recipe)
        loop_judge(project, recipe)
    except PrefloopError as error:
        return Obstacle(str(error), getattr(error, "offer", ""))
    return None


def ingredient_start(*, project: Project, recipe: Recipe, started_by: User | None) -> Loop:
    """Start the loop that makes what this recipe lacks, with that recipe's own settings. Raises LoopRefused."""
    obstacle = loop_obstacle(project, recipe)
    kind, _, name = obstacle.offer.partition(":") if obstacle is not None else ("", "", "")
    if kind != "recipe":
        raise LoopRefused(f"{recipe.name} lacks nothing that another loop could make")
    return loop_start(project=project, recipe=name, started_by=started_by)


def with_teacher(project: Project, recipe: Recipe) -> Recipe:
    """Name the checkpoint that `objective.reference=latest` means now. Raises LoopRefused where no loop made one."""
    if recipe.objective.reference != LATEST:
        return recipe
    made = Round.objects.filter(loop__project=project, index__gt=0, output__role="policy").order_by("-id").first()
    if made is None or made.output is None:
        raise LoopRefused(
            f"{recipe.name} needs a teacher, and no loop of the project has made a policy yet: run another recipe "
            "first, or name one by objective.reference=checkpoint:NAME",
            offer="recipe:dpo",
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
        raise LoopRefused(
            f"{recipe.name} learns from what a finished {names} loop logged, and {which}: run one first",
            offer=f"recipe:{recipe.needs[0]}",
        )
    return replace(recipe, memory=replace(recipe.memory, run=str(found.pk)))


def advance_enqueue(loop: Loop, *, run_after: datetime | None = None) -> Job:
    """Enqueue a step of the loop; steps are idempotent, so one too many does nothing."""
    return job_enqueue(
        run_after=run_after,
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


def check_ingredients(project: Project, recipe: Recipe) -> None:
    """Raise LoopRefused, or NoCheckpoint, where something is missing that the loop can't make itself."""
    samples = any(draw.source != "data" for draw in recipe.draws)
    if samples and not given_prompts(project, split="train").exists():
        raise LoopRefused("the project has no training prompts: import some on the Data page", offer="prompts")
    if recipe.objective.loss != "bradley-terry" and not given_prompts(project, split="eval").exists():
        raise LoopRefused(
            "the project holds no prompts out to measure on: import some with the split eval", offer="prompts"
        )
    replays = recipe.memory.kind == "replay"
    from_labels = recipe.label.by == "preferences" or any(draw.source == "data" for draw in recipe.draws)
    from_labels = from_labels and not replays
    makes_reward_model = bool(made_judge_name(recipe))
    if teaches(recipe) and not project.world and not additive_scores(project).exists():
        raise LoopRefused(
            "the project has no judge demonstrations that the start could learn from: have a judge that gives a score "
            "from 0 to 5 judge some labelled pairs, or set teach.eft=0 for a start that can judge already",
            offer="labels",
        )
    from_labels = from_labels or bool(teaches(recipe) and recipe.teach.ift)
    if from_labels or (makes_reward_model and loop_judge(project, recipe) is None):
        named_judge = recipe.label.by == "preferences" and recipe.label.judge not in ("", "people")
        labelled = Preference.objects.filter(
            comparison__project=project, comparison__held_out=False, p_first__isnull=False
        )
        if not named_judge and not labelled.exists():
            raise LoopRefused(
                "no comparison of the project has a label yet: annotate some pairs, ask a judge, or import labels",
                offer="labels",
            )
    for name in (*(draw.source for draw in recipe.draws), recipe.objective.reference, recipe.prompts.writer):
        if name.startswith("checkpoint:"):
            checkpoint_by_name(project, name.removeprefix("checkpoint:"))


def checkpoint_name(loop: Loop, index: int) -> str:
    return f"{loop.recipe}-{loop.pk}-round-{index}"


def previous_policy(loop: Loop, index: int) -> Checkpoint | None:
    """Return the policy that round `index` starts from: the output of the one before it."""
    before = loop.rounds.filter(index=index - 1).select_related("output").first()
    return before.output if before else loop.initial
