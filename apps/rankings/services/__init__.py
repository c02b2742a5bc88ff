"""Everything that writes here: leases, votes, decisions."""

from __future__ import annotations

from apps.rankings.services.adjudicate import adjudication_create, adjudication_undo, adjudication_withdraw
from apps.rankings.services.assign import (
    assignment_for_comparison,
    assignment_next,
    assignments_lease,
)
from apps.rankings.services.batches import BadBatch, batch_close, batch_create, batch_of_fitting
from apps.rankings.services.budget import BadBudget, budget_set, person_pause, project_pause, queue_pause
from apps.rankings.services.decide import (
    MOST_TOGETHER,
    REASONS,
    BadDecision,
    NoDecision,
    agree_many,
    override_create,
    override_undo,
    override_withdraw,
)
from apps.rankings.services.edit import LONGEST_EDIT, SIDES, BadEdit, Edited, answer_edit
from apps.rankings.services.finish import AlreadyAnswered, LeaseLost
from apps.rankings.services.flag import BadFlag, Flagged, flag_create, flag_resolve, flag_withdraw
from apps.rankings.services.gold import BadGold, gold_mark, gold_share_set, gold_unmark
from apps.rankings.services.marks import marks_on_screen, marks_said
from apps.rankings.services.practice import (
    practice_again,
    practice_answer,
    practice_bound_set,
    practice_let_in,
    practice_rate,
)
from apps.rankings.services.rank import MAX_KEY, Answered, Ranked, rank_and_next, rank_create
from apps.rankings.services.seats import seats_of_new, seats_settle
from apps.rankings.services.sets import sets_follow, sets_make, task_now
from apps.rankings.services.take import Taken
from apps.rankings.services.vote import (
    CHOICES,
    MAX_REASON,
    SKIP_REASONS,
    BadVote,
    NothingToUndo,
    Voted,
    vote_and_next,
    vote_create,
    vote_undo,
)

__all__ = [
    "CHOICES",
    "LONGEST_EDIT",
    "MAX_KEY",
    "MAX_REASON",
    "MOST_TOGETHER",
    "REASONS",
    "SIDES",
    "SKIP_REASONS",
    "AlreadyAnswered",
    "Answered",
    "BadBatch",
    "BadBudget",
    "BadDecision",
    "BadEdit",
    "BadFlag",
    "BadGold",
    "BadVote",
    "Edited",
    "Flagged",
    "LeaseLost",
    "NoDecision",
    "NothingToUndo",
    "Ranked",
    "Taken",
    "Voted",
    "adjudication_create",
    "adjudication_undo",
    "adjudication_withdraw",
    "agree_many",
    "answer_edit",
    "assignment_for_comparison",
    "assignment_next",
    "assignments_lease",
    "batch_close",
    "batch_create",
    "batch_of_fitting",
    "budget_set",
    "flag_create",
    "flag_resolve",
    "flag_withdraw",
    "gold_mark",
    "gold_share_set",
    "gold_unmark",
    "marks_on_screen",
    "marks_said",
    "override_create",
    "override_undo",
    "override_withdraw",
    "person_pause",
    "practice_again",
    "practice_answer",
    "practice_bound_set",
    "practice_let_in",
    "practice_rate",
    "project_pause",
    "queue_pause",
    "rank_and_next",
    "rank_create",
    "seats_of_new",
    "seats_settle",
    "sets_follow",
    "sets_make",
    "task_now",
    "vote_and_next",
    "vote_create",
    "vote_undo",
]
