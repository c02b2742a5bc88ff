"""Starting a loop: what it needs, and which judge it uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.db import transaction

from apps.accounts.models import User
from apps.core.services import audit
from apps.jobs.models import Turn
from apps.jobs.services import room_for_jobs
from apps.labels.flags import flags_of
from apps.labels.models import Judge
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name, checkpoint_default, endpoint_by_name
from apps.projects.models import Project
from apps.projects.selectors import criterion_named
from apps.prompts.selectors import chosen_prompts
from apps.training.loops.forecast import forecast
from apps.training.models import Loop, LoopState, Round
from apps.training.rounds.advance import advance_enqueue
from apps.training.rounds.ahead import Ahead
from apps.training.rounds.evaluators import evaluator_of
from apps.training.rounds.labels import stored_comparisons
from apps.training.rounds.loop_judge import LoopRefused, ai_judge, loop_judge, made_judge_name
from apps.training.rounds.self_rewarding import n_judged, teaches
from prefloop.config import ConfigError, Value, apply_settings
from prefloop.judging.kinds import ASKING
from prefloop.recipes.catalogue import CATALOGUE, get_recipe
from prefloop.recipes.parts import BY_PEOPLE, BY_RATINGS
from prefloop.recipes.recipe import AI_REWARD_MODEL, Recipe
from prefloop.types import PrefloopError

LATEST = "latest"  # of `objective.reference`: the newest policy that a loop of the project made
NO_POLICY = "the project has no policy to start from: import one on the Policies page"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a recipe can't start here and now, in one line, and an offered remedy."""

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
    """Start a recipe. Nothing is written unless everything it needs exists or can be made first.

    `branched_from`: the finished round of another loop whose settings and checkpoint this one starts with. Raises
    UnknownRecipe, ConfigError, LoopRefused, NoCheckpoint, QuotaReached.
    """
    chosen = dict(settings or {})
    made = apply_settings(get_recipe(recipe), chosen)
    rounds = n_rounds if n_rounds is not None else made.rounds
    if not 1 <= rounds <= 1000:
        raise LoopRefused(f"rounds must be between 1 and 1000, not {rounds}")
    if made.group == "offline" and rounds != 1:
        raise LoopRefused(f"{recipe} trains once, on existing data: rounds must be 1, not {rounds}")
    initial = checkpoint_by_name(project, start) if start else checkpoint_default(project, "policy")
    if initial is None:
        raise LoopRefused(NO_POLICY, offer="import")
    _refuse_idle_adapter(made, chosen, initial)
    made = _with_replayed(project, with_teacher(project, made))
    check_ingredients(project, made)
    judge = loop_judge(project, made)
    made = with_evaluator(project, made, judge)
    foreseen = forecast(project=project, recipe=made, n_rounds=rounds, start=initial.name)
    with transaction.atomic():
        room_for_jobs(project.pk, started_by, [Turn.WORK])  # its jobs begin with one, and are not asked for later
        loop = Loop.objects.create(
            project=project,
            recipe=made.name,
            config=made.to_json(),
            foreseen_seconds=foreseen.seconds,
            foreseen_memory=foreseen.memory,
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


def _refuse_idle_adapter(recipe: Recipe, chosen: Mapping[str, Value], start: Checkpoint) -> None:
    """Refuse an adapter's settings if `auto` trains all weights of the starting policy. Raises ConfigError."""
    if start.n_parameters is None or recipe.adapter.resolved(start.n_parameters).kind != "none":
        return
    usual = get_recipe(recipe.name).adapter
    for key in chosen:
        name = key.removeprefix("adapter.")
        if name != key and name != "kind" and getattr(recipe.adapter, name) != getattr(usual, name):
            raise ConfigError(
                f"{key} does nothing while adapter.kind is {recipe.adapter.kind}: all weights of {start.name} train, "
                f"{start.n_parameters:,} in number. Set adapter.kind=lora"
            )


def loop_obstacle(project: Project, recipe: Recipe) -> Obstacle | None:
    """Say why this recipe can't start here and now; None if it can."""
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
    """Start the loop that makes what this recipe needs, with that recipe's own settings. Raises LoopRefused."""
    obstacle = loop_obstacle(project, recipe)
    kind, _, name = obstacle.offer.partition(":") if obstacle is not None else ("", "", "")
    if kind != "recipe":
        raise LoopRefused(f"{recipe.name} needs nothing that another loop could create")
    return loop_start(project=project, recipe=name, started_by=started_by)


def with_teacher(project: Project, recipe: Recipe) -> Recipe:
    """Replace `objective.reference=latest` by the checkpoint it means now. Raises LoopRefused if no loop made one."""
    if recipe.objective.reference != LATEST:
        return recipe
    made = Round.objects.filter(loop__project=project, index__gt=0, output__role="policy").order_by("-id").first()
    if made is None or made.output is None:
        raise LoopRefused(
            f"{recipe.name} needs a teacher, and no loop of the project has made a policy yet: run another recipe "
            "first, or name a teacher by objective.reference=checkpoint:NAME",
            offer="recipe:dpo",
        )
    named = replace(recipe.objective, reference=f"checkpoint:{made.output.name}")
    return replace(recipe, objective=named)


def _with_replayed(project: Project, recipe: Recipe) -> Recipe:
    """Name in the settings the loop whose stream a tandem recipe replays. Raises LoopRefused."""
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
            f"{recipe.name} is trained on the log of a finished {names} loop, and {which}: run one first",
            offer=f"recipe:{recipe.needs[0]}",
        )
    return replace(recipe, memory=replace(recipe.memory, run=str(found.pk)))


def with_evaluator(project: Project, recipe: Recipe, judge: Judge | None) -> Recipe:
    """Name in the settings who measures, so that all rounds are measured in the same way. Raises NoEvaluator, NoJudge.

    The judge that labels the training data measures only if nobody else can; this is recorded round by round, since it
    may be made first.
    """
    wanted = recipe.evaluation.judge
    if "evaluation" in recipe.hidden() or (judge is None and wanted and wanted == made_judge_name(recipe)):
        return recipe
    found = evaluator_of(project, recipe, judge=judge)
    if wanted or not found.independent:
        return recipe
    return replace(recipe, evaluation=replace(recipe.evaluation, judge=found.name))


def asks_first(project: Project, recipe: Recipe) -> bool:
    """Whether the loop can begin by running a judge on the stored comparisons for an AI reward model."""
    if made_judge_name(recipe) != AI_REWARD_MODEL or recipe.label.by == "preferences":
        return False
    judge = ai_judge(project, recipe)
    return judge is not None and not judge.refusal(ASKING) and stored_comparisons(project, recipe).exists()


def _meant(recipe: Recipe) -> str:
    """Say whose labels, and by which criteria, the recipe learns from; "" where they are the usual ones."""
    names = [name for name in recipe.label.weights if name]
    by = f" by {'each of ' if len(names) > 1 else ''}{', '.join(names)}" if names else ""
    return (" of people" if recipe.label.judge == BY_PEOPLE else "") + by


def check_ingredients(project: Project, recipe: Recipe) -> None:
    """Raise LoopRefused, NoCheckpoint or NoSuchCriterion if something is missing that the loop can't make itself."""
    for name in recipe.label.weights:
        criterion_named(project, name)
    samples = any(draw.source != "data" for draw in recipe.draws)
    chosen = "" if recipe.prompts.takes_all else " among those that prompts.sets and prompts.where choose"
    if samples and not chosen_prompts(project, recipe.prompts, split="train").exists():
        raise LoopRefused(f"the project has no training prompts{chosen}: import some on the Data page", offer="prompts")
    if not recipe.objective.makes_reward_model and not chosen_prompts(project, recipe.prompts, split="eval").exists():
        raise LoopRefused(
            f"the project has no held-out prompts for evaluation{chosen}: import some with the split eval",
            offer="prompts",
        )
    replays = recipe.memory.kind == "replay"
    from_labels = recipe.label.by == "preferences" or any(draw.source == "data" for draw in recipe.draws)
    from_labels = from_labels and not replays
    makes_reward_model = bool(made_judge_name(recipe))
    if teaches(recipe) and not project.world and not n_judged(project):
        raise LoopRefused(
            "the project has no judge demonstrations for the starting policy: have a judge that gives scores from 0 to "
            "5 judge some labelled pairs, have people rate answers, or set teach.eft=0 if the starting policy can "
            "already judge",
            offer="labels",
        )
    from_labels = from_labels or bool(teaches(recipe) and recipe.teach.ift)
    if from_labels or (makes_reward_model and loop_judge(project, recipe) is None):
        named_judge = recipe.label.by == "preferences" and bool(recipe.label.named_judge)
        ahead = Ahead(project, recipe)
        told = named_judge or asks_first(project, recipe) or ahead.labels.exists() or bool(ahead.flags + ahead.rated)
        if recipe.label.judge == BY_RATINGS and not told:
            raise LoopRefused(
                f"no answer of the project{chosen} that may be trained on has been rated yet, above or below the "
                "middle of the scale: have people rate answers, or import ratings",
                offer="labels",
            )
        if not told and flags_of(project).exists() and not recipe.objective.takes_single_answers:
            able = [one.name for one in CATALOGUE.values() if one.objective.takes_single_answers]
            raise LoopRefused(
                f"{recipe.name} needs comparisons with a label, and the project{chosen} has only flags of single "
                f"answers, from which {' or '.join(able)} can learn: annotate some pairs, or ask a judge",
                offer="labels",
            )
        if not told:
            raise LoopRefused(
                f"no comparison of the project{chosen} has a label{_meant(recipe)} yet: annotate some pairs"
                f"{'' if recipe.label.judge == BY_PEOPLE else ', ask a judge,'} or import labels",
                offer="labels",
            )
    for name in (*(draw.source for draw in recipe.draws), recipe.objective.reference, recipe.prompts.writer):
        if name.startswith("checkpoint:"):
            checkpoint_by_name(project, name.removeprefix("checkpoint:"))
    for draw in recipe.draws:
        if draw.endpoint:
            endpoint_by_name(project, draw.endpoint)
