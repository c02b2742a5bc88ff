"""Everything that reads here: what is left to rate, an answer as it is shown, and what a person said last."""

from __future__ import annotations

from apps.ratings.selectors.queue import (
    N_HISTORY,
    Progress,
    free_for,
    held,
    held_by,
    history,
    n_to_rate,
    progress,
    reach_of,
    room,
    stop_of,
)
from apps.ratings.selectors.shown import ShownAnswer, ShownItem, answers_of, rubric_shown

__all__ = [
    "N_HISTORY",
    "Progress",
    "ShownAnswer",
    "ShownItem",
    "answers_of",
    "free_for",
    "held",
    "held_by",
    "history",
    "n_to_rate",
    "progress",
    "reach_of",
    "room",
    "rubric_shown",
    "stop_of",
]
