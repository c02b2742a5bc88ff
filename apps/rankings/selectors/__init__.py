"""Everything that reads here: what is left to vote on, a pair as it is shown, what is worth a review."""

from __future__ import annotations

from apps.rankings.selectors.detail import EVENTS, JudgeSaid, ReviewDetail, label_history, review_detail, said_by_judges
from apps.rankings.selectors.flags import flags_of
from apps.rankings.selectors.pair import ShownPair, conversation, pair_of
from apps.rankings.selectors.queue import (
    N_HISTORY,
    Progress,
    history,
    n_wanting,
    open_assignments,
    progress,
    progress_from,
)
from apps.rankings.selectors.review import (
    LETTER,
    QueueItem,
    judge_on,
    judges_to_review,
    least_doubted,
    n_to_review,
    quoted_spans,
    review_judge,
    review_queue,
    uncertainty,
)
from apps.rankings.selectors.split import SplitPair, split_pairs

__all__ = [
    "EVENTS",
    "LETTER",
    "N_HISTORY",
    "JudgeSaid",
    "Progress",
    "QueueItem",
    "ReviewDetail",
    "ShownPair",
    "SplitPair",
    "conversation",
    "flags_of",
    "history",
    "judge_on",
    "judges_to_review",
    "label_history",
    "least_doubted",
    "n_to_review",
    "n_wanting",
    "open_assignments",
    "pair_of",
    "progress",
    "progress_from",
    "quoted_spans",
    "review_detail",
    "review_judge",
    "review_queue",
    "said_by_judges",
    "split_pairs",
    "uncertainty",
]
