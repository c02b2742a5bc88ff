"""How each kind of judge is asked about stored rows: one module per kind, with the kind's name.

The module of a kind that compares has `compare(ctx, judge, run, items)`, which writes a verdict for each item; that of
one that scores single answers has `score(ctx, judge, completion_ids, run=None)`, which stores a score for each
completion that has none and says how many it made. The latter compares by these scores, as its kind declares; the
former scores through its `tournament`. What all of them share is in `stored`; torch is imported inside the function
that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from apps.jobs.registry import JobContext
from apps.labels.models import Judge, JudgingRun
from prefloop.judging.kinds import ASKING, SCORES
from workers.asking import NotAskable
from workers.judges.stored import Item, answers_of, write_by_scores


def compare(ctx: JobContext, judge: Judge, run: JudgingRun, items: Sequence[Item]) -> None:
    """Ask a judge about comparisons, and write its verdicts as they come. Raises NotAskable."""
    if refused := judge.refusal(ASKING):
        raise NotAskable(refused)
    if not judge.gives_scores:
        _module(judge).compare(ctx, judge, run, items)
        return
    _module(judge).score(ctx, judge, answers_of(items), run=run)
    write_by_scores(ctx, judge, run, items)


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int]) -> int:
    """Store a score of this judge for each completion without one; return how many were made."""
    if refused := judge.refusal(SCORES):
        raise NotAskable(refused)
    if not judge.gives_scores:
        from workers.judges import tournament

        return tournament.score(ctx, judge, completion_ids)
    return int(_module(judge).score(ctx, judge, completion_ids))


def _module(judge: Judge) -> Any:
    return import_module(f"workers.judges.{judge.declared.name}")
