"""The parts of a Record, and what can be derived from them alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, cast

from prefloop.answers import same_answer
from prefloop.marks import Mark
from prefloop.preference import outcome_at
from prefloop.rubrics import Item, total
from prefloop.types import AS_STORED, UNLABELLED, Order, Outcome, PrefloopError, Split, Strength

Choice = Literal[0, 1, "tie", "both_bad"]
VoteChoice = Literal[0, 1, "tie", "both_bad", "skip", "cant_judge"]
RatingChoice = Literal["rated", "skip", "cant_judge"]
RecordState = Literal["ok", "unparseable", "error"]
PairIndex = tuple[int, int]
Metadata = dict[str, Any]

# why somebody flags a pair for a lead, in the words that people pick
FLAG_REASONS = {
    "broken": "The prompt or an answer is broken or cut off",
    "harmful": "It contains something harmful or illegal",
    "private": "It contains somebody's personal data",
    "duplicate": "I have seen this before",
    "guideline": "The guideline does not cover this",
    "other": "Something else",
}

MAX_LINE_BYTES = 20_000_000
MAX_VALUES = 500_000  # of a row or a record: texts, numbers, lists and objects, at any depth
MAX_DEPTH = 64
MAX_ERRORS = 50
MAX_COMPLETIONS = 1_000
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class LineError:
    line: int
    message: str
    unit: str = "line"  # "row" in files that have no lines of their own

    @property
    def text(self) -> str:
        return f"{self.unit} {self.line}: {self.message}"


class RecordsError(PrefloopError):
    """A file that is refused; `errors` holds the bad lines (at most `MAX_ERRORS`), in order."""

    def __init__(self, errors: Sequence[LineError], *, stopped: bool = False) -> None:
        self.errors = tuple(errors)
        self.stopped = stopped
        rest = len(self.errors) - 1
        more = f" (and {'at least ' if stopped else ''}{rest} more)" if rest else ""
        super().__init__(f"{self.errors[0].text}{more}")


class InvalidRecord(PrefloopError):
    """One invalid record; the text names the key and the reason."""


@dataclass(frozen=True, slots=True)
class RecordCompletion:
    text: str
    model: str = ""
    metadata: Metadata = field(default_factory=dict)
    parent: int | None = None  # the index of the answer that a person edited
    editor: str = ""


@dataclass(frozen=True, slots=True)
class Gold:
    """The right label of one pair, and why: it measures people and judges.

    `practice`: people practise on it instead of meeting it among other pairs.
    """

    pair: PairIndex
    choice: Choice
    note: str = ""
    practice: bool = False


@dataclass(frozen=True, slots=True)
class RecordVote:
    rater: str
    pair: PairIndex
    choice: VoteChoice
    order: PairIndex | None = None
    at: str = ""
    seconds: float | None = None
    guideline: str = ""
    reason: str = ""
    adjudication: bool = False  # a decision where people split, made seeing their votes
    strength: Strength | None = None  # of a choice of 0 or 1, where the guideline asks for it
    # whether the pair was drawn at random, rather than chosen by what judges said of it; None: neither, or not known
    by_chance: bool | None = None
    criterion: str = ""  # the named one by which it was said
    reasons: tuple[str, ...] = ()  # short ones that were chosen from a list
    edit: bool = False  # an adjudication that was said by editing pair[0] into pair[1]
    marks: tuple[Mark, ...] = ()  # passages of the two answers, by index, that were marked as good or bad


@dataclass(frozen=True, slots=True)
class RecordRanking:
    """Groups of completion indices, best group first; answers in one group are tied. One of rater and judge is set.

    `shown`: the completion indices in the order in which the rater saw them; empty where it is not known.
    """

    groups: tuple[tuple[int, ...], ...]
    rater: str = ""
    judge: str = ""
    shown: tuple[int, ...] = ()
    at: str = ""
    seconds: float | None = None
    guideline: str = ""
    reason: str = ""
    reasons: tuple[str, ...] = ()  # short ones that were chosen from a list


@dataclass(frozen=True, slots=True)
class RecordRating:
    """What a person says of one answer: a value for each item of the rubric, by its name; or why there is none."""

    rater: str
    completion: int
    choice: RatingChoice = "rated"
    rubric: tuple[Item, ...] = ()
    values: tuple[tuple[str, int], ...] = ()
    at: str = ""
    seconds: float | None = None
    guideline: str = ""
    reason: str = ""

    @property
    def total(self) -> float | None:
        """The weighted mean of the values, from 0 to 1; None where there are none."""
        return total(self.rubric, dict(self.values)) if self.choice == "rated" else None


@dataclass(frozen=True, slots=True)
class GoldRating:
    """The right rating of one answer, by each item of its rubric, and why: it measures people.

    `practice`: people practise on it instead of meeting it among other answers.
    """

    completion: int
    rubric: tuple[Item, ...]
    values: tuple[tuple[str, int], ...]
    note: str = ""
    practice: bool = False


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    judge: str
    pair: PairIndex
    order: Order = AS_STORED
    sample: int = 0
    state: RecordState = "ok"
    choice: Choice | None = None
    p_first: float | None = None
    raw: str = ""
    criterion: str = ""  # that of its judge


@dataclass(frozen=True, slots=True)
class RecordOverride:
    rater: str
    pair: PairIndex
    choice: Choice
    judge: str = ""
    reason: str = ""
    at: str = ""
    criterion: str = ""  # that of its judge


@dataclass(frozen=True, slots=True)
class RecordFlag:
    """Somebody's remark that a pair needs a lead's look; no label. `resolved`: when it was, "" while it waits.

    On one answer by itself, `completion` names it and `pair` is None.
    """

    rater: str
    pair: PairIndex | None
    reason: str  # one of FLAG_REASONS
    note: str = ""
    at: str = ""
    resolved: str = ""
    resolved_by: str = ""
    completion: int | None = None


@dataclass(frozen=True, slots=True)
class RecordScore:
    """A judge's score of one answer. `flag`: a value of 1 or 0 that only says whether the answer is desirable."""

    judge: str
    completion: int
    value: float | None
    state: RecordState = "ok"
    flag: bool = False
    criterion: str = ""  # that of its judge


@dataclass(frozen=True, slots=True)
class Record:
    id: str
    prompt: str | tuple[dict[str, str], ...]
    completions: tuple[RecordCompletion, ...]
    split: Split | None = None
    metadata: Metadata = field(default_factory=dict)
    gold: tuple[Gold, ...] = ()
    votes: tuple[RecordVote, ...] = ()
    rankings: tuple[RecordRanking, ...] = ()
    ratings: tuple[RecordRating, ...] = ()
    verdicts: tuple[RecordVerdict, ...] = ()
    overrides: tuple[RecordOverride, ...] = ()
    scores: tuple[RecordScore, ...] = ()
    flags: tuple[RecordFlag, ...] = ()
    gold_ratings: tuple[GoldRating, ...] = ()


def outcome_of(choice: Choice | None, *, p_first: float | None = None) -> Outcome | None:
    """Name a choice on a canonical pair; without one, the side of ½ that `p_first` is on; None if there is neither."""
    if choice is None:
        if p_first is None:
            return None
        return outcome_at(p_first)
    if choice == 0:
        return "first"
    return "second" if choice == 1 else cast(Outcome, choice)


def choice_of(outcome: Outcome) -> Choice:
    return 0 if outcome == "first" else 1 if outcome == "second" else outcome


def ranked_pairs(groups: Sequence[Sequence[int]]) -> Iterator[tuple[PairIndex, Outcome]]:
    """List what a ranking says about each two of its answers: n(n-1)/2 pairs in index order, ties within a group."""
    level = {answer: at for at, group in enumerate(groups) for answer in group}
    for i, j in combinations(sorted(level), 2):
        yield (i, j), "tie" if level[i] == level[j] else "first" if level[i] < level[j] else "second"


def rated_pairs(record: Record, known: Sequence[RecordRating] = ()) -> list[tuple[int, PairIndex, Outcome]]:
    """List the pairs that follow from ratings: who has rated two answers by the same items has compared them.

    Of a person's ratings of an answer the last counts. Each pair comes with the place of the later rating. Equal texts
    are not compared. `known`: earlier ratings, besides those of the record; two of them are not compared again.
    """
    of_rater: dict[str, dict[int, int]] = {}
    ratings = (*known, *record.ratings)
    for at, rating in enumerate(ratings):
        of_rater.setdefault(rating.rater, {})[rating.completion] = at
    found: list[tuple[int, PairIndex, Outcome]] = []
    for last in of_rater.values():
        for i, j in combinations(sorted(last), 2):
            one, other, later = ratings[last[i]], ratings[last[j]], max(last[i], last[j]) - len(known)
            a, b = one.total, other.total
            if later < 0 or a is None or b is None or one.rubric != other.rubric:
                continue
            if not same_answer(record.completions[i].text, record.completions[j].text):
                found.append((later, (i, j), "tie" if a == b else "first" if a > b else "second"))
    return found


def pairs_named(record: Record, known: Sequence[RecordRating] = ()) -> set[PairIndex]:
    """Collect the pairs that gold, votes, rankings, ratings, verdicts, overrides and flags refer to. `known`: earlier
    ratings, as in `rated_pairs`.
    """
    said = (record.gold, record.votes, record.verdicts, record.overrides)
    named = {x.pair for rows in said for x in rows}
    named |= {flag.pair for flag in record.flags if flag.pair is not None}
    for ranking in record.rankings:
        named |= {pair for pair, _ in ranked_pairs(ranking.groups)}
    return named | {pair for _, pair, _ in rated_pairs(record, known)}


def comparisons_of(record: Record) -> tuple[PairIndex, ...]:
    """List the pairs to compare, in index order: those that the record names, else all.

    Only labels of pairs restrict a record to the pairs it names. A ranking names all pairs of the answers it orders, in
    addition. A pair that was skipped or that nobody could judge, or a discarded ranking, restricts nothing.
    """
    if _narrows(record):
        return tuple(sorted(pairs_named(record)))
    return tuple(combinations(range(len(record.completions)), 2))


def n_comparisons(record: Record) -> int:
    """Count what `comparisons_of` lists, without listing all pairs of a thousand answers."""
    n = len(record.completions)
    return len(pairs_named(record)) if _narrows(record) else n * (n - 1) // 2


def n_ranked(record: Record) -> int:
    """Count the labels that the rankings and ratings of a record amount to: n(n-1)/2 for each that orders n answers."""
    sizes = [sum(map(len, ranking.groups)) for ranking in record.rankings]
    sizes += Counter(rating.rater for rating in record.ratings).values()
    return sum(n * (n - 1) // 2 for n in sizes)


def _narrows(record: Record) -> bool:
    said = record.gold or record.verdicts or record.overrides
    return bool(said) or any(vote.choice not in UNLABELLED for vote in record.votes)
