"""Judging and scoring: a chunk of a run, written as it goes. What a judge already said is not asked again."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from apps.core.chunks import chunks
from apps.jobs.clock import database_now
from apps.jobs.registry import JobContext, handler
from apps.judging.ensembles import ensemble_label
from apps.judging.models import Judge, JudgeKind, JudgingRun, Score, Verdict
from apps.judging.selectors import scores_of
from apps.judging.services import ORDER_CODES, NewScore, NewVerdict, orders_for, scores_add, verdicts_add
from apps.rankings.preferences import judge_labels, preferences_derive
from apps.samples.models import Comparison, Completion, SamplingRun
from prefloop.judging.verdicts import Order
from prefloop.recipes.labelling import sigmoid
from prefloop.seeds import derive_seed
from prefloop.types import LabelledVerdict
from workers.asking import Asked, LlmSettings, Meter, NotAskable, ask_in_threads, failures, opened
from workers.worlds import utility_of

Item = tuple[Comparison, Order, int]  # a comparison, an order to ask it in, and which sample of that order it will be


@handler("judging.chunk", queue="cpu")
def judging_chunk(ctx: JobContext) -> dict[str, Any]:
    """Ask a judge about a chunk of comparisons: payload {run, start, stop}."""
    run = JudgingRun.objects.select_related("judge__endpoint", "judge__checkpoint", "project").get(
        pk=ctx.payload["run"]
    )
    ids = run.comparison_ids[ctx.payload["start"] : ctx.payload["stop"]]
    items = _unasked(run.judge, run, ids)
    ctx.progress(0, len(items), f"asking {run.judge.name}")
    _ask(ctx, run.judge, run, items)
    with ctx.fenced():
        preferences_derive(project=run.project, comparison_ids=ids, now=database_now())
    return {"n_verdicts": len(items), "n_there_before": len(ids) - len({item[0].pk for item in items})}


def _ask(ctx: JobContext, judge: Judge, run: JudgingRun, items: list[Item]) -> None:
    how: Callable[[JobContext, Judge, JudgingRun, list[Item]], None] | None = {
        JudgeKind.REWARD_MODEL: _ask_reward_model,
        JudgeKind.POLICY: _ask_policy,
        JudgeKind.WORLD: _ask_world,
        JudgeKind.LLM: _ask_llm,
        JudgeKind.ENSEMBLE: _ask_ensemble,
    }.get(JudgeKind(judge.kind))
    if how is None:
        raise NotAskable(f"judge {judge.name!r} came with an import and can't be asked more")
    how(ctx, judge, run, items)


def _unasked(judge: Judge, run: JudgingRun, ids: Sequence[int]) -> list[Item]:
    """Return the comparisons and orders that this judge is still to be asked in, each with the sample it will be.

    Without `retry_states`: those with no verdict at all, be it one that says `error`. With them: also those where
    nothing but such states came of it, unless this very run has asked again already.
    """
    said: dict[tuple[int, str], list[tuple[int, str, int | None]]] = defaultdict(list)
    rows: dict[int, Comparison] = {}
    for part in chunks(ids, 500):
        verdicts = Verdict.objects.filter(judge=judge, comparison_id__in=part)
        fields = verdicts.values_list("comparison_id", "order", "sample", "state", "run_id")
        for comparison_id, code, sample, state, run_id in fields:
            said[comparison_id, code].append((sample, state, run_id))
        found = Comparison.objects.filter(pk__in=part).select_related("prompt", "first", "second")
        rows |= {comparison.pk: comparison for comparison in found}
    items: list[Item] = []
    for key in ids:
        for order in orders_for(judge, key) if key in rows else ():
            before = said[key, ORDER_CODES[order]]
            if all(state in run.retry_states and by_run != run.pk for _, state, by_run in before):
                items.append((rows[key], order, max((n for n, _, _ in before), default=-1) + 1))
    return items


def _ask_reward_model(ctx: JobContext, judge: Judge, run: JudgingRun, items: list[Item]) -> None:
    completion_ids = sorted({pk for comparison, _, _ in items for pk in (comparison.first_id, comparison.second_id)})
    score(ctx, judge, completion_ids)
    scores = scores_of(judge, completion_ids)
    for part in chunks(items, 256):
        with ctx.fenced():
            verdicts_add(
                judge=judge,
                run=run,
                verdicts=[
                    _from_p(item, sigmoid(scores[item[0].first_id] - scores[item[0].second_id])) for item in part
                ],
            )


def _ask_world(ctx: JobContext, judge: Judge, run: JudgingRun, items: list[Item]) -> None:
    """The world's preference with the judge's noise: a coin of σ(difference of utility / noise), by the judge's seed.

    With `soft` in its options the probability itself is told; else only which side the coin fell on, as a person would.
    """
    utility = utility_of(run.project.world)
    if utility is None:
        raise NotAskable(f"project {run.project.slug} has no world whose preference could judge")
    noise = float(judge.options.get("noise", 0.0))
    soft = bool(judge.options.get("soft", False))
    for part in chunks(items, 256):
        ctx.check()
        verdicts = []
        for item in part:
            comparison, order, sample = item
            prompt = comparison.prompt.text
            difference = utility(prompt, comparison.first.text) - utility(prompt, comparison.second.text)
            p = sigmoid(difference / noise) if noise > 0 else _sign(difference)
            if soft:
                verdicts.append(_from_p(item, p))
                continue
            # keyed by the texts, so that the same pair is judged the same in any database
            seed = derive_seed(run.seed, "world", prompt, comparison.first.text, comparison.second.text)
            said = "tie" if p == 0.5 and noise == 0 else "first" if random.Random(seed).random() < p else "second"
            verdict = LabelledVerdict(state="ok", outcome=said)  # type: ignore[arg-type]
            verdicts.append(NewVerdict(comparison.pk, ORDER_CODES[order], verdict, sample))
        with ctx.fenced():
            verdicts_add(judge=judge, run=run, verdicts=verdicts)


def _ask_llm(ctx: JobContext, judge: Judge, run: JudgingRun, items: list[Item]) -> None:
    llm = LlmSettings.of(judge)
    if llm.grades:
        _compare_grades(ctx, judge, run, items, llm)
        return
    with failures(), opened(llm.endpoint) as endpoint:
        pair_judge = llm.pair_judge(endpoint, seed=run.seed)

        def ask(item: Item) -> Asked[NewVerdict]:
            comparison, order, sample = item
            began = time.monotonic()
            said = pair_judge.judge_pair(
                prompt=comparison.prompt.text,
                first=comparison.first.text,
                second=comparison.second.text,
                order=order,
                sample=sample,
            )
            seconds = time.monotonic() - began
            return Asked(NewVerdict(comparison.pk, ORDER_CODES[order], said, sample, seconds), said.usage)

        ask_in_threads(
            ctx,
            items,
            texts=lambda item: (item[0].prompt.text, item[0].first.text, item[0].second.text),
            ask=ask,
            write=lambda verdicts: verdicts_add(judge=judge, run=run, verdicts=verdicts),
            meter=Meter(llm, purpose="judging", note=f"{judge.name} v{judge.version}, run {run.pk}"),
            words=f"verdicts of {judge.name}",
        )


def _compare_grades(ctx: JobContext, judge: Judge, run: JudgingRun, items: list[Item], llm: LlmSettings) -> None:
    """Grade every answer by itself, then compare by the means of what could be read."""
    ids = sorted({pk for comparison, _, _ in items for pk in (comparison.first_id, comparison.second_id)})
    grade(ctx, judge, ids, run=run, seed=run.seed)
    verdicts_of_means(ctx, judge, run, items, tie_delta=llm.tie_delta)


def _ask_policy(ctx: JobContext, judge: Judge, run: JudgingRun, items: list[Item]) -> None:
    ids = sorted({pk for comparison, _, _ in items for pk in (comparison.first_id, comparison.second_id)})
    score(ctx, judge, ids)
    verdicts_of_means(ctx, judge, run, items)


def verdicts_of_means(
    ctx: JobContext, judge: Judge, run: JudgingRun | None, items: Sequence[Item], *, tie_delta: float = 0.0
) -> None:
    """Write what the judge's mean scores of two answers come to; `unparseable` where one of them has none."""
    ids = sorted({pk for comparison, _, _ in items for pk in (comparison.first_id, comparison.second_id)})
    means = scores_of(judge, ids)
    states: dict[int, set[str]] = defaultdict(set)
    for part in chunks(ids, 500):
        for key, state in Score.objects.filter(judge=judge, completion_id__in=part).values_list(
            "completion_id", "state"
        ):
            states[key].add(state)
    for some in chunks(items, 256):
        verdicts = [
            NewVerdict(
                comparison.pk,
                ORDER_CODES[order],
                graded(means.get(comparison.first_id), means.get(comparison.second_id), tie_delta)
                or LabelledVerdict(
                    state="error"
                    if {"error"} in (states[comparison.first_id], states[comparison.second_id])
                    else "unparseable",
                    rationale="no score of one of the answers could be read",
                ),
                sample,
            )
            for comparison, order, sample in some
        ]
        with ctx.fenced():
            verdicts_add(judge=judge, run=run, verdicts=verdicts)


def graded(first: float | None, second: float | None, tie_delta: float) -> LabelledVerdict | None:
    """The verdict of two mean scores: a tie where they differ by no more than `tie_delta`; None without both."""
    if first is None or second is None:
        return None
    gap = first - second
    outcome = "tie" if abs(gap) <= tie_delta + 1e-9 else "first" if gap > 0 else "second"
    return LabelledVerdict(state="ok", outcome=outcome, rationale=f"scores {first:.4g} and {second:.4g}")  # type: ignore[arg-type]


def grade(
    ctx: JobContext, judge: Judge, completion_ids: Sequence[int], *, run: JudgingRun | None, seed: int = 0
) -> int:
    """Have a language model grade each of the completions as many times as the judge says; return how many it graded.

    What could not be read is kept as a row of its own without a value. A run that tries again asks once more where
    nothing at all could be read.
    """
    llm = LlmSettings.of(judge)
    todo = _ungraded(judge, completion_ids, run, llm.samples)
    with failures(), opened(llm.endpoint) as endpoint:
        scorer = llm.scorer(endpoint, seed=seed)

        def ask(item: tuple[Completion, int]) -> Asked[NewScore]:
            completion, sample = item
            began = time.monotonic()
            said = scorer.score(prompt=completion.prompt.text, answer=completion.text, sample=sample)
            new = NewScore(
                completion.pk,
                None if said.value is None else float(said.value),
                said.state,
                sample,
                said.raw,
                said.rationale,
                said.usage,
                time.monotonic() - began,
            )
            return Asked(new, said.usage)

        ask_in_threads(
            ctx,
            todo,
            texts=lambda item: (item[0].prompt.text, item[0].text),
            ask=ask,
            write=lambda scores: scores_add(judge=judge, scores=scores, run=run),
            meter=Meter(llm, purpose="judging", note=f"{judge.name} v{judge.version}"),
            words=f"scores of {judge.name}",
        )
    return len({completion.pk for completion, _ in todo})


def _ungraded(
    judge: Judge, completion_ids: Sequence[int], run: JudgingRun | None, samples: int
) -> list[tuple[Completion, int]]:
    there: dict[int, list[tuple[int, str, int | None]]] = defaultdict(list)
    rows: dict[int, Completion] = {}
    for part in chunks(completion_ids, 500):
        scores = Score.objects.filter(judge=judge, completion_id__in=part)
        for key, number, state, run_id in scores.values_list("completion_id", "sample", "state", "run_id"):
            there[key].append((number, state, run_id))
        rows |= {row.pk: row for row in Completion.objects.filter(pk__in=part).select_related("prompt")}
    todo: list[tuple[Completion, int]] = []
    for key in completion_ids:
        have = {sample for sample, _, _ in there[key]}
        first, n = 0, samples
        if run is not None and have and all(state in run.retry_states for _, state, _ in there[key]):
            n = samples - sum(by_run == run.pk for _, _, by_run in there[key])
            first = max(have) + 1
        todo += [(rows[key], sample) for sample in range(first, first + n) if sample not in have]
    return todo


def _ask_ensemble(ctx: JobContext, judge: Judge, run: JudgingRun, items: list[Item]) -> None:
    """Ask the members what they have not said yet, then write down what all of them come to."""
    members = Judge.objects.select_related("endpoint", "checkpoint").in_bulk(judge.options["members"])
    ids = [comparison.pk for comparison, _, _ in items]
    labels = {}
    for pk in judge.options["members"]:
        _ask(ctx, members[pk], run, _unasked(members[pk], run, ids))
        labels[pk] = judge_labels(comparison_ids=ids, judge=members[pk])
    for part in chunks(items, 256):
        verdicts = [
            NewVerdict(
                comparison.pk,
                ORDER_CODES[order],
                ensemble_label(
                    judge,
                    {
                        member: (label.state, label.outcome, label.p_first)
                        for member in members.values()
                        if (label := labels[member.pk].get(comparison.pk)) is not None
                    },
                ),
                sample,
            )
            for comparison, order, sample in part
        ]
        with ctx.fenced():
            verdicts_add(judge=judge, run=run, verdicts=verdicts)


def _sign(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _from_p(item: Item, p: float) -> NewVerdict:
    comparison, order, sample = item
    outcome = "tie" if p == 0.5 else "first" if p > 0.5 else "second"
    verdict = LabelledVerdict(state="ok", outcome=outcome, p_first=p)  # type: ignore[arg-type]
    return NewVerdict(comparison.pk, ORDER_CODES[order], verdict, sample)


@handler("scoring.chunk", queue="cpu")
def scoring_chunk(ctx: JobContext) -> dict[str, Any]:
    """Score the completions of a chunk of a sampling run: payload {judge, run, start, stop}."""
    judge = Judge.objects.select_related("checkpoint", "endpoint", "project").get(pk=ctx.payload["judge"])
    run = SamplingRun.objects.get(pk=ctx.payload["run"])
    prompts = run.prompt_ids[ctx.payload["start"] : ctx.payload["stop"]]
    ids = list(
        Completion.objects.filter(run=run, prompt_id__in=prompts)
        .order_by("prompt_id", "index")
        .values_list("id", flat=True)
    )
    return {"n_scored": score(ctx, judge, ids)}


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int]) -> int:
    """Store a score of this judge for each of the completions that has none; return how many were made."""
    if judge.kind == JudgeKind.LLM:
        return grade(ctx, judge, completion_ids, run=None)
    there: set[int] = set()
    for part in chunks(completion_ids, 500):
        there |= set(Score.objects.filter(judge=judge, completion_id__in=part).values_list("completion_id", flat=True))
    todo = [pk for pk in completion_ids if pk not in there]
    if judge.kind == JudgeKind.POLICY:
        from workers.own_scores import score_by_policy

        score_by_policy(ctx, judge, todo)
        return len(todo)
    done = 0
    for part in chunks(todo, 512):
        ctx.check()
        rows = list(
            Completion.objects.filter(pk__in=part).select_related("prompt").order_by("prompt_id", "index", "id")
        )
        values = _world_scores(judge, rows) if judge.kind == JudgeKind.WORLD else _reward_scores(judge, rows)
        with ctx.fenced():
            new = [NewScore(row.pk, value) for row, value in zip(rows, values, strict=True)]
            scores_add(judge=judge, scores=new)
        done += len(rows)
        ctx.progress(done, len(todo), "scoring")
    return len(todo)


def _world_scores(judge: Judge, rows: Sequence[Completion]) -> list[float]:
    utility = utility_of(judge.project.world)
    if utility is None:
        raise NotAskable(f"project {judge.project.slug} has no world whose preference could judge")
    return [utility(row.prompt.text, row.text) for row in rows]


def _reward_scores(judge: Judge, rows: Sequence[Completion]) -> list[float]:
    from workers.scoring import reward_scores_of

    if judge.checkpoint is None:
        raise NotAskable(f"judge {judge.name!r} has no reward model")
    return reward_scores_of(judge.checkpoint, rows)
