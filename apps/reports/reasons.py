"""The short reasons that people chose with their votes: how often, with which outcome, and on which pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Count, F, IntegerField, Min, QuerySet, Value, When

from apps.labels import columns
from apps.labels.models import Ranking, Vote
from apps.projects.models import Project
from apps.prompts.models import ready
from prefloop.stats.intervals import wilson_interval
from prefloop.types import OUTCOMES, UNLABELLED, PrefloopError

OTHERS = (*OUTCOMES[2:], *UNLABELLED)  # what is said of both answers
RANKED = "ranking"  # of a whole set: it has one list of reasons, however many pairs it orders
SAID = ("better", *OTHERS, RANKED)  # "better": one of the two, whichever
AT_ONCE = 2000


class NoSuchGuideline(PrefloopError):
    """The project has no version of the guidelines of this name."""


def guideline_named(project: Project, name: str) -> str:
    """Return a version's name; "" stands for all of them. Raises NoSuchGuideline."""
    if name and name not in {row.name for row in project.guidelines.only("version")}:
        raise NoSuchGuideline(f"project {project.slug} has no guideline {name!r}")
    return name


@dataclass(frozen=True, slots=True)
class Reason:
    """How often a short reason was chosen, in all and with each of `SAID`, and how often for the longer answer."""

    reason: str
    n: int
    said: Mapping[str, int]
    n_unequal: int  # of the votes for one answer, those on answers of unequal length
    n_longer: int  # of these, those for the longer one

    @property
    def longer(self) -> dict[str, Any] | None:
        """The share of votes for the longer answer, with Wilson's interval; None without such a vote."""
        interval = wilson_interval(self.n_longer, self.n_unequal) if self.n_unequal else None
        if interval is None:
            return None
        return {"rate": self.n_longer / self.n_unequal, "n": self.n_unequal, "ci95": [interval.low, interval.high]}


@dataclass(frozen=True, slots=True)
class Reasons:
    """`n_votes`: the current votes, where a ranking is one; `n_with`: those of them with a reason."""

    n_votes: int
    n_with: int
    said: Mapping[str, int]  # of all the votes
    rows: tuple[Reason, ...]  # the most frequent first

    def as_json(self) -> dict[str, Any]:
        return {
            "n_votes": self.n_votes,
            "n_with_reasons": self.n_with,
            "said": dict(self.said),
            "reasons": [
                {"reason": row.reason, "n": row.n, "said": dict(row.said), "longer": row.longer} for row in self.rows
            ],
        }


def reasons_of(project: Project, *, criterion: str = "", guideline: str = "") -> Reasons:
    """Count the short reasons of the current votes by a criterion, of those under one guideline if it is named."""
    longer = Case(
        When(choice__in=UNLABELLED, then=Value(0)),
        When(comparison__first__n_characters__gt=F("comparison__second__n_characters"), then=Value(1)),
        When(comparison__first__n_characters__lt=F("comparison__second__n_characters"), then=Value(-1)),
        default=Value(0),
        output_field=IntegerField(),
    )
    votes = _of_pairs(votes_of(project, criterion, guideline)).annotate(longer=longer).order_by()
    n: Counter[str] = Counter()
    said: dict[str, Counter[str]] = {}
    unequal: Counter[str] = Counter()
    for_longer: Counter[str] = Counter()
    all_said: Counter[str] = Counter()
    n_with = 0
    for reasons, choice, sign, k in votes.values_list("reasons", "choice", "longer").annotate(k=Count("pk")):
        word = "better" if choice in OUTCOMES[:2] else choice
        all_said[word] += k
        n_with += k if reasons else 0
        for reason in reasons:
            n[reason] += k
            said.setdefault(reason, Counter())[word] += k
            if word == "better" and sign:
                unequal[reason] += k
                for_longer[reason] += k if (choice == "first") == (sign > 0) else 0
    ranked = Ranking.objects.filter(pk__in=_ranked(votes_of(project, criterion, guideline)).values("ranking"))
    for reasons in ranked.values_list("reasons", flat=True).iterator(chunk_size=AT_ONCE):
        all_said[RANKED] += 1
        n_with += bool(reasons)
        n.update(reasons)
        for reason in reasons:
            said.setdefault(reason, Counter())[RANKED] += 1
    rows = [
        Reason(reason, n[reason], _in_order(said[reason]), unequal[reason], for_longer[reason])
        for reason in sorted(n, key=lambda one: (-n[one], one))
    ]
    return Reasons(all_said.total(), n_with, _in_order(all_said), tuple(rows))


def votes_with(
    project: Project, *, reason: str, said: str = "", criterion: str = "", guideline: str = ""
) -> Sequence[int]:
    """Return the ids of the current votes with this reason, the newest first; of those that say `said`, if given. A
    ranking is represented by its vote on one pair.
    """
    votes = votes_of(project, criterion, guideline)
    found: list[int] = []
    if said != RANKED:
        direct = _of_pairs(votes).exclude(reasons=[])
        if said:
            direct = direct.filter(choice__in=OUTCOMES[:2] if said == "better" else [said])
        found += [key for key, reasons in _some(direct.values_list("pk", "reasons")) if reason in reasons]
    if said in ("", RANKED):
        ranked = _ranked(votes).values("ranking").annotate(one=Min("pk"))
        found += [key for key, reasons in _some(ranked.values_list("one", "ranking__reasons")) if reason in reasons]
    return sorted(found, reverse=True)


def _of_pairs(votes: QuerySet[Vote]) -> QuerySet[Vote]:
    """Those that were given on a pair, rather than following from a ranking or from ratings."""
    return votes.filter(ranking=None)


def _ranked(votes: QuerySet[Vote]) -> QuerySet[Vote]:
    """Those that follow from rankings of sets."""
    return votes.filter(ranking__isnull=False, ranking__rating=None).order_by()


def _some(rows: QuerySet[Vote, tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield from rows.order_by().iterator(chunk_size=AT_ONCE)


def votes_shown(ids: Sequence[int]) -> list[Vote]:
    """Fetch votes with their pairs, in the order of their ids given."""
    found = Vote.objects.select_related(
        "comparison__prompt", "comparison__first", "comparison__second", "ranking"
    ).in_bulk(ids)
    return [found[key] for key in ids if key in found]


def guidelines_with(project: Project) -> list[str]:
    """Name the versions that offer reasons or marks, the newest first."""
    rows = project.guidelines.exclude(reasons=[], asks_marks=False).order_by("-version").only("version")
    return [row.name for row in rows]


def votes_of(project: Project, criterion: str, guideline: str) -> QuerySet[Vote]:
    """Return the current votes by a criterion, of those under one guideline if it is named."""
    votes = columns.current_votes(project, criterion).filter(ready("comparison__"))
    return votes.filter(guideline=guideline) if guideline else votes


def _in_order(counted: Counter[str]) -> dict[str, int]:
    return {word: counted[word] for word in SAID if counted[word]}
