"""Shared by all judges of stored rows: what is still to be asked, and how replies are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import cast

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext
from apps.judging.specs import spec_of
from apps.labels.models import Judge, JudgingRun, Score, Verdict
from apps.labels.selectors import orders_for
from apps.labels.services import NewScore, NewVerdict, scores_add, verdicts_add
from apps.samples.models import Comparison, Completion
from apps.samples.services import EVALUATION
from prefloop.judging.asking import Asked, Question
from prefloop.judging.by_scores import ScoredAnswer
from prefloop.judging.judge import Endpoint, pair_judge
from prefloop.judging.verdicts import ORDER_CODES
from prefloop.types import LabelledVerdict, Order, VerdictState
from workers.asking import EndpointMeter, ask_and_write

Item = tuple[Comparison, Order, int]  # a comparison, an order to ask it in, and which sample of that order it will be

SCORES_AT_ONCE = 512


def unasked(judge: Judge, run: JudgingRun, ids: Sequence[int]) -> list[Item]:
    """Return the comparisons and orders that this judge must still be asked in, each with its sample number.

    Without `retry_states`: those without any verdict, even one with `error`. With them: also those whose verdicts are
    all in such states, unless this run has already asked again.
    """
    both = run.purpose == EVALUATION  # no order may lean to the policy that is measured
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
        for order in orders_for(judge, key, both=both) if key in rows else ():
            before = said[key, ORDER_CODES[order]]
            if all(state in run.retry_states and by_run != run.pk for _, state, by_run in before):
                items.append((rows[key], order, max((n for n, _, _ in before), default=-1) + 1))
    return items


def answers_of(items: Sequence[Item]) -> list[int]:
    """Return the ids of the compared completions, each once."""
    return sorted({pk for comparison, _, _ in items for pk in (comparison.first_id, comparison.second_id)})


def ask_pairs(
    ctx: JobContext,
    judge: Judge,
    run: JudgingRun,
    items: Sequence[Item],
    endpoint: Endpoint,
    meter: EndpointMeter | None,
) -> None:
    """Ask whoever answers messages which of two answers is better, and write each verdict as it comes."""

    def write(asked: list[Asked[Item, LabelledVerdict]]) -> None:
        new = [new_verdict(one.item, reply.said, reply.seconds) for one in asked for reply in one.replies]
        verdicts_add(judge=judge, run=run, verdicts=new)

    asker = pair_judge(spec_of(judge, seed=run.seed), endpoint)
    wanted = [(item, [question_of(item)]) for item in items]
    at_once, words = judge.at_once, f"verdicts of {judge.name}"
    ask_and_write(ctx, asker, wanted, write=write, meter=meter, at_once=at_once, words=words)


def new_verdict(item: Item, said: LabelledVerdict, seconds: float) -> NewVerdict:
    comparison, order, sample = item
    return NewVerdict(comparison.pk, ORDER_CODES[order], said, sample, seconds)


def question_of(item: Item) -> Question:
    comparison, order, sample = item
    return Question(comparison.prompt.text, (comparison.first.text, comparison.second.text), order, sample)


def score_rows(
    ctx: JobContext,
    judge: Judge,
    completion_ids: Sequence[int],
    scores_of: Callable[[Sequence[Completion]], Sequence[ScoredAnswer]],
    *,
    run: JudgingRun | None,
    at_once: int = SCORES_AT_ONCE,
) -> int:
    """Store a score for each completion without one; return how many were made.

    `scores_of` scores completions that come with their prompts, those of one prompt together; `at_once` of them
    between two writes.
    """
    todo = unscored(judge, completion_ids)
    done = 0
    ctx.progress(0, len(todo), "scoring")
    for part in chunks(todo, at_once):
        ctx.check()
        rows = list(
            Completion.objects.filter(pk__in=part).select_related("prompt").order_by("prompt_id", "index", "id")
        )
        scores = scores_of(rows)
        with ctx.fenced():
            new = [NewScore.of(row.pk, said) for row, said in zip(rows, scores, strict=True)]
            scores_add(judge=judge, scores=new, run=run)
        done += len(rows)
        ctx.progress(done, len(todo), "scoring")
    return len(todo)


def unscored(judge: Judge, completion_ids: Sequence[int]) -> list[int]:
    """Return the completions without a score by this judge."""
    there: set[int] = set()
    for part in chunks(completion_ids, 500):
        there |= set(Score.objects.filter(judge=judge, completion_id__in=part).values_list("completion_id", flat=True))
    return [pk for pk in completion_ids if pk not in there]


def write_by_scores(ctx: JobContext, judge: Judge, run: JudgingRun | None, items: Sequence[Item]) -> None:
    """Write what the stored scores of two answers come to, as the judge's kind declares."""
    said: dict[int, list[ScoredAnswer]] = defaultdict(list)
    seed = run.seed if run is not None else 0
    for part in chunks(answers_of(items), 500):
        rows = Score.objects.filter(judge=judge, completion_id__in=part).order_by("completion_id", "sample")
        for key, state, value, why in rows.values_list("completion_id", "state", "value", "rationale"):
            said[key].append(ScoredAnswer(cast(VerdictState, state), value, rationale=why))
    by_scores, spec = judge.declared.by_scores, spec_of(judge, seed=seed)
    if by_scores is None:
        raise AssertionError("a kind that scores says what it makes of two scores")
    for some in chunks(items, 256):
        ctx.check()
        verdicts = []
        for item in some:
            comparison, order, sample = item
            first, second = said[comparison.first_id], said[comparison.second_id]
            verdict = by_scores(spec, question_of(item), first, second)
            verdicts.append(NewVerdict(comparison.pk, ORDER_CODES[order], verdict, sample))
        with ctx.fenced():
            verdicts_add(judge=judge, run=run, verdicts=verdicts)
