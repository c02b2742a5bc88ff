"""A world's known utility scores each answer."""

from __future__ import annotations

from collections.abc import Sequence

from apps.jobs.registry import JobContext
from apps.labels.models import Judge, JudgingRun
from prefloop.judging.by_scores import ScoredAnswer
from workers.asking import NotAskable
from workers.judges.stored import score_rows
from workers.worlds import utility_of


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int], *, run: JudgingRun | None = None) -> int:
    utility = utility_of(judge.project.world)
    if utility is None:
        raise NotAskable(f"project {judge.project.slug} has no world whose preference could judge")
    return score_rows(
        ctx,
        judge,
        completion_ids,
        lambda rows: [ScoredAnswer(value=utility(row.prompt.text, row.text)) for row in rows],
        run=run,
    )
