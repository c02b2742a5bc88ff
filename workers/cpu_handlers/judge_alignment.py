"""A judge and its aligned next version, asked about the same pairs in both orders. Neither produces a label."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from apps.jobs.registry import JobContext, handler
from apps.judging.alignment import alignment_figures, draft_of
from apps.judging.models import Alignment, AlignmentVerdict
from apps.judging.specs import spec_of
from apps.judging.trials import RAW_CHARS
from apps.labels.models import Judge
from apps.samples.models import Comparison
from prefloop.judging.asking import Asked, Question
from prefloop.judging.judge import Endpoint, pair_judge
from prefloop.judging.verdicts import BOTH_ORDERS, ORDER_CODES
from prefloop.types import LabelledVerdict, Order
from workers.asking import ask_and_write, failures, meter_of, opened
from workers.judges.policy import policy_endpoint

Item = tuple[Comparison, Order]


@handler("judging.align", queue="cpu")
def judging_align(ctx: JobContext) -> dict[str, Any]:
    """Ask both versions of an alignment about its pairs, and compare them: payload {alignment}."""
    found = Alignment.objects.select_related("judge__endpoint", "judge__checkpoint", "judge__project")
    alignment = found.get(pk=ctx.payload["alignment"])
    for is_new, judge in ((False, alignment.judge), (True, draft_of(alignment))):
        _ask(ctx, alignment, judge, is_new=is_new)
    with ctx.fenced():
        alignment.figures = alignment_figures(alignment)
        alignment.save(update_fields=["figures"])
    return {"n_pairs": len(alignment.pairs)}


def _ask(ctx: JobContext, alignment: Alignment, judge: Judge, *, is_new: bool) -> None:
    ids = [pair["comparison"] for pair in alignment.pairs]
    rows = list(Comparison.objects.filter(pk__in=ids).select_related("prompt", "first", "second").order_by("id"))
    there = set(alignment.verdicts.filter(is_new=is_new).values_list("comparison_id", "order"))
    items = [(row, order) for row in rows for order in BOTH_ORDERS if (row.pk, ORDER_CODES[order]) not in there]

    def write(asked: list[Asked[Item, LabelledVerdict]]) -> None:
        new = []
        for one in asked:
            (row, order), (reply,) = one.item, one.replies
            new.append(
                AlignmentVerdict(
                    alignment=alignment,
                    comparison=row,
                    is_new=is_new,
                    order=ORDER_CODES[order],
                    state=reply.said.state,
                    outcome=reply.said.outcome or "",
                    p_first=reply.said.p_first,
                    raw=reply.said.raw[:RAW_CHARS],
                )
            )
        AlignmentVerdict.objects.bulk_create(new, ignore_conflicts=True)

    with failures(), _endpoint(ctx, judge, len(items)) as endpoint:
        ask_and_write(
            ctx,
            pair_judge(spec_of(judge, seed=alignment.seed), endpoint),
            [((row, order), [_question(row, order)]) for row, order in items],
            write=write,
            meter=meter_of(judge, purpose="alignment", person_id=ctx.started_by_id),
            at_once=judge.at_once,
            words="verdicts of the new version" if is_new else "verdicts of the present version",
        )


def _question(row: Comparison, order: Order) -> Question:
    return Question(row.prompt.text, (row.first.text, row.second.text), order)


def _endpoint(ctx: JobContext, judge: Judge, n: int) -> AbstractContextManager[Endpoint]:
    if judge.declared.endpoint:
        return opened(judge)
    return policy_endpoint(judge, n_answers=n, check=ctx.check)
