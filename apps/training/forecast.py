"""What a loop will cost, before it starts: prompts, answers, what is trained on, steps, judge calls, time, disk."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from statistics import median

from django.db.models import Q, QuerySet, Sum

from apps.jobs.models import JobState
from apps.judging.figures import costs_per_1000
from apps.judging.models import Judge, JudgeKind
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_bytes, checkpoint_default
from apps.projects.models import Project
from apps.prompts.selectors import given_prompts
from apps.rankings.models import Preference
from apps.samples.models import Comparison, Engine, SamplingRun
from apps.training.loops import additive_scores, loop_judge, made_judge_name, teaches
from apps.training.models import Loop, Round, TrainingRun
from apps.training.self_rewarding import is_taught
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.objective import HARD_LABELS
from prefloop.recipes.recipe import Recipe
from prefloop.recipes.self_instruct import N_SHOTS
from prefloop.types import PrefloopError

EVALUATION_ANSWERS = 4  # a held-out prompt
LARGE = 10_000_000  # parameters; the recipes' learning rates were found on models of about 1M
PEOPLE = ("human", "adjudication", "override")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Counts are for the whole loop unless they say `a round`; upper bounds, where answers or labels may coincide.

    `rows`: what is trained on, each row once a time that it is; `rows_are`: pairs, demonstrations, groups or "".
    `seconds`: from finished rounds of the recipe, by how much they did; where there is none, roughly, from answers
    sampled here, without the judge's calls; or None. `dollars`: at the judge's latest calls' price, or None. `bytes`:
    of the checkpoints that it keeps, or None where the start is not there.
    """

    rounds: int
    prompts_a_round: int
    answers_a_prompt: int
    answers: int
    scores: int
    rows: int
    rows_are: str
    judge_calls: int
    dollars: float | None
    reviews: int
    steps: int
    evaluation_answers: int
    makes_reward_model: bool
    reward_model_steps: int
    teaches_start: bool  # it learns to judge first
    teaching_steps: int
    high_rate: bool  # all weights of a model of more than LARGE parameters train, at the learning rate of a small one
    start: Checkpoint | None
    seconds: float | None
    seconds_from: int  # how many finished rounds that is from
    seconds_from_answers: int  # how many sampled answers, where it is from no round
    bytes: int | None


def forecast(*, project: Project, recipe: Recipe, n_rounds: int, start: str = "") -> Forecast:
    """Count what `n_rounds` rounds of the recipe will do here, from the policy of that name, else the default one."""
    prompts = _prompts(project, recipe)
    drawn = sum(draw.n for draw in recipe.draws if draw.source != "data")
    answers = prompts * drawn * n_rounds
    trainings = [_trained(project, recipe, prompts, index) for index in range(1, n_rounds + 1)]
    rows, steps = sum(rows for rows, _ in trainings), sum(steps for _, steps in trainings)
    fresh = _fresh_labels(project, recipe, prompts)
    reviews = 0
    if recipe.review.mode != "none" and recipe.objective.loss != "none" and "review" not in recipe.hidden():
        reviews = fresh if recipe.review.mode == "all" else min(recipe.review.budget or fresh, fresh)
    judge = _judge(project, recipe)
    calls, dollars = _judge_calls(project, recipe, judge, fresh * n_rounds)
    makes = bool(made_judge_name(recipe)) and judge is None
    begin = Checkpoint.objects.filter(project=project, role="policy", name=start).first() if start else None
    begin = begin or checkpoint_default(project, "policy")
    taught = teaches(recipe) and not (begin is not None and is_taught(begin))
    measured = _evaluated(project, recipe)
    work = _work(recipe, begin, answers / n_rounds, rows / n_rounds, measured)
    seconds, n_before = _seconds(project, recipe, work, measured)
    n_sampled = 0
    if seconds is None:
        seconds, n_sampled = _rough_seconds(project, begin, work)
    kept = n_rounds * recipe.filter.n_steps if recipe.objective.loss != "none" else 0
    return Forecast(
        rounds=n_rounds,
        prompts_a_round=prompts,
        answers_a_prompt=drawn,
        answers=answers,
        scores=answers * _scores_an_answer(recipe),
        rows=rows,
        rows_are=recipe.objective.rows if recipe.objective.rows in ("pairs", "demonstrations", "groups") else "",
        judge_calls=calls,
        dollars=dollars,
        reviews=reviews * n_rounds,
        steps=steps,
        evaluation_answers=measured * (n_rounds + 1),
        makes_reward_model=makes,
        reward_model_steps=_reward_model_steps(project) if makes else 0,
        teaches_start=taught,
        teaching_steps=_teaching_steps(project, recipe) if taught else 0,
        high_rate=_high_rate(recipe, begin),
        start=begin,
        seconds=None if seconds is None else seconds * n_rounds,
        seconds_from=n_before,
        seconds_from_answers=n_sampled,
        bytes=None if begin is None else (kept + makes + taught) * _bytes(begin),
    )


def _scores_an_answer(recipe: Recipe) -> int:
    if recipe.score.by == "policy":
        return recipe.score.samples
    return int(recipe.score.by == "judge" and recipe.uses_scores)


def _prompts(project: Project, recipe: Recipe) -> int:
    """Prompts that a round asks: held-out ones where nothing is trained, those that the data answers where it must."""
    if not recipe.samples:
        return 0
    split = "eval" if recipe.objective.loss == "none" else "train"
    rows = given_prompts(project, split=split)
    if any(draw.source == "data" for draw in recipe.draws):
        decided = _labels(project).exclude(p_first=0.5).values("comparison__prompt_id")
        rows = rows.filter(pk__in=decided)
    there = rows.count()
    if recipe.prompts.generator != "none":  # as many as are wanted, where as many can be written
        return recipe.prompts.n or there
    return min(recipe.prompts.n, there) if recipe.prompts.n else there


def _trained(project: Project, recipe: Recipe, prompts: int, index: int) -> tuple[int, int]:
    """Rows that round `index` trains on, and its steps of training."""
    objective = recipe.objective
    if objective.loss == "none":
        return 0, 0
    if recipe.memory.kind == "replay":
        return _replayed(project, recipe)
    if recipe.is_online:  # a step is a batch of prompts, whatever is made of their answers
        rows = prompts if objective.rows == "pairs" else 0
        return objective.epochs * rows, objective.epochs * -(-prompts // objective.batch)
    fresh = _fresh_rows(project, recipe, prompts)
    if recipe.memory.kind == "rounds":
        fresh = [rows * min(index, recipe.memory.k + 1) for rows in fresh]
    elif recipe.memory.kind == "overrides":
        fresh = [rows + _overridden(project) for rows in fresh]
    return sum(fresh), sum(objective.epochs * -(-rows // objective.batch) for rows in fresh)


def _fresh_rows(project: Project, recipe: Recipe, prompts: int) -> list[int]:
    """Rows that a round makes of its own, for each of its trainings (ReST has several)."""
    drawn = sum(draw.n for draw in recipe.draws if draw.source != "data")
    kept = min(recipe.filter.keep, drawn) if recipe.filter.kind == "rejection" else drawn
    if recipe.objective.rows == "groups":
        return [prompts]
    if recipe.objective.rows == "demonstrations" and recipe.samples:
        if recipe.filter.kind == "thresholds":
            return [ceil(prompts * drawn * (1 - quantile)) for quantile in recipe.filter.quantiles]
        if recipe.objective.loss == "gkd":
            return [prompts]  # each prompt's own answer, or the data's
        return [prompts * (1 if recipe.filter.kind == "best" else kept)]
    if recipe.samples and recipe.label.by != "preferences":
        return [_fresh_labels(project, recipe, prompts)]
    return [_stored(project, recipe)]


def _fresh_labels(project: Project, recipe: Recipe, prompts: int) -> int:
    """Comparisons of one round that are labelled, each once."""
    if recipe.label.by == "preferences" or not recipe.samples:
        return _stored(project, recipe) if recipe.memory.kind != "replay" else 0
    drawn = sum(draw.n for draw in recipe.draws if draw.source != "data")
    kept = min(recipe.filter.keep, drawn) if recipe.filter.kind == "rejection" else drawn
    each = {
        "the-two": 1,
        "best-against-worst": 1,
        "first-round": kept // 2,
        "tournament": kept - 1,
        "all-ranked": kept * (kept - 1) // 2,
        "real-against-generated": drawn,
    }
    return prompts * each.get(recipe.pairing.kind, 0)


def _labels(project: Project) -> QuerySet[Preference]:
    """The labels of stored comparisons that may be trained on."""
    return Preference.objects.filter(
        ~Q(comparison__prompt__split="eval") & ~Q(comparison__origin__startswith="loop:"),
        comparison__project=project,
        comparison__held_out=False,
        p_first__isnull=False,
    )


def _stored(project: Project, recipe: Recipe) -> int:
    """Stored comparisons with the label that the recipe asks for; of a judge yet to be asked, all it will be asked."""
    if recipe.label.judge not in ("", "people"):
        rows = Comparison.objects.filter(project=project, held_out=False, prompt__split="train")
        n = rows.exclude(origin__startswith="loop:").count()
    else:
        labels = _labels(project)
        if recipe.label.judge == "people":
            labels = labels.filter(source__in=PEOPLE)
        if recipe.objective.loss in HARD_LABELS or recipe.objective.rows == "demonstrations":
            labels = labels.exclude(p_first=0.5)
        n = labels.count()
    return min(recipe.prompts.n, n) if recipe.prompts.n else n


def _overridden(project: Project) -> int:
    labels = Preference.objects.filter(comparison__project=project, comparison__held_out=False, source="override")
    return labels.filter(p_first__isnull=False).exclude(comparison__prompt__split="eval").count()


def _replayed(project: Project, recipe: Recipe) -> tuple[int, int]:
    """Pairs and steps of the loop that is replayed: the one named, else the newest of its kind."""
    loops = Loop.objects.filter(project=project, recipe__in=recipe.needs, state="done").order_by("-id")
    if recipe.memory.run.isdecimal():
        loops = loops.filter(pk=int(recipe.memory.run))
    found = loops.first()
    if found is None:
        return 0, 0
    runs = TrainingRun.objects.filter(round__loop=found, kind="online", output__isnull=False)
    sums = runs.aggregate(steps=Sum("n_steps"), rows=Sum("snapshot__n_pairs"))
    return sums["rows"] or 0, sums["steps"] or 0


def _judge(project: Project, recipe: Recipe) -> Judge | None:
    try:
        return loop_judge(project, recipe)
    except PrefloopError:
        return None


def _judge_calls(project: Project, recipe: Recipe, judge: Judge | None, labels: int) -> tuple[int, float | None]:
    """Calls to a language model that labels, and what they cost; stored comparisons it has labelled cost nothing."""
    if judge is None or judge.kind != JudgeKind.LLM:
        return 0, None
    if recipe.label.by == "preferences":
        labels = min(labels, labels - judge.verdicts.values("comparison").distinct().count())
    calls = max(0, labels) * (1 if judge.order_policy == "random" else 2)
    price = costs_per_1000(project).get(judge.pk)
    return calls, None if price is None else price * max(0, labels) / 1000


def _evaluated(project: Project, recipe: Recipe) -> int:
    if recipe.objective.loss == "bradley-terry":
        return 0
    return given_prompts(project, split="eval").count() * EVALUATION_ANSWERS


def _reward_model_steps(project: Project) -> int:
    objective = get_recipe("reward-model").objective
    return objective.epochs * -(-_labels(project).count() // objective.batch)


def _teaching_steps(project: Project, recipe: Recipe) -> int:
    """Steps in which the start learns to judge: at most, where judgements of the project's own may not all do."""
    teach = recipe.teach
    judged = teach.eft if project.world else min(teach.eft, additive_scores(project).count())
    chosen = min(teach.ift, _labels(project).exclude(p_first=0.5).count())
    written = teach.writing if given_prompts(project, split="train").count() > N_SHOTS else 0
    return teach.epochs * -(-(judged + chosen + written) // teach.batch)


def _high_rate(recipe: Recipe, start: Checkpoint | None) -> bool:
    """Whether the recipe's own learning rate, a small model's, meets all weights of a large one."""
    if start is None or recipe.objective.loss == "none" or (start.n_parameters or 0) <= LARGE:
        return False
    full = recipe.adapter.resolved(start.n_parameters).kind == "none"
    return full and recipe.objective.lr == get_recipe(recipe.name).objective.lr


def _seconds(project: Project, recipe: Recipe, work: float, measured: int) -> tuple[float | None, int]:
    """The median length of a finished round of this recipe here, by how much more there is to do than there was then.

    Rounds in which people were asked are left out.
    """
    loops = Loop.objects.filter(project=project, recipe=recipe.name).order_by("-id").values("pk")[:20]
    rounds = Round.objects.filter(
        loop__in=list(loops.values_list("pk", flat=True)), index__gt=0, stage="done", review_comparison_ids=[]
    ).exclude(Q(started_at=None) | Q(ended_at=None))
    lengths = []
    for row in rounds.select_related("loop__initial").defer("loop__initial__manifest"):
        answers, rows = (int(row.result.get(key) or 0) for key in ("n_samples", "n_pairs"))
        done = _work(Recipe.from_json(row.loop.config), row.loop.initial, answers, rows, measured)
        if done and row.started_at and row.ended_at:
            lengths.append((row.ended_at - row.started_at).total_seconds() * work / done)
    return (median(lengths), len(lengths)) if lengths else (None, 0)


def _rough_seconds(project: Project, start: Checkpoint | None, work: float) -> tuple[float | None, int]:
    """A round's length by how long sampling took here for models of the start's size, and by how many answers.

    Over the rounds of 31 recipes on letters it said from 0.3 to 4 times what they took.
    """
    if start is None or start.n_parameters is None:
        return None, 0
    runs = SamplingRun.objects.filter(
        project=project, engine=Engine.TRANSFORMERS, checkpoint__n_parameters=start.n_parameters
    ).exclude(group=None)
    seconds, done, n = 0.0, 0, 0
    for run in runs.prefetch_related("group__jobs").order_by("-id")[:20]:
        jobs = [job for job in run.group.jobs.all() if job.kind == "sampling.chunk"] if run.group else []
        if any(job.state != JobState.SUCCEEDED or job.attempt > 1 for job in jobs):
            continue  # a second attempt says nothing of the time of the first
        lengths = [job.ended_at - job.started_at for job in jobs if job.ended_at and job.started_at]
        if lengths:
            answers = run.n * len(run.prompt_ids)
            seconds += sum(length.total_seconds() for length in lengths)
            done, n = done + start.n_parameters * run.max_tokens * answers, n + answers
    return (work * seconds / done, n) if done else (None, 0)


def _bytes(start: Checkpoint) -> int:
    """The size of a checkpoint trained from this one: on a CPU its weights are fp32, whatever they were before."""
    return max(checkpoint_bytes(start), 4 * (start.n_parameters or 0))


def _work(recipe: Recipe, start: Checkpoint | None, answers: float, rows: float, measured: int) -> float:
    """What a round does, in no unit: tokens by parameters. A row that is trained on counts as six answers: two of
    them, each forward and, at twice the price, backward."""
    tokens = max((draw.max_tokens for draw in recipe.draws), default=1)
    size = (start.n_parameters if start is not None else None) or 1
    return size * tokens * (answers * (1 + _scores_an_answer(recipe)) + 6 * rows + measured)
