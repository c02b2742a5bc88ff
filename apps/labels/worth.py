"""How much a judge's label of a comparison needs a person's review, and why.

In order: the judge's two orders disagree; its reply could not be read; an answer was flagged as addressing the judge;
people say otherwise; other judges disagree; a small margin |p − ½|; then the rest, by chance.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from apps.labels.models import Verdict
from apps.labels.types import JudgeLabel
from prefloop.judging.render import SUSPICIONS

NARROW = 0.25  # |p − ½| under which a label is a close call
_ABOVE_PEOPLE = frozenset({"orders", "unreadable", "flagged"})


@dataclass(frozen=True, slots=True)
class Worth:
    """How useful a person's review would be (higher first), and why."""

    value: float
    code: str  # orders | unreadable | flagged | people | judges | margin | sample | asked
    detail: Mapping[str, Any] = field(default_factory=dict)  # what the words of the code say

    @property
    def reason(self) -> str:
        """Why, in the reader's language."""
        if self.code == "judges" and "judge" in self.detail:
            return _("%(judge)s disagrees") % self.detail
        return _(_WORDS[self.code]) % self.detail


_WORDS = {
    "orders": gettext_noop("orders disagree"),
    "unreadable": gettext_noop("no readable verdict"),
    "flagged": gettext_noop("an answer addresses the judge"),
    "people": gettext_noop("people say otherwise"),
    "judges": gettext_noop("judges split %(with)d:%(against)d"),
    "margin": gettext_noop("margin %(margin).2f"),
    "sample": gettext_noop("random check"),
    "asked": gettext_noop("asked for"),
}
ASKED = Worth(0.0, "asked")  # of a comparison that the judge has not labelled


def worth_of(
    verdicts: Collection[Verdict], label: JudgeLabel | None, others: Mapping[str, JudgeLabel], share: float
) -> Worth:
    """Weigh one judge's label of a comparison, without what people say of it.

    `others`: the labels of other judges by name; `share`: a number in [0, 1) drawn for the comparison.
    """
    if _orders_disagree(verdicts) or (label is not None and label.state == "inconsistent"):
        return Worth(5 + share, "orders")
    if label is None or label.outcome is None:
        return Worth(4 + share, "unreadable")
    if any(SUSPICIONS.intersection(verdict.flags) for verdict in verdicts):
        return Worth(3.5 + share / 100, "flagged")
    said = [(name, one.outcome) for name, one in others.items() if one.outcome is not None]
    against = [name for name, outcome in said if outcome != label.outcome]
    if against:
        return Worth(2 + _doubt(label) + share / 100, "judges", _split(against, 1 + len(said) - len(against)))
    if label.p_first is not None and abs(label.p_first - 0.5) < NARROW:
        return Worth(1 + _doubt(label) + share / 100, "margin", {"margin": round(abs(label.p_first - 0.5), 6)})
    return Worth(share, "sample")


def worth_against_people(worth: Worth, label: JudgeLabel | None, share: float) -> Worth:
    """Weigh a label that people contradict; the same where it needs a review more for another reason."""
    if worth.code in _ABOVE_PEOPLE or label is None:
        return worth
    return Worth(3 + _doubt(label) + share / 100, "people")


def _doubt(label: JudgeLabel) -> float:
    return 0.0 if label.p_first is None else 0.5 - abs(label.p_first - 0.5)


def _split(against: Sequence[str], n_with: int) -> dict[str, Any]:
    if len(against) == 1 and n_with == 1:
        return {"judge": against[0]}
    return {"with": n_with, "against": len(against)}


def _orders_disagree(verdicts: Collection[Verdict]) -> bool:
    """Whether one order was decided for one answer and the other for the other, whatever the order policy."""
    sides = {v.order: v.outcome for v in verdicts if v.order and v.outcome in {"first", "second"}}
    return len(set(sides.values())) > 1
