"""A pair as one person sees it: sides as in their assignment, and nothing that reveals the authors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.rankings.models import Assignment
from apps.samples.models import Comparison


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Everything that an annotator's page or program gets of an assignment."""

    assignment: int
    comparison: int
    prompt: str
    messages: tuple[dict[str, Any], ...]
    left: str
    right: str
    left_is_cut: bool
    right_is_cut: bool
    lease_until: datetime
    is_flagged: bool = False  # by this person, and no lead has resolved it
    criterion: str = ""  # by which it is asked, and what is asked; both empty for the unnamed one
    question: str = ""


def pair_of(assignment: Assignment, questions: Mapping[str, str] | None = None) -> ShownPair:
    """Show a pair; `questions` says what is asked by each named criterion."""
    comparison = assignment.comparison
    answers = (comparison.first, comparison.second)
    if assignment.lease_until is None:
        raise ValueError(f"seat {assignment.pk} is free: it is shown to nobody")
    left, right = answers if assignment.order == "01" else answers[::-1]
    return ShownPair(
        assignment=assignment.pk,
        comparison=comparison.pk,
        prompt=comparison.prompt.text,
        messages=conversation(comparison),
        left=left.text,
        right=right.text,
        left_is_cut=left.is_cut,
        right_is_cut=right.is_cut,
        lease_until=assignment.lease_until,
        is_flagged=getattr(assignment, "is_flagged", False),
        criterion=assignment.criterion,
        question=(questions or {}).get(assignment.criterion, ""),
    )


def conversation(comparison: Comparison) -> tuple[dict[str, Any], ...]:
    """The turns of a prompt with several; empty for a single turn, whose text says it all."""
    messages = comparison.prompt.messages or []
    turns = tuple(turn for turn in messages if isinstance(turn, dict) and isinstance(turn.get("content"), str))
    return turns if len(turns) > 1 else ()
