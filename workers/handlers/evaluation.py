"""Evaluation of a round: its policy against the initial and the previous one, on held-out prompts.

Everything that needs weights is done here: answers, KL, lengths, and the truth if there is one. If a judge measures
instead, its pairs are made here and the round's next job asks it (apps/training/rounds/evaluation.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.jobs.registry import JobContext, handler
from apps.labels.selectors import scores_of
from apps.policies.models import Checkpoint
from apps.samples.ids import StoredIds
from apps.samples.models import Comparison, Completion, SamplingRun, comparable
from apps.training.changes import recipe_of
from apps.training.models import Counterfactual, KeptStep, Metric, Round, TrainingRun
from apps.training.rounds.evaluation import answers_run, evaluation_plan, evaluation_prompts, win_rates
from apps.training.rounds.evaluators import Evaluator, evaluator_of
from apps.training.rounds.meetings import MEETING, Meeting, meeting_asks
from apps.training.rounds.on_the_way import MEASURE
from apps.training.sets.overrides import override_share
from apps.training.sets.snapshots import prompt_content
from prefloop.engine.evaluate import Estimate, EvalPrompt, Evaluation, evaluate, mean_by_prompt, pairs_to_judge
from prefloop.policy.batches import PackItem
from prefloop.policy.loading import Policy
from prefloop.policy.prompts import Answered
from prefloop.policy.scoring import answer_scores, step_kl
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed
from prefloop.stats.best_of_n import expected_best_of_n, kl_bound
from prefloop.stats.intervals import share_interval
from prefloop.types import Completion as PlainCompletion
from prefloop.types import Group, PrefloopError, PromptContent
from workers import model_cache, pieces
from workers.handlers.own_accuracy import as_judge, ranked_rightly
from workers.handlers.sampling import draw
from workers.judges.reward_model import USUAL_TOKENS
from workers.worlds import Utility, utility_of

Scorer = Callable[[Sequence[tuple[PromptContent, Sequence[PlainCompletion]]]], list[list[float]]]


class NothingToEvaluateOn(PrefloopError):
    """The project has no held-out prompts."""


@handler("evaluation.run", queue="gpu")
def evaluation_run(ctx: JobContext) -> dict[str, Any]:
    """Measure the result of a round: payload {round}."""
    round_ = Round.objects.select_related("loop__project", "loop__initial", "loop__judge", "policy", "output").get(
        pk=ctx.payload["round"]
    )
    recipe = recipe_of(round_.loop, round_.index)
    told: dict[str, Any] = {}
    if recipe.objective.makes_reward_model and round_.index > 0:
        measured = _reward_model_accuracy(ctx, round_.loop.project_id, _newest_run(round_))
    elif not recipe.objective.trains and round_.index > 0:
        measured = _best_of_n(round_, recipe)
    else:
        measured, told = _policy(ctx, round_, recipe)
        if recipe.score.by == "policy":
            measured |= as_judge(ctx, round_, recipe)
    result = _counts(round_, _newest_run(round_)) | measured
    with ctx.fenced():
        Round.objects.filter(pk=round_.pk).update(result=result, evaluation=told)
    return result


@handler("evaluation.counterfactual", queue="gpu")
def evaluation_counterfactual(ctx: JobContext) -> dict[str, Any]:
    """Measure the result of a round without overrides, on the same prompts: payload {counterfactual}."""
    found = Counterfactual.objects.select_related(
        "round__loop__project", "round__loop__initial", "round__loop__judge", "round__policy", "run__output"
    ).get(pk=ctx.payload["counterfactual"])
    round_, run = found.round, found.run
    told: dict[str, Any] = {}
    recipe = recipe_of(round_.loop, round_.index)
    if recipe.objective.makes_reward_model:
        measured = _reward_model_accuracy(ctx, round_.loop.project_id, run)
    else:
        measured, told = _as_result(ctx, round_, run.output)
    result = _counts(round_, run) | measured
    with ctx.fenced():
        Counterfactual.objects.filter(pk=found.pk).update(result=result, evaluation=told)
    return result


@handler(MEASURE, queue="gpu")
def evaluation_kept(ctx: JobContext) -> dict[str, Any]:
    """Measure a policy that a round's training kept on the way, like the round's result: payload {kept}."""
    kept = KeptStep.objects.select_related(
        "run__round__loop__project", "run__round__loop__initial", "run__round__loop__judge", "run__round__policy"
    ).get(pk=ctx.payload["kept"])
    round_ = kept.run.round
    if round_ is None:
        raise NothingToEvaluateOn(f"{kept} belongs to no round")
    measured, told = _as_result(ctx, round_, kept.checkpoint)
    logged = Metric.objects.filter(run=kept.run_id, step=kept.step).first()
    result = measured | {"loss": logged.values.get("loss") if logged else None}
    with ctx.fenced():
        KeptStep.objects.filter(pk=kept.pk).update(result=result, evaluation=told)
    return result


@handler(MEETING, queue="gpu")
def evaluation_meeting(ctx: JobContext) -> dict[str, Any]:
    """Have two checkpoints answer the same prompts, and the answers compared: payload as in `meetings.Meeting`."""
    meeting = Meeting(**ctx.payload)
    points = Checkpoint.objects.select_related("project").in_bulk([meeting.first, meeting.second])
    by = User.objects.filter(pk=ctx.started_by_id or 0).first()
    runs = []
    for pk in (meeting.first, meeting.second):
        with ctx.fenced():
            run = answers_run(
                points[pk],
                meeting.prompts,
                seed=meeting.seed,
                n=meeting.n,
                max_tokens=meeting.max_tokens,
                started_by=by,
            )
        draw(ctx=ctx, run=run, prompt_ids=meeting.prompts)
        runs.append(run)
    with ctx.fenced():
        return meeting_asks(
            project=points[meeting.first].project,
            meeting=meeting,
            ours=runs[0],
            theirs=runs[1],
            pairs=pairs_to_judge(meeting.n),
        )


def _newest_run(round_: Round) -> TrainingRun | None:
    if round_.index == 0:
        return None  # what round 0 trains, if anything, is an ingredient
    return TrainingRun.objects.filter(round=round_).select_related("snapshot", "output").order_by("-id").first()


def _counts(round_: Round, run: TrainingRun | None) -> dict[str, Any]:
    snapshot = run.snapshot if run else None
    share = override_share(snapshot) if snapshot else None
    last = Metric.objects.filter(run=run).order_by("-step").first() if run else None
    return {
        "n_samples": round_.sampling_run.completions.count() if round_.sampling_run else 0,
        "n_pairs": snapshot.n_pairs if snapshot else 0,
        "n_overrides": share.n_overrides if share else 0,
        "n_labels_changed": share.n_changed if share else 0,
        "n_overrides_replayed": share.n_replayed if share else 0,
        "loss": last.values.get("loss") if last else None,
    }


def _policy(ctx: JobContext, round_: Round, recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure everything that needs weights: keys of the round's result, and the pairs for judge and people."""
    loop = round_.loop
    current, initial = round_.output, loop.initial
    if current is None or initial is None:
        raise NothingToEvaluateOn(f"round {round_.index} made no policy")
    previous = round_.policy if round_.index > 0 else None
    rows = evaluation_prompts(loop, recipe)
    if not rows:
        raise NothingToEvaluateOn(
            "the project holds no prompts out: give some the split eval, so that policies can be measured"
        )
    evaluator = evaluator_of(loop.project, recipe, judge=loop.judge, loop=loop)
    seed = derive_seed(loop.seed, "evaluation")
    max_tokens = max((draw_.max_tokens for draw_ in recipe.draws), default=128)
    n = recipe.evaluation.n
    runs: dict[int, SamplingRun] = {}
    for checkpoint in {point.pk: point for point in (current, initial, previous) if point is not None}.values():
        with ctx.fenced():
            run = answers_run(
                checkpoint,
                [row.pk for row in rows],
                seed=seed,
                n=n,
                max_tokens=max_tokens,
                engine=recipe.engine,
                started_by=loop.started_by,
            )
        draw(ctx=ctx, run=run, prompt_ids=list(run.prompt_ids))
        runs[checkpoint.pk] = run
    utility = utility_of(loop.project.world)
    ctx.progress(0, 0, "loading the policies")
    kl_key = f"kl-{runs[current.pk].pk}-{initial.fingerprint[:32]}"
    found = evaluate(
        model_cache.policy(current),
        model_cache.policy(initial),
        model_cache.policy(previous) if previous is not None else None,
        [EvalPrompt(row.external_id, prompt_content(row)) for row in rows],
        n=n,
        max_tokens=max_tokens,
        seed=seed,
        gold=_gold(utility),
        cached={run.checkpoint.fingerprint: _groups(run) for run in runs.values() if run.checkpoint is not None},
        measure_kl=partial(_measure_kl, ctx, kl_key, current.n_parameters),
    )
    pieces.forget(kl_key)
    with ctx.fenced():
        told = evaluation_plan(
            loop=loop,
            index=round_.index,
            recipe=recipe,
            evaluator=evaluator,
            ours=runs[current.pk],
            others={"initial": runs[initial.pk], "previous": runs[previous.pk] if previous is not None else None},
            pairs=pairs_to_judge(n),
            truth=utility if evaluator.is_truth else None,
        )
    return _row(found, evaluator), told


def _as_result(ctx: JobContext, round_: Round, policy: Checkpoint | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure another policy as if it were the round's result."""
    recipe = recipe_of(round_.loop, round_.index)
    round_.output = policy
    # no people are asked, and not as a judge: it would be a version of the loop's own
    return _policy(ctx, round_, replace(recipe, evaluation=replace(recipe.evaluation, people=0)))


def _measure_kl(
    ctx: JobContext, key: str, n_parameters: int | None, policy: Policy, initial: Policy, items: Sequence[PackItem]
) -> list[list[float]]:
    """Measure the KL of the answers, in pieces that another attempt need not repeat."""
    limit = pieces.affordable(n_parameters) / 2  # both models read every token
    cut = pieces.pieces_by_tokens(items, lambda item: len(item.prompt_ids) + sum(map(len, item.completions)), limit)
    return pieces.in_pieces(
        ctx, key, list(cut), lambda part: step_kl(policy, initial, part), words="measuring KL to the start, by pieces"
    )


def _groups(run: SamplingRun) -> list[Group]:
    rows = Completion.objects.filter(run=run).select_related("prompt").order_by("prompt_id", "index")
    by_prompt: dict[str, list[PlainCompletion]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt.external_id, []).append(
            PlainCompletion(text=row.text, ids=tuple(row.token_ids), logp_sum=row.logp_sum, finished=row.finished)
        )
    return [Group(prompt_id=key, completions=tuple(completions)) for key, completions in by_prompt.items()]


def _gold(utility: Utility | None) -> Scorer | None:
    if utility is None:
        return None
    return lambda asked: [[utility(str(prompt), answer.text) for answer in answers] for prompt, answers in asked]


def _row(found: Evaluation, evaluator: Evaluator) -> dict[str, Any]:
    by_truth = (found.vs_initial, found.vs_previous) if evaluator.is_truth else (None, None)
    return {
        "gold_mean": found.gold.mean if found.gold else None,
        "gold_ci95": _interval(found.gold),
        "gold_best_of_4": found.gold_best_of_4,
        **win_rates(*by_truth),
        "measured_by": evaluator.name or None,
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
        estimate = mean_by_prompt(per_prompt)
        curve.append({"n": size, "mean": estimate.mean, "ci95": _interval(estimate), "kl_bound": kl_bound(size)})
    best = {group[0].prompt_id: max(group, key=lambda row: proxy[row.pk]) for group in by_prompt.values()}
    return {
        "gold_mean": curve[-1]["mean"] if utility else None,
        "gold_ci95": curve[-1]["ci95"] if utility else None,
        "kl": curve[-1]["kl_bound"],
        "mean_length": float(np.mean([len(row.text) for row in best.values()])),
        "best_of_n": curve,
    }


def _reward_model_accuracy(ctx: JobContext, project_id: int, run: TrainingRun | None) -> dict[str, Any]:
    """The share of held-out comparisons with a known truth that the new reward model ranks correctly; equal scores
    count half.
    """
    if run is None or run.output is None:
        raise NothingToEvaluateOn("the round trained no reward model")
    ctx.progress(0, 0, f"loading {run.output.name}")
    model = model_cache.reward_model(run.output)
    rows = list(
        Comparison.objects.filter(comparable(), project=project_id, held_out=True, gold__in=("first", "second"))
        .select_related("prompt", "first", "second")
        .order_by("id")
    )
    if not rows:
        return {"accuracy": None, "n_held_out": 0, "reward_model": run.output.name}
    stored = StoredIds(run.output)
    answered = [
        Answered(prompt_content(row.prompt), (row.first.text, row.second.text), (stored(row.first), stored(row.second)))
        for row in rows
    ]
    asked = hashlib.blake2s(repr([row.pk for row in rows]).encode(), digest_size=8).hexdigest()
    key = f"accuracy-{run.pk}-{asked}"
    most = pieces.at_once(run.output.n_parameters, tokens=2 * USUAL_TOKENS, most=len(answered))
    cut = list(chunks(answered, most))
    scores = pieces.in_pieces(ctx, key, cut, lambda part: answer_scores(model, part), words="scoring held-out pairs")
    pieces.forget(key)
    right = ranked_rightly(
        (first, second) if row.gold == "first" else (second, first)
        for row, (first, second) in zip(rows, scores, strict=True)
    )
    interval = share_interval(right, [1] * len(rows))
    return {
        "accuracy": sum(right) / len(rows),
        "accuracy_ci95": [interval.low, interval.high] if interval else None,
        "n_held_out": len(rows),
        "reward_model": run.output.name,
    }
