"""An answer as the person who rates it sees it: nothing that reveals its author."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.projects.models import Project
from apps.projects.selectors import guideline_current, rubric_of
from apps.prompts.models import Prompt
from apps.ratings.models import RatingSeat
from apps.samples.models import Completion
from prefloop.rubrics import YES_NO, BadRubric, Item, rubric_for


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item as the page asks it; `name` can be part of a field's name."""

    name: str
    question: str
    kind: str
    weight: float
    options: tuple[int, ...]

    @property
    def is_yes_no(self) -> bool:
        return self.kind == YES_NO


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """Everything that an annotator's page or program gets of a seat."""

    seat: int
    prompt: str
    messages: tuple[dict[str, Any], ...]
    text: str
    is_cut: bool
    guideline: str
    items: tuple[ShownItem, ...]
    lease_until: datetime | None
    is_flagged: bool


def answers_of(seats: Sequence[RatingSeat]) -> list[ShownAnswer]:
    """Return what these seats of one project show, each with the rubric of its guideline's version and its prompt."""
    rubrics: dict[str, tuple[Item, ...]] = {}
    found = []
    for seat in seats:
        if seat.guideline not in rubrics:
            rubrics[seat.guideline] = rubric_of(seat.project, seat.guideline)
        answer = seat.completion
        items = _with_those_of(rubrics[seat.guideline], answer.prompt)
        found.append(
            ShownAnswer(
                seat=seat.pk,
                prompt=answer.prompt.text,
                messages=turns_of(answer.prompt),
                text=answer.text,
                is_cut=answer.is_cut,
                guideline=seat.guideline,
                items=items_shown(items),
                lease_until=seat.lease_until,
                is_flagged=getattr(seat, "is_flagged", False),  # of a seat that its holder has now
            )
        )
    return found


def rubric_shown(project: Project, guideline: str, seat: RatingSeat) -> tuple[Item, ...]:
    """The rubric that a person has on the screen with a seat, where the guideline's version is this one."""
    return _with_those_of(rubric_of(project, guideline), seat.completion.prompt)


def rubric_now(answer: Completion) -> tuple[Item, ...]:
    """The rubric by which people are asked to rate this answer now; empty where they are not."""
    current = guideline_current(answer.project)
    if current is None or not current.declared.of_answers:
        return ()
    return _with_those_of(current.rubric_items, answer.prompt)


def items_shown(rubric: Sequence[Item]) -> tuple[ShownItem, ...]:
    """A rubric as pages and programs ask it."""
    return tuple(ShownItem(one.name, one.question, one.kind, one.weight, one.options) for one in rubric)


def _with_those_of(rubric: tuple[Item, ...], prompt: Prompt) -> tuple[Item, ...]:
    """The rubric with the items that the prompt adds. Prompts from before there were rubrics may have anything under
    that name; it adds nothing then.
    """
    try:
        return rubric_for(rubric, prompt.metadata)
    except BadRubric:
        return rubric


def turns_of(prompt: Prompt) -> tuple[dict[str, Any], ...]:
    """The turns of a prompt with several; empty for a single turn, whose text says it all."""
    rows = prompt.messages if isinstance(prompt.messages, list) else []
    turns = tuple(turn for turn in rows if isinstance(turn, dict) and isinstance(turn.get("content"), str))
    return turns if len(turns) > 1 else ()
