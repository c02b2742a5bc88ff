"""A person's rating of an answer as a judgement that a policy can learn to write: an EFT row.

The form is that of the additive scale (prefloop/judging/templates): the reasons first, then `Score:` and a whole number
from 0 to 5 on a line of its own. Source: Yuan et al. 2024 (Self-Rewarding), arXiv:2401.10020, § 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefloop.rubrics import YES_NO, Item

HIGHEST = 5


def score_of_total(total: float) -> int:
    """The score from 0 to 5 for a rating's total from 0 to 1; halves go up."""
    return int(HIGHEST * total + 0.5)


def reasons_of(rubric: Sequence[Item], values: Mapping[str, int], reason: str = "") -> str:
    """What was said by each item, in words, and then why. Lines of it that would be read as the score are left out."""
    said = " ".join(f"{item.name}: {_word(item, values[item.name])}." for item in rubric)
    why = [line for line in reason.strip().splitlines() if not line.strip().lower().startswith("score:")]
    return "\n".join([said, *why])


def judgement_of(reasons: str, score: int) -> str:
    """The whole judgement: reasons, then the score on a line of its own."""
    return f"{reasons}\nScore: {score}"


def _word(item: Item, value: int) -> str:
    return ("yes" if value else "no") if item.kind == YES_NO else f"{value} of 5"
