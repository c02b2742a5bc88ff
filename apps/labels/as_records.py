"""All that was said of a few hundred prompts, as the interchange form says it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, cast

from django.db.models import Exists, F, OuterRef, Q

from apps.core.chunks import chunks
from apps.labels.models import Override, PairFlag, Ranking, Rating, Score, Verdict, Vote
from apps.labels.ratings import excluded_rater, standing_ratings
from apps.labels.selectors import counted
from prefloop.judging.verdicts import ORDER_OF_CODE
from prefloop.marks import Mark, marks_loaded
from prefloop.records import (
    PairIndex,
    RatingChoice,
    RecordFlag,
    RecordOverride,
    RecordRanking,
    RecordRating,
    RecordScore,
    RecordVerdict,
    RecordVote,
    VoteChoice,
    choice_of,
    written_time,
)
from prefloop.rubrics import rubric_loaded
from prefloop.types import UNLABELLED, Outcome, Strength

_BY = "judge__criterion_name"
UNNAMED_JUDGE = "(judge not named)"  # an override in a record need not say whose label it corrects
_ORDER: dict[str, PairIndex | None] = {**ORDER_OF_CODE, "": None}


class Said(TypedDict):
    """What a record says of its answers, by the record's own keys."""

    votes: tuple[RecordVote, ...]
    rankings: tuple[RecordRanking, ...]
    ratings: tuple[RecordRating, ...]
    verdicts: tuple[RecordVerdict, ...]
    overrides: tuple[RecordOverride, ...]
    scores: tuple[RecordScore, ...]
    flags: tuple[RecordFlag, ...]


def said_of(
    prompt_ids: Sequence[int],
    *,
    place: dict[int, int],
    pairs: dict[int, tuple[int, PairIndex]],
    names: dict[int, str],
    taken_back: bool,
) -> Mapping[int, Said]:
    """Read what was said of these prompts: `place` of each answer in its record, `pairs` of each comparison.

    `names` says how judges are called, by id. `taken_back`: with the votes and decisions that people took back.
    """
    votes, verdicts = _votes(pairs, taken_back), _verdicts(pairs, names)
    overrides, scores = _overrides(pairs, names, taken_back), _scores(prompt_ids, place, names)
    rankings, flags = _rankings(prompt_ids, place, names, taken_back), _flags(pairs, prompt_ids, place)
    ratings = _ratings(prompt_ids, place, taken_back)
    return {
        key: Said(
            votes=tuple(votes[key]),
            rankings=tuple(rankings[key]),
            ratings=tuple(ratings[key]),
            verdicts=tuple(verdicts[key]),
            overrides=tuple(overrides[key]),
            scores=tuple(scores[key]),
            flags=tuple(flags[key]),
        )
        for key in prompt_ids
    }


def _votes(pairs: dict[int, tuple[int, PairIndex]], taken_back: bool) -> dict[int, list[RecordVote]]:
    """Votes for export. Withdrawn votes and those of excluded people are left out, and so are votes that come from a
    ranking.
    """
    out: dict[int, list[RecordVote]] = defaultdict(list)
    for ids in chunks(list(pairs), 500):
        given = Vote.objects.filter(comparison__in=ids, ranking__isnull=True)
        rows = list((given if taken_back else counted(given)).order_by("comparison__prompt_id", "id"))
        back = {row.pk: row.supersedes_id for row in rows}
        gone: set[int | None] = set()
        for row in rows:
            if row.choice == "withdrawn":
                at: int | None = row.pk
                while at is not None:
                    gone.add(at)
                    at = back.get(at)
        for row in rows:
            if row.choice == "withdrawn" or (row.pk in gone and not taken_back):
                continue
            prompt, pair = pairs[row.comparison_id]
            out[prompt].append(
                RecordVote(
                    rater=row.rater,
                    pair=pair,
                    choice=_choice_of(row.choice),
                    order=_ORDER[row.order],
                    at=written_time(row.at) if row.at else "",
                    seconds=row.seconds,
                    guideline=row.guideline,
                    reason=row.reason,
                    reasons=tuple(row.reasons),
                    marks=_marks(row, pair),
                    adjudication=row.adjudication,
                    edit=row.by_edit,
                    strength=cast(Strength, row.strength) if row.strength else None,
                    by_chance=row.by_chance,
                    criterion=row.criterion,
                )
            )
    return out


def _marks(vote: Vote, pair: PairIndex) -> tuple[Mark, ...]:
    """The marks of a vote, each of one of the two answers of its pair by index."""
    return tuple(replace(mark, answer=pair[mark.answer]) for mark in marks_loaded(vote.marks))


def _choice_of(said: str) -> VoteChoice:
    return cast(VoteChoice, said) if said in UNLABELLED else choice_of(cast(Outcome, said))


def _verdicts(pairs: dict[int, tuple[int, PairIndex]], names: dict[int, str]) -> dict[int, list[RecordVerdict]]:
    out: dict[int, list[RecordVerdict]] = defaultdict(list)
    fields = ("comparison_id", "judge_id", "order", "sample", "state", "outcome", "p_first", "raw", _BY)
    for ids in chunks(list(pairs), 500):
        given = Verdict.objects.filter(comparison__in=ids).exclude(order="")  # those follow from rankings
        rows = given.exclude(state__in=("skipped", "inconsistent"))
        for comparison, judge, order, sample, state, outcome, p_first, raw, criterion in rows.order_by(
            "comparison__prompt_id", "id"
        ).values_list(*fields):
            prompt, pair = pairs[comparison]
            out[prompt].append(
                RecordVerdict(
                    judge=names[judge],
                    pair=pair,
                    order=_ORDER[order] or (0, 1),
                    sample=sample,
                    state=state,
                    choice=choice_of(outcome) if outcome else None,
                    p_first=p_first,
                    raw=raw,
                    criterion=criterion,
                )
            )
    return out


def _overrides(
    pairs: dict[int, tuple[int, PairIndex]], names: dict[int, str], with_taken_back: bool
) -> dict[int, list[RecordOverride]]:
    """Decisions for export: current and replaced ones, but not withdrawn ones, those of excluded people, or an
    agreement without a label.
    """
    out: dict[int, list[RecordOverride]] = defaultdict(list)
    for ids in chunks(list(pairs), 500):
        given = Override.objects.filter(comparison__in=ids).select_related("judge")
        rows = list((given if with_taken_back else counted(given)).order_by("comparison__prompt_id", "id"))
        taken_back = set() if with_taken_back else {row.supersedes_id for row in rows if row.kind == "withdrawn"}
        for row in rows:
            if row.kind == "withdrawn" or row.pk in taken_back or not row.choice:
                continue
            prompt, pair = pairs[row.comparison_id]
            name = names[row.judge_id]
            out[prompt].append(
                RecordOverride(
                    rater=row.rater,
                    pair=pair,
                    choice=choice_of(cast(Outcome, row.choice)),
                    judge="" if name == UNNAMED_JUDGE else name,
                    reason=row.reason,
                    at=written_time(row.at) if row.at else "",
                    criterion=row.judge.criterion_name,
                )
            )
    return out


def _scores(prompt_ids: Sequence[int], place: dict[int, int], names: dict[int, str]) -> dict[int, list[RecordScore]]:
    out: dict[int, list[RecordScore]] = defaultdict(list)
    rows = Score.objects.filter(completion__prompt__in=prompt_ids).order_by("id")
    fields = ("completion__prompt_id", "completion_id", "judge_id", "value", "state", "flag", _BY)
    for prompt, completion, judge, value, state, flag, criterion in rows.values_list(*fields):
        out[prompt].append(RecordScore(names[judge], place[completion], value, state, flag, criterion))
    return out


def _flags(
    pairs: dict[int, tuple[int, PairIndex]], prompt_ids: Sequence[int], place: dict[int, int]
) -> dict[int, list[RecordFlag]]:
    """Flags for export: those on pairs, then those on single answers."""
    out: dict[int, list[RecordFlag]] = defaultdict(list)
    for ids in chunks(list(pairs), 500):
        for row in PairFlag.objects.filter(comparison__in=ids).order_by("comparison__prompt_id", "id"):
            prompt, pair = pairs[row.comparison_id or 0]
            out[prompt].append(_flag(row, pair=pair))
    of_answers = PairFlag.objects.filter(completion__prompt__in=prompt_ids).order_by("completion__prompt_id", "id")
    for row, prompt in ((row, row.prompt) for row in of_answers.annotate(prompt=F("completion__prompt_id"))):
        out[prompt].append(_flag(row, completion=place[row.completion_id or 0]))
    return out


def _flag(row: PairFlag, *, pair: PairIndex | None = None, completion: int | None = None) -> RecordFlag:
    flagged, resolved = (written_time(at) if at else "" for at in (row.at, row.resolved_at))
    return RecordFlag(row.rater, pair, row.reason, row.note, flagged, resolved, row.resolved_by, completion)


def _rankings(
    prompt_ids: Sequence[int], place: dict[int, int], names: dict[int, str], taken_back: bool
) -> dict[int, list[RecordRanking]]:
    """Rankings for export. Those made here and taken back since, and those of excluded people, are left out, and so are
    those that follow from ratings.
    """
    out: dict[int, list[RecordRanking]] = defaultdict(list)
    given = Ranking.objects.filter(prompt__in=prompt_ids, rating__isnull=True)
    if not taken_back:
        standing = Vote.objects.filter(ranking=OuterRef("pk"), superseded_by__isnull=True)
        given = given.filter(Q(user=None) | Exists(counted(standing)))
    for row in given.order_by("id"):
        out[row.prompt_id].append(
            RecordRanking(
                tuple(tuple(sorted(place[pk] for pk in group)) for group in row.groups),
                rater=row.rater,
                judge=names[row.judge_id] if row.judge_id else "",
                shown=tuple(place[pk] for pk in row.shown),
                at=written_time(row.at) if row.at else "",
                seconds=row.seconds,
                guideline=row.guideline,
                reason=row.reason,
                reasons=tuple(row.reasons),
            )
        )
    return out


def _ratings(prompt_ids: Sequence[int], place: dict[int, int], taken_back: bool) -> dict[int, list[RecordRating]]:
    """Ratings for export. Those that were taken back, and those of excluded people, are left out."""
    out: dict[int, list[RecordRating]] = defaultdict(list)
    given = Rating.objects.filter(completion__prompt__in=prompt_ids).exclude(choice="withdrawn")
    if not taken_back:
        given = given.filter(~excluded_rater()).exclude(superseded_by__choice="withdrawn")
    for row in given.select_related("completion").defer("completion__token_ids", "completion__text").order_by("id"):
        out[row.completion.prompt_id].append(_rating(row, place[row.completion_id]))
    return out


def ratings_known(prompt_ids: Sequence[int], answers: Sequence[Sequence[int]]) -> list[list[RecordRating]]:
    """What imports brought of these prompts' ratings and still stands: new ones are compared with them. `answers`: each
    prompt's, in its record's order. An account of the same name is somebody else.
    """
    at = {key: (n, i) for n, keys in enumerate(answers) for i, key in enumerate(keys)}
    out: list[list[RecordRating]] = [[] for _ in prompt_ids]
    for row in standing_ratings().filter(completion__prompt__in=prompt_ids, user=None).order_by("id"):
        if row.completion_id in at:
            n, place = at[row.completion_id]
            out[n].append(_rating(row, place))
    return out


def _rating(row: Rating, place: int) -> RecordRating:
    rubric = rubric_loaded(row.rubric)
    return RecordRating(
        rater=row.rater,
        completion=place,
        choice=cast(RatingChoice, row.choice),
        rubric=rubric,
        values=tuple((item.name, row.values[item.name]) for item in rubric),
        at=written_time(row.at) if row.at else "",
        seconds=row.seconds,
        guideline=row.guideline,
        reason=row.reason,
    )
