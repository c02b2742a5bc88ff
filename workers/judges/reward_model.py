"""A reward model scores each answer."""

from __future__ import annotations

from collections.abc import Sequence

from apps.jobs.registry import JobContext
from apps.labels.models import Judge, JudgingRun
from prefloop.judging.by_scores import ScoredAnswer
from workers import pieces
from workers.asking import NotAskable
from workers.judges.stored import SCORES_AT_ONCE, score_rows

USUAL_TOKENS = 256  # of a prompt and its answer


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int], *, run: JudgingRun | None = None) -> int:
    from workers.judges.reward_scores import reward_scores_of

    checkpoint = judge.checkpoint
    if checkpoint is None:
        raise NotAskable(f"judge {judge.name!r} has no reward model")
    return score_rows(
        ctx,
        judge,
        completion_ids,
        lambda rows: [ScoredAnswer(value=value) for value in reward_scores_of(checkpoint, rows)],
        run=run,
        at_once=pieces.at_once(checkpoint.n_parameters, tokens=USUAL_TOKENS, most=SCORES_AT_ONCE),
    )
