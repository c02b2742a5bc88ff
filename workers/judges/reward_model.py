"""A reward model scores each answer."""

from __future__ import annotations

from collections.abc import Sequence

from apps.jobs.registry import JobContext
from apps.labels.models import Judge, JudgingRun
from prefloop.judging.by_scores import ScoredAnswer
from workers.asking import NotAskable
from workers.judges.stored import score_rows


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int], *, run: JudgingRun | None = None) -> int:
    from workers.scoring import reward_scores_of

    checkpoint = judge.checkpoint
    if checkpoint is None:
        raise NotAskable(f"judge {judge.name!r} has no reward model")
    return score_rows(
        ctx,
        judge,
        completion_ids,
        lambda rows: [ScoredAnswer(value=value) for value in reward_scores_of(checkpoint, rows)],
        run=run,
    )
