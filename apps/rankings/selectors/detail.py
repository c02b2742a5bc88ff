"""All labels of one comparison, for the review page and for its history."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from apps.labels.models import Exclusion, GoldItem, Judge, Override, PairFlag, Preference, Verdict, Vote
from apps.labels.selectors import counting_votes, decision_of, is_excluded, label_by, preferences
from apps.labels.types import JudgeLabel
from apps.labels.worth import Worth
from apps.rankings.selectors.marked import Marked, marked
from apps.rankings.selectors.review import quoted_spans, uncertainty
from apps.samples.exposure import exposures_of
from apps.samples.models import Comparison, Exposure
from prefloop.records import FLAG_REASONS


@dataclass(frozen=True, slots=True)
class JudgeSaid:
    """One judge's verdicts on a comparison, and its label by its order policy."""

    judge: Judge
    label: JudgeLabel | None
    verdicts: tuple[Verdict, ...]

    @property
    def outcome(self) -> str:
        """An outcome, or the state if there is none."""
        if self.label is None:
            return "one order so far"
        return self.label.outcome or self.label.state

    @property
    def p_first(self) -> float | None:
        return None if self.label is None else self.label.p_first

    @property
    def confidence(self) -> float | None:
        """The probability of the side the judge chose."""
        return None if self.p_first is None else max(self.p_first, 1 - self.p_first)

    @property
    def q_first(self) -> float | None:
        return None if self.p_first is None else 1 - self.p_first

    @property
    def p_percent(self) -> str:
        """The width of A's bar in a drawing 100 wide; written with a point in every language."""
        return f"{100 * (self.p_first or 0.0):.1f}"

    @property
    def q_percent(self) -> str:
        return f"{100 - 100 * (self.p_first or 0.0):.1f}"

    @property
    def can_agree(self) -> bool:
        return self.label is not None and self.label.outcome is not None


@dataclass(frozen=True, slots=True)
class ReviewDetail:
    """A comparison under review, answer A being the canonical first."""

    comparison: Comparison
    judge: Judge
    said: JudgeSaid
    worth: Worth | None
    others: tuple[JudgeSaid, ...]
    votes: tuple[Vote, ...]
    marks: tuple[Marked, ...]  # what these votes mark in the answers
    decision: Override | None
    preference: Preference | None
    quotes: tuple[str, ...]


def review_detail(comparison: Comparison, judge: Judge, *, with_people: bool = True) -> ReviewDetail:
    """Return everything that the review page shows, by the judge's criterion; without people, others' votes are no
    reason for a review.
    """
    said = said_by_judges(comparison)
    same = [one for one in said if one.judge.criterion_name == judge.criterion_name]
    why = uncertainty([comparison.pk], judge, without_people=() if with_people else [comparison.pk])
    mine = next((one for one in said if one.judge.pk == judge.pk), JudgeSaid(judge, None, ()))
    quotes: dict[str, None] = {}
    for verdict in mine.verdicts:
        for quote in quoted_spans(verdict.rationale, comparison.first.text, comparison.second.text):
            quotes.setdefault(quote)
    # sorted here: to sort them by id, SQLite would walk every vote that there is
    given = counting_votes(judge.criterion_name).filter(comparison=comparison).order_by()
    votes = sorted(given, key=lambda vote: vote.pk)
    return ReviewDetail(
        comparison=comparison,
        judge=judge,
        said=mine,
        worth=why.get(comparison.pk),
        others=tuple(one for one in same if one.judge.pk != judge.pk),
        votes=tuple(votes),
        marks=tuple(marked(votes, comparison)),
        decision=decision_of(comparison, judge.criterion_name),
        preference=preferences(judge.criterion_name).filter(comparison=comparison).first(),
        quotes=tuple(quotes),
    )


def said_by_judges(comparison: Comparison) -> list[JudgeSaid]:
    by_judge: dict[Judge, list[Verdict]] = defaultdict(list)
    for verdict in Verdict.objects.filter(comparison=comparison).select_related("judge").order_by("order", "sample"):
        by_judge[verdict.judge].append(verdict)
    said = []
    for judge, verdicts in by_judge.items():
        said.append(JudgeSaid(judge, label_by(judge, verdicts), tuple(verdicts)))
    return sorted(said, key=lambda one: (one.judge.name, one.judge.version))


EVENTS = (
    "verdict",
    "vote",
    "adjudication",
    "edit",
    "override",
    "flag",
    "resolved",
    "excluded",
    "included",
    "seen",
    "gold",
)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a comparison's history."""

    at: datetime
    kind: str  # one of EVENTS
    row: Verdict | Vote | Override | PairFlag | Exclusion | Exposure | GoldItem
    counts: bool = True  # False for what an excluded person said

    @property
    def name(self) -> str:
        """The judge or the person; of an exclusion the person it is about."""
        if self.kind == "resolved" and isinstance(self.row, PairFlag):
            return self.row.resolved_by
        if isinstance(self.row, Exposure):
            return self.row.user.username
        if isinstance(self.row, GoldItem):
            return self.row.by.username if self.row.by is not None else ""
        return self.row.judge.name if isinstance(self.row, Verdict) else self.row.rater

    @property
    def said(self) -> str:
        if isinstance(self.row, Exclusion):
            return ""
        if isinstance(self.row, Exposure):
            return self.row.where
        if isinstance(self.row, GoldItem):
            return self.row.outcome
        if isinstance(self.row, PairFlag):
            return self.row.reason
        if isinstance(self.row, Verdict):
            return self.row.outcome or self.row.state
        if isinstance(self.row, Override):
            return self.row.choice or self.row.kind
        return self.row.choice

    @property
    def criterion(self) -> str:
        """The named criterion by which a vote, verdict or decision was given; "" without one."""
        if isinstance(self.row, Vote):
            return self.row.criterion
        return self.row.judge.criterion_name if isinstance(self.row, Verdict | Override) else ""

    @property
    def strength(self) -> str:
        """How much better a voter found the chosen answer, if they were asked."""
        return self.row.strength if isinstance(self.row, Vote) else ""

    @property
    def reasons(self) -> list[str]:
        """The short reasons that a voter chose."""
        return list(self.row.reasons) if isinstance(self.row, Vote) else []

    @property
    def marks(self) -> list[Marked]:
        """The passages that a voter marked."""
        return marked([self.row], self.row.comparison) if isinstance(self.row, Vote) else []

    @property
    def why(self) -> str:
        if isinstance(self.row, PairFlag):
            return self.row.note if self.kind == "flag" else ""
        if isinstance(self.row, Exposure):
            return ""
        if isinstance(self.row, GoldItem):
            return self.row.note
        return self.row.rationale if isinstance(self.row, Verdict) else self.row.reason

    @property
    def flagged_for(self) -> str:
        """Why the pair was flagged, in the words that were picked."""
        return FLAG_REASONS.get(self.said, self.said)


def _kind_of(vote: Vote) -> str:
    return "edit" if vote.by_edit else "adjudication" if vote.adjudication else "vote"


def label_history(comparison: Comparison) -> list[Event]:
    """Every verdict, vote, adjudication, decision and flag on a comparison, replaced ones included, oldest first; since
    when the people who gave them are excluded, or were; who was shown a label of it; and who said what its answer is.
    """
    votes = list(comparison.votes.annotate(is_excluded=is_excluded()))
    decisions = list(comparison.overrides.select_related("judge").annotate(is_excluded=is_excluded()))
    raters = {vote.rater for vote in votes} | {decision.rater for decision in decisions}
    excluded = Exclusion.objects.filter(project=comparison.project_id, rater__in=raters)
    exclusions = list(excluded.select_related("by", "lifted_by"))
    flags = list(comparison.flags.all())
    gold = GoldItem.objects.filter(comparison=comparison).select_related("by", "comparison")
    events = [
        *(Event(row.created_at, "verdict", row) for row in comparison.verdicts.select_related("judge")),
        *(Event(row.at or row.created_at, _kind_of(row), row, not row.is_excluded) for row in votes),
        *(Event(row.at or row.created_at, "override", row, not row.is_excluded) for row in decisions),
        *(Event(row.at or row.created_at, "flag", row) for row in flags),
        *(Event(row.resolved_at, "resolved", row) for row in flags if row.resolved_at is not None),
        *(Event(row.created_at, "excluded", row) for row in exclusions),
        *(Event(row.lifted_at, "included", row) for row in exclusions if row.lifted_at is not None),
        *(Event(row.created_at, "seen", row) for row in exposures_of(comparison)),
        *(Event(row.created_at, "gold", row) for row in gold),
    ]
    return sorted(events, key=lambda event: (event.at, event.row.pk))
