"""Rules score each answer, and say what it fails."""

from __future__ import annotations

from collections.abc import Sequence

from apps.jobs.registry import JobContext
from apps.labels.models import Judge, JudgingRun
from prefloop.judging.opened import rule_score
from prefloop.judging.rules.scoring import RuleScorer
from workers.judges.stored import score_rows


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int], *, run: JudgingRun | None = None) -> int:
    rules = RuleScorer.of(judge.options)
    return score_rows(
        ctx,
        judge,
        completion_ids,
        lambda rows: [rule_score(rules, row.prompt.text, row.prompt.metadata, row.text) for row in rows],
        run=run,
    )
