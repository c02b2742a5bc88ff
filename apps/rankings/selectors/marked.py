"""The passages that people marked in the answers of a pair, as pages and programs show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.core.text import span_as_shown, visible_controls
from apps.labels.models import Vote
from apps.samples.models import Comparison
from prefloop.marks import marks_loaded

SHOWN = 160  # characters of a passage in a list


@dataclass(frozen=True, slots=True)
class Marked:
    """A passage that a vote marks. `answer`: which of the comparison's, in its own order."""

    vote: int
    rater: str
    answer: str  # first or second
    start: int
    end: int
    kind: str
    reason: str
    text: str

    @property
    def letter(self) -> str:
        """The answer's letter where the canonical first is A."""
        return "A" if self.answer == "first" else "B"

    @property
    def quote(self) -> str:
        """The passage, shortened in its middle for a list."""
        shown = visible_controls(" ".join(self.text.split()))
        half = SHOWN // 2
        return shown if len(shown) <= SHOWN else f"{shown[:half].rstrip()} … {shown[-half:].lstrip()}"


def marked(votes: Iterable[Vote], comparison: Comparison) -> list[Marked]:
    """Return what these votes on a comparison mark, in their order."""
    found = []
    for vote in votes:
        for mark in marks_loaded(vote.marks):
            answer, text = (("first", comparison.first.text), ("second", comparison.second.text))[mark.answer]
            passage = text[mark.start : mark.end]
            found.append(Marked(vote.pk, vote.rater, answer, mark.start, mark.end, mark.kind, mark.reason, passage))
    return found


def marks_drawn(marks: Sequence[Marked], comparison: Comparison, *, whose: bool) -> dict[str, Any]:
    """What static/js/elements/marked-answers.js needs to show passages in the answers, by answer; {} without any.

    `source` is the answer's text as it is shown unrendered, which the offsets count; `whose`: with the names of people.
    """
    texts = {"first": comparison.first.text, "second": comparison.second.text}
    return {
        answer: {
            "source": visible_controls(text),
            "marks": [
                {"span": span_as_shown(text, mark.start, mark.end), "kind": mark.kind, "words": _words(mark, whose)}
                for mark in marks
                if mark.answer == answer
            ],
        }
        for answer, text in texts.items()
        if any(mark.answer == answer for mark in marks)
    }


def _words(mark: Marked, whose: bool) -> str:
    said = {"good": _("marked good"), "bad": _("marked bad")}[mark.kind]
    words = f"{said}: {mark.reason}" if mark.reason else said
    return f"{mark.rater}, {words}" if whose else words
