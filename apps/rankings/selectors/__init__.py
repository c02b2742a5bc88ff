"""Everything that reads here: what is left to vote on, a pair as it is shown, what is worth a review."""

from __future__ import annotations

from apps.rankings.selectors.batches import batchable, batches_of
from apps.rankings.selectors.budget import Budget, budget_of
from apps.rankings.selectors.detail import EVENTS, JudgeSaid, ReviewDetail, label_history, review_detail, said_by_judges
from apps.rankings.selectors.flags import all_flags_of, flags_of
from apps.rankings.selectors.gold import gold_answers, gold_of, gold_rated, gold_rated_answers
from apps.rankings.selectors.marked import marked, marks_drawn
from apps.rankings.selectors.pair import ShownPair, conversation, pair_of
from apps.rankings.selectors.practice import (
    must_practise,
    practice_answer_of,
    practice_items,
    practice_next,
    practice_of,
    practice_order,
    practice_pairs,
    practice_rating_next,
    practice_rating_of,
    practice_ratings,
    practices_of,
)
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
from apps.rankings.selectors.sets import ShownSet, items_of, lettered
from apps.rankings.selectors.split import SplitPair, split_pairs
from apps.rankings.selectors.stops import pause_of, stop_of

__all__ = [
    "EVENTS",
    "LETTER",
    "N_HISTORY",
    "Budget",
    "JudgeSaid",
    "Progress",
    "QueueItem",
    "ReviewDetail",
    "ShownPair",
    "ShownSet",
    "SplitPair",
    "all_flags_of",
    "batchable",
    "batches_of",
    "budget_of",
    "conversation",
    "flags_of",
    "gold_answers",
    "gold_of",
    "gold_rated",
    "gold_rated_answers",
    "history",
    "items_of",
    "judge_on",
    "judges_to_review",
    "label_history",
    "least_doubted",
    "lettered",
    "marked",
    "marks_drawn",
    "must_practise",
    "n_to_review",
    "n_wanting",
    "open_assignments",
    "pair_of",
    "pause_of",
    "practice_answer_of",
    "practice_items",
    "practice_next",
    "practice_of",
    "practice_order",
    "practice_pairs",
    "practice_rating_next",
    "practice_rating_of",
    "practice_ratings",
    "practices_of",
    "progress",
    "progress_from",
    "quoted_spans",
    "review_detail",
    "review_judge",
    "review_queue",
    "said_by_judges",
    "split_pairs",
    "stop_of",
    "uncertainty",
]
