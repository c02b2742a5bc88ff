"""Everything that writes here: leases, votes, decisions."""

from __future__ import annotations

from apps.rankings.services.adjudicate import adjudication_create, adjudication_undo, adjudication_withdraw
from apps.rankings.services.assign import (
    assignment_for_comparison,
    assignment_next,
    assignments_lease,
)
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
from apps.rankings.services.flag import BadFlag, Flagged, flag_create, flag_resolve
from apps.rankings.services.seats import seats_of_new, seats_settle
from apps.rankings.services.take import Taken
from apps.rankings.services.vote import (
    CHOICES,
    MAX_REASON,
    SKIP_REASONS,
    AlreadyAnswered,
    BadVote,
    LeaseLost,
    NothingToUndo,
    Voted,
    vote_and_next,
    vote_create,
    vote_undo,
)

__all__ = [
    "CHOICES",
    "MAX_REASON",
    "MOST_TOGETHER",
    "REASONS",
    "SKIP_REASONS",
    "AlreadyAnswered",
    "BadDecision",
    "BadFlag",
    "BadVote",
    "Flagged",
    "LeaseLost",
    "NoDecision",
    "NothingToUndo",
    "Taken",
    "Voted",
    "adjudication_create",
    "adjudication_undo",
    "adjudication_withdraw",
    "agree_many",
    "assignment_for_comparison",
    "assignment_next",
    "assignments_lease",
    "flag_create",
    "flag_resolve",
    "override_create",
    "override_undo",
    "override_withdraw",
    "seats_of_new",
    "seats_settle",
    "vote_and_next",
    "vote_create",
    "vote_undo",
]
