"""Everything that reads here: what is left to rate, an answer as it is shown, and what a person said last."""

from __future__ import annotations

from apps.ratings.selectors.queue import (
    N_HISTORY,
    Progress,
    free_for,
    gold_for,
    held,
    held_by,
    history,
    n_to_rate,
    progress,
    reach_of,
    room,
    stop_of,
    turn_of,
)
from apps.ratings.selectors.shown import (
    ShownAnswer,
    ShownItem,
    answers_of,
    items_shown,
    rubric_now,
    rubric_shown,
    turns_of,
)

__all__ = [
    "N_HISTORY",
    "Progress",
    "ShownAnswer",
    "ShownItem",
    "answers_of",
    "free_for",
    "gold_for",
    "held",
    "held_by",
    "history",
    "items_shown",
    "n_to_rate",
    "progress",
    "reach_of",
    "room",
    "rubric_now",
    "rubric_shown",
    "stop_of",
    "turn_of",
    "turns_of",
]
