"""Evaluation of a round: its policy against the initial and the previous one, on every held-out prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from apps.jobs.registry import JobContext, handler
from apps.judging.models import Judge
from apps.judging.selectors import scores_of
from apps.policies.models import Checkpoint
from apps.prompts.selectors import prompt_list
from apps.samples.ids import StoredIds, same_tokenizer
from apps.samples.models import Comparison, Completion, SamplingRun
from apps.training.changes import recipe_of
from apps.training.models import Counterfactual, Metric, Round, TrainingRun
from apps.training.snapshots import prompt_content
from prefloop.engine.evaluate import Estimate, EvalPrompt, Evaluation, evaluate, mean_by_prompt
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.policy.scoring import reward_scores
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed, sampler_seed
from prefloop.stats.best_of_n import expected_best_of_n, kl_bound
from prefloop.stats.intervals import wilson_interval
from prefloop.types import Completion as PlainCompletion
from prefloop.types import Group, PrefloopError, PromptContent
from workers import model_cache
from workers.handlers.own_accuracy import as_judge
from workers.handlers.sampling import draw
from workers.worlds import utility_of

N_ANSWERS = 4
Scorer = Callable[[Sequence[tuple[PromptContent, Sequence[PlainCompletion]]]], list[list[float]]]


class NothingToEvaluateOn(PrefloopError):
    """The project holds no prompts out."""


@handler("evaluation.run", queue="gpu")
def evaluation_run(ctx: JobContext) -> dict[str, Any]:
    """Measure what a round made: payload {round}."""
    round_ = Round.objects.select_related("loop__project", "loop__initial", "loop__judge", "policy", "output").get(
        pk=ctx.payload["round"]
    )
    recipe = recipe_of(round_.loop, round_.index)
    if recipe.objective.loss == "bradley-terry" and round_.index > 0:
        measured = _reward_model_accuracy(round_.loop.project_id, _newest_run(round_))
    elif recipe.objective.loss == "none" and round_.index > 0:
        measured = _best_of_n(round_, recipe)
    else:
        measured = _policy(ctx, round_, recipe)
        if recipe.score.by == "policy":
            measured |= as_judge(ctx, round_, recipe)
    result = _counts(round_, _newest_run(round_)) | measured
    with ctx.fenced():
        Round.objects.filter(pk=round_.pk).update(result=result)
    return result


@handler("evaluation.counterfactual", queue="gpu")
def evaluation_counterfactual(ctx: JobContext) -> dict[str, Any]:
    """Measure what a round would have made without overrides, on the same prompts: payload {counterfactual}."""
    found = Counterfactual.objects.select_related(
        "round__loop__project", "round__loop__initial", "round__loop__judge", "round__policy", "run__output"
    ).get(pk=ctx.payload["counterfactual"])
    round_, run = found.round, found.run
    recipe = recipe_of(round_.loop, round_.index)
    if recipe.objective.loss == "bradley-terry":
        measured = _reward_model_accuracy(round_.loop.project_id, run)
    else:
        round_.output = run.output
        measured = _policy(ctx, round_, recipe)  # not as a judge: it would be a version of the loop's own
    result = _counts(round_, run) | measured
    with ctx.fenced():
        Counterfactual.objects.filter(pk=found.pk).update(result=result)
    return result


def _newest_run(round_: Round) -> TrainingRun | None:
    if round_.index == 0:
        return None  # what round 0 trains, if anything, is an ingredient
    return TrainingRun.objects.filter(round=round_).select_related("snapshot", "output").order_by("-id").first()


def _counts(round_: Round, run: TrainingRun | None) -> dict[str, Any]:
    last = Metric.objects.filter(run=run).order_by("-step").first() if run else None
    return {
        "n_samples": round_.sampling_run.completions.count() if round_.sampling_run else 0,
        "n_pairs": run.snapshot.n_pairs if run and run.snapshot else 0,
        "n_overrides": run.snapshot.n_overrides if run and run.snapshot else 0,
        "loss": last.values.get("loss") if last else None,
    }


def _policy(ctx: JobContext, round_: Round, recipe: Recipe) -> dict[str, Any]:
    loop = round_.loop
    current, initial = round_.output, loop.initial
    if current is None or initial is None:
        raise NothingToEvaluateOn(f"round {round_.index} made no policy")
    previous = round_.policy if round_.index > 0 else None
    rows = list(prompt_list(loop.project, split="eval"))
    if not rows:
        raise NothingToEvaluateOn(
            "the project holds no prompts out: give some the split eval, so that policies can be measured"
        )
    seed = derive_seed(loop.seed, "evaluation")
    max_tokens = max((draw_.max_tokens for draw_ in recipe.draws), default=128)
    wanted = {point.pk: point for point in (current, initial, previous) if point is not None}
    cached = {}
    for checkpoint in wanted.values():
        run = _evaluation_run(ctx, checkpoint, [row.pk for row in rows], seed=seed, max_tokens=max_tokens)
        draw(ctx=ctx, run=run, prompt_ids=list(run.prompt_ids))
        cached[checkpoint.fingerprint] = _groups(run)
    gold = _gold(loop.project.world)
    found = evaluate(
        model_cache.policy(current),
        model_cache.policy(initial),
        model_cache.policy(previous) if previous is not None else None,
        [EvalPrompt(row.external_id, prompt_content(row)) for row in rows],
        n=N_ANSWERS,
        max_tokens=max_tokens,
        seed=seed,
        gold=gold,
        judge_scores=None if gold is not None else _reward_scorer(loop.judge, initial),
        cached=cached,
    )
    return _row(found)


def _evaluation_run(
    ctx: JobContext, checkpoint: Checkpoint, prompt_ids: list[int], *, seed: int, max_tokens: int
) -> SamplingRun:
    """Return the run of this checkpoint's answers to the held-out prompts, the same one each time it is asked for."""
    chosen = {
        "project_id": checkpoint.project_id,
        "checkpoint": checkpoint,
        "purpose": "evaluation",
        "seed": sampler_seed(seed, "evaluation"),
        "n": N_ANSWERS,
        "max_tokens": max_tokens,
    }
    with ctx.fenced():
        for run in SamplingRun.objects.filter(**chosen).order_by("id"):
            if run.prompt_ids == prompt_ids:
                return run
        return SamplingRun.objects.create(**chosen, prompt_ids=prompt_ids)


def _groups(run: SamplingRun) -> list[Group]:
    rows = Completion.objects.filter(run=run).select_related("prompt").order_by("prompt_id", "index")
    by_prompt: dict[str, list[PlainCompletion]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt.external_id, []).append(
            PlainCompletion(text=row.text, ids=tuple(row.token_ids), logp_sum=row.logp_sum, finished=row.finished)
        )
    return [Group(prompt_id=key, completions=tuple(completions)) for key, completions in by_prompt.items()]


def _gold(world: str) -> Scorer | None:
    utility = utility_of(world)
    if utility is None:
        return None
    return lambda asked: [[utility(str(prompt), answer.text) for answer in answers] for prompt, answers in asked]


def _reward_scorer(judge: Judge | None, initial: Checkpoint) -> Scorer | None:
    if judge is None or judge.checkpoint is None:
        return None
    model = model_cache.reward_model(judge.checkpoint)
    same = same_tokenizer(judge.checkpoint, initial)

    def scorer(asked: Sequence[tuple[PromptContent, Sequence[PlainCompletion]]]) -> list[list[float]]:
        items = [
            PackItem(
                encode_prompt(model.tokenizer, prompt),
                tuple((same and answer.ids) or encode_completion(model.tokenizer, answer.text) for answer in answers),
            )
            for prompt, answers in asked
        ]
        return reward_scores(model, items)

    return scorer


def _row(found: Evaluation) -> dict[str, Any]:
    win, previous = found.win_rate_vs_initial, found.win_rate_vs_previous
    return {
        "gold_mean": found.gold.mean if found.gold else None,
        "gold_ci95": _interval(found.gold),
        "gold_best_of_4": found.gold_best_of_4,
        "win_rate_vs_initial": win.mean if win else None,
        "win_rate_ci95": _interval(win),
        "win_rate_vs_previous": previous.mean if previous else None,
        "win_rate_vs_previous_ci95": _interval(previous),
        "kl": found.kl.mean,
        "kl_ci95": _interval(found.kl),
        "mean_length": found.mean_characters.mean,
        "mean_tokens": found.mean_tokens.mean,
        "n_eval_prompts": found.n_prompts,
        "n_eval_samples": found.n_samples,
    }


def _interval(estimate: Estimate | None) -> list[float] | None:
    if estimate is None or estimate.ci95 is None:
        return None
    return [estimate.ci95.low, estimate.ci95.high]


def _best_of_n(round_: Round, recipe: Recipe) -> dict[str, Any]:
    """Best-of-n needs no new policy: its law is estimated from the pool of scored answers, without bias."""
    loop, run, judge = round_.loop, round_.sampling_run, round_.loop.judge
    if run is None or judge is None:
        raise NothingToEvaluateOn("best-of-n has no scored answers")
    rows = list(Completion.objects.filter(run=run).select_related("prompt").order_by("prompt_id", "index"))
    proxy = scores_of(judge, [row.pk for row in rows])
    utility = utility_of(loop.project.world)
    by_prompt: dict[int, list[Completion]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt_id, []).append(row)
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64, 128) if size <= run.n]
    if run.n not in sizes:
        sizes.append(run.n)
    curve = []
    for size in sizes:
        per_prompt = [
            [
                expected_best_of_n(
                    [proxy[row.pk] for row in group],
                    [utility(row.prompt.text, row.text) if utility else proxy[row.pk] for row in group],
                    size,
                )
            ]
            for group in by_prompt.values()
        ]
        estimate = mean_by_prompt(per_prompt, seed=loop.seed)
        curve.append({"n": size, "mean": estimate.mean, "ci95": _interval(estimate), "kl_bound": kl_bound(size)})
    best = {group[0].prompt_id: max(group, key=lambda row: proxy[row.pk]) for group in by_prompt.values()}
    return {
        "gold_mean": curve[-1]["mean"] if utility else None,
        "gold_ci95": curve[-1]["ci95"] if utility else None,
        "kl": curve[-1]["kl_bound"],
        "mean_length": float(np.mean([len(row.text) for row in best.values()])),
        "best_of_n": curve,
    }


def _reward_model_accuracy(project_id: int, run: TrainingRun | None) -> dict[str, Any]:
    """Share of held-out comparisons with a known truth on which the new reward model prefers the right answer."""
    if run is None or run.output is None:
        raise NothingToEvaluateOn("the round trained no reward model")
    model = model_cache.reward_model(run.output)
    rows = list(
        Comparison.objects.filter(project=project_id, held_out=True, gold__in=("first", "second"))
        .select_related("prompt", "first", "second")
        .order_by("id")
    )
    if not rows:
        return {"accuracy": None, "n_held_out": 0, "reward_model": run.output.name}
    stored = StoredIds(run.output)

    def ids(row: Completion) -> tuple[int, ...]:
        return stored(row) or encode_completion(model.tokenizer, row.text)

    items = [
        PackItem(encode_prompt(model.tokenizer, prompt_content(row.prompt)), (ids(row.first), ids(row.second)))
        for row in rows
    ]
    right = sum(
        (first > second) == (row.gold == "first")
        for row, (first, second) in zip(rows, reward_scores(model, items), strict=True)
    )
    interval = wilson_interval(right, len(rows))
    return {
        "accuracy": right / len(rows),
        "accuracy_ci95": [interval.low, interval.high] if interval else None,
        "n_held_out": len(rows),
        "reward_model": run.output.name,
    }
