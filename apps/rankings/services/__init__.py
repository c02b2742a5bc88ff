"""Everything that writes here: leases, votes, decisions."""

from __future__ import annotations

from apps.rankings.services.assign import (
    assignment_for_comparison,
    assignment_next,
    assignments_lease,
)
from apps.rankings.services.decide import (
    REASONS,
    BadDecision,
    NoDecision,
    override_create,
    override_undo,
    override_withdraw,
)
from apps.rankings.services.vote import (
    CHOICES,
    MAX_REASON,
    SKIP_REASONS,
    AlreadyAnswered,
    BadVote,
    LeaseLost,
    NothingToUndo,
    Voted,
    vote_create,
    vote_undo,
)

__all__ = [
    "CHOICES",
    "MAX_REASON",
    "REASONS",
    "SKIP_REASONS",
    "AlreadyAnswered",
    "BadDecision",
    "BadVote",
    "LeaseLost",
    "NoDecision",
    "NothingToUndo",
    "Voted",
    "assignment_for_comparison",
    "assignment_next",
    "assignments_lease",
    "override_create",
    "override_undo",
    "override_withdraw",
    "vote_create",
    "vote_undo",
]
