"""Everything that reads here: what is left to vote on, a pair as it is shown, what is worth a review."""

from __future__ import annotations

from apps.rankings.selectors.detail import (
    JudgeSaid,
    ReviewDetail,
    decision_of,
    label_history,
    review_detail,
    said_by_judges,
)
from apps.rankings.selectors.pair import Pair, conversation, pair_of
from apps.rankings.selectors.queue import (
    N_HISTORY,
    Progress,
    guideline_of,
    has_seen,
    history,
    n_wanting,
    open_assignments,
    progress,
    standing,
    wanting_votes,
)
from apps.rankings.selectors.review import (
    LETTER,
    OverrideEffect,
    QueueItem,
    Worth,
    judge_on,
    n_to_review,
    override_effect,
    quoted_spans,
    review_judge,
    review_queue,
    uncertainty,
)

__all__ = [
    "LETTER",
    "N_HISTORY",
    "JudgeSaid",
    "OverrideEffect",
    "Pair",
    "Progress",
    "QueueItem",
    "ReviewDetail",
    "Worth",
    "conversation",
    "decision_of",
    "guideline_of",
    "has_seen",
    "history",
    "judge_on",
    "label_history",
    "n_to_review",
    "n_wanting",
    "open_assignments",
    "override_effect",
    "pair_of",
    "progress",
    "quoted_spans",
    "review_detail",
    "review_judge",
    "review_queue",
    "said_by_judges",
    "standing",
    "uncertainty",
    "wanting_votes",
]
