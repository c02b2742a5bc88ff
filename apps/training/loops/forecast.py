"""What a loop will cost, before it starts: what its stages will do, as time, money and disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean, median

from django.conf import settings
from django.db.models import Q

from apps.jobs.models import JobState
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_bytes, checkpoint_default, checkpoint_shape, checkpoint_speeds
from apps.projects.models import Project
from apps.samples.models import Completion, Engine, SamplingRun
from apps.training.loops.row_lengths import ANSWERS_LOOKED_AT, longest_row
from apps.training.models import Loop, Round
from apps.training.rounds.ahead import Ahead, Foreseen, scores_an_answer
from apps.training.rounds.plan import foresee, plan_of
from prefloop.memory import DEFAULT_TOKENS, PLENTY, PROMPT_TOKENS, ROW_TOKENS, Memory
from prefloop.precision import WIDTHS, on_cpu
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.evaluation import NOBODY, TRUTH
from prefloop.recipes.recipe import Recipe

STAGE_SECONDS = 0.5  # of a round's stage beside its work: its jobs are taken up, a model is loaded, rows are written
LARGE = 10_000_000  # parameters; the recipes' learning rates were found on models of about 1M


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast(Foreseen):
    """Counts are for the whole loop unless they say `a round`.

    `rows_are`: what a loss says it learns from, or "". `seconds`: from finished rounds of the recipe, by how much they
    did; where there is none, roughly, from the tokens a second of models of this size, or from answers sampled here,
    without the judge's calls; or None. `bytes`: of the
    checkpoints that it keeps, or None where the start is not there. `memory`: what a training process on a CPU holds at
    most, or None where nothing is trained or the start's sizes are not known.
    """

    rounds: int
    prompts_a_round: int
    answers_a_prompt: int
    rows_are: str
    measured_by: str  # the evaluator's name; "" for nobody
    independent: bool | None  # whether it labels nothing of the training
    makes_reward_model: bool
    teaches_start: bool  # it learns to judge first
    high_rate: bool  # all weights of a model of more than LARGE parameters train, at the learning rate of a small one
    start: Checkpoint | None
    seconds: float | None
    seconds_from: int  # how many finished rounds that is from
    seconds_from_speed: bool  # from the tokens a second that were measured, where it is from no round
    seconds_from_answers: int  # how many sampled answers, where it is from neither
    bytes: int | None
    memory: int | None

    @property
    def by_truth(self) -> bool:
        return self.measured_by == TRUTH


def forecast(*, project: Project, recipe: Recipe, n_rounds: int, start: str = "") -> Forecast:
    """Count what `n_rounds` rounds of the recipe will do here, from the policy of that name, else the default one."""
    begin = Checkpoint.objects.filter(project=project, role="policy", name=start).first() if start else None
    begin = begin or checkpoint_default(project, "policy")
    ahead = Ahead(project, recipe, begin)
    rounds = sum((foresee(ahead, index) for index in range(1, n_rounds + 1)), Foreseen())
    total = foresee(ahead, 0) + rounds
    work = _work(recipe, begin, rounds) / n_rounds
    seconds, n_before = _seconds(project, recipe, work, ahead.measured)
    n_sampled = 0
    if seconds is None and begin is not None:
        seconds = _probed_seconds(recipe, begin, rounds, n_rounds)
    measured = seconds is not None and not n_before
    if seconds is None:
        seconds, n_sampled = _rough_seconds(project, begin, work)
    rows = recipe.objective.rows
    return Forecast(
        **asdict(total),
        rounds=n_rounds,
        prompts_a_round=ahead.prompts,
        answers_a_prompt=ahead.drawn,
        rows_are=rows if rows not in ("none", "samples") else "",
        measured_by=ahead.measurer.name or (ahead.makes if recipe.evaluation.judge != NOBODY else ""),
        independent=ahead.measurer.independent,
        makes_reward_model=bool(ahead.makes),
        teaches_start=ahead.teaches_start,
        high_rate=_high_rate(recipe, begin),
        start=begin,
        seconds=None if seconds is None else seconds * n_rounds,
        seconds_from=n_before,
        seconds_from_speed=measured,
        seconds_from_answers=n_sampled,
        bytes=None if begin is None else total.checkpoints * _bytes(begin),
        memory=None if begin is None else _memory(project, recipe, begin),
    )


def _high_rate(recipe: Recipe, start: Checkpoint | None) -> bool:
    """Whether the recipe's default learning rate, meant for small models, would be used for all weights of a large
    one.
    """
    if start is None or not recipe.objective.trains or (start.n_parameters or 0) <= LARGE:
        return False
    full = recipe.adapter.resolved(start.n_parameters).kind == "none"
    return full and recipe.objective.lr == get_recipe(recipe.name).objective.lr


def _seconds(project: Project, recipe: Recipe, work: float, measured: int) -> tuple[float | None, int]:
    """The median length of a finished round of this recipe here, scaled by how much more there is to do now.

    Rounds in which people were asked are left out.
    """
    loops = Loop.objects.filter(project=project, recipe=recipe.name).order_by("-id").values("pk")[:20]
    rounds = Round.objects.filter(
        loop__in=list(loops.values_list("pk", flat=True)), index__gt=0, stage="done", review_comparison_ids=[]
    ).exclude(Q(started_at=None) | Q(ended_at=None))
    lengths = []
    for row in rounds.select_related("loop__initial").defer("loop__initial__manifest"):
        as_run = Recipe.from_json(row.loop.config)
        answers, rows = (int(row.result.get(key) or 0) for key in ("n_samples", "n_pairs"))
        did = Foreseen(
            answers=answers, scores=answers * scores_an_answer(as_run), rows=rows, evaluation_answers=measured
        )
        done = _work(as_run, row.loop.initial, did)
        if done and row.started_at and row.ended_at:
            lengths.append((row.ended_at - row.started_at).total_seconds() * work / done)
    return (median(lengths), len(lengths)) if lengths else (None, 0)


def _probed_seconds(recipe: Recipe, start: Checkpoint, seen: Foreseen, n_rounds: int) -> float | None:
    """A round's length from the tokens a second that models of this size were measured to do here.

    Answers are taken to be as long as the start's newest ones, and a reward model to be as large as the policy. For the
    rounds of seven recipes on letters the estimate was 0.7 to 1.9 times the actual time.
    """
    speeds = checkpoint_speeds(start)
    if speeds is None:
        return None
    objective = recipe.objective
    drawn = sum(draw.n for draw in recipe.draws)
    answer = _answer_tokens(start, max((draw.max_tokens for draw in recipe.draws), default=0) or ROW_TOKENS // 2)
    in_a_row = {"pairs": 2, "groups": drawn, "samples": drawn}.get(objective.rows, 1)
    trained = seen.steps * objective.batch * (PROMPT_TOKENS + in_a_row * answer)
    references = trained // (1 if recipe.anchor.moves else objective.epochs) if objective.needs_reference else 0
    read = references + (PROMPT_TOKENS + answer) * (seen.scores + 2 * seen.evaluation_answers)
    sampled = answer * (seen.answers + seen.evaluation_answers)
    work = speeds.seconds(sampled=sampled, read=read, trained=trained if objective.trains else 0)
    return work / n_rounds + STAGE_SECONDS * len(plan_of(recipe, 1))


def _answer_tokens(start: Checkpoint, most: int) -> float:
    """The mean length of the newest answers of this policy, none longer than `most`; `most` where there are none."""
    newest = Completion.objects.filter(run__checkpoint=start).order_by("-id")
    lengths = [min(most, len(ids)) for ids in newest.values_list("token_ids", flat=True)[:ANSWERS_LOOKED_AT]]
    return fmean(lengths) if lengths else most


def _rough_seconds(project: Project, start: Checkpoint | None, work: float) -> tuple[float | None, int]:
    """A round's length estimated from the time of sampling here with models of this size, and from the number of
    answers.

    For the rounds of 31 recipes on letters the estimate was 0.3 to 4 times the actual time.
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


def _memory(project: Project, recipe: Recipe, start: Checkpoint) -> int | None:
    """The most that a training process holds on a CPU, if all drawn answers are as long as they may be."""
    shape = checkpoint_shape(start)
    if not recipe.objective.trains or shape is None:
        return None
    precision = on_cpu(settings.PRECISION, shape, threads=settings.WORKER_THREADS, folder=settings.VAR_DIR)
    lora = recipe.adapter.resolved(start.n_parameters).kind == "lora"
    plan = Memory(shape, width=WIDTHS[precision], lora=lora)
    # references of stored rows that stay are read before the optimizer is
    others = recipe.n_models - 1 if recipe.learns_in_steps or recipe.anchor.moves else 0
    passes = plan.passes(PLENTY, most=DEFAULT_TOKENS, on_cpu=True)
    return plan.peak(passes, longest_row(project, recipe, start)) + others * plan.weights()


def _work(recipe: Recipe, start: Checkpoint | None, seen: Foreseen) -> float:
    """What that much is worth, in no unit: tokens by parameters. A row that is trained on counts as six answers: two of
    them, each forward and, at twice the price, backward."""
    tokens = max((draw.max_tokens for draw in recipe.draws), default=1)
    size = (start.n_parameters if start is not None else None) or 1
    return size * tokens * (seen.answers + seen.scores + 6 * seen.rows + seen.evaluation_answers)
