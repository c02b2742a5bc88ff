"""What labels are made of, as plain values: events of people, what a judge's verdicts come to, and the label itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from prefloop.types import Outcome, VerdictState

BLIND = frozenset({"human", "adjudication", "edit"})  # sources of labels that people gave without seeing a judge's
PEOPLE = BLIND | {"override"}
JUDGED, FLAGGED = "judge:", "flag:"  # how the source of a label begins that a judge gave: on a pair, on one answer
RATED_ANSWER = "rating"  # the source of a label that people's ratings of one answer are
RETRIED_STATES = ("error", "unparseable")  # of verdicts: what a judge may be asked again for


@dataclass(frozen=True, slots=True)
class VoteEvent:
    """One person's blind vote. `at`: when it was given, for ordering one person's changes."""

    id: int
    rater: str
    choice: str
    at: datetime
    supersedes: int | None = None
    adjudication: bool = False  # given seeing the votes of the others, where they split
    excluded: bool = False  # by a person whose labels do not count (Exclusion)
    by_edit: bool = False  # given by editing one answer into the other, beside adjudications


@dataclass(frozen=True, slots=True)
class OverrideEvent:
    """One person's decision after seeing the label of the judge `judge`."""

    id: int
    rater: str
    judge: str
    kind: str  # agree | override | withdrawn
    choice: str
    at: datetime
    supersedes: int | None = None
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class JudgeLabel:
    """A judge's label of one comparison, from its verdicts by its order policy. `p_first`: None if it has none."""

    judge: str
    state: VerdictState
    outcome: Outcome | None
    p_first: float | None
    verdict_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """The effective label. `outcome` may be `inconsistent`; `p_first` is None where no pair can be made of it."""

    outcome: str
    p_first: float | None
    source: str
    label_ids: tuple[str, ...]
    replaced: Label | None = field(default=None, compare=False)  # of an override: the label that would stand without it

    @property
    def p_without_overrides(self) -> float | None:
        if self.source != "override":
            return self.p_first
        return None if self.replaced is None else self.replaced.p_first


@dataclass(frozen=True, slots=True)
class Events:
    """All labels of one comparison, ready for `derive`."""

    votes: tuple[VoteEvent, ...] = ()
    overrides: tuple[OverrideEvent, ...] = ()
    judge: JudgeLabel | None = None
