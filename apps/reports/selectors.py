"""What the reports are made of: columns fetched as they are, no model instances, coded as numbers on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from django.db.models import Count, Max, QuerySet
from django.db.models.functions import Length
from numpy.typing import NDArray

from apps.exchange.selectors import judge_names
from apps.judging.models import Judge, Verdict
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, ready
from apps.rankings.models import Vote
from apps.samples.models import Comparison
from prefloop.stats.agreement import MISSING
from prefloop.stats.columns import FAILED, OTHER_STATE, SKIP, UNPARSEABLE, AgreementColumns
from prefloop.stats.leaderboard import Game
from prefloop.types import OUTCOMES, Outcome, PrefloopError

Ints = NDArray[np.int64]
ALL, HUMAN = "all", "human"

_CODE: dict[str, int] = {outcome: code for code, outcome in enumerate(OUTCOMES)} | {"": MISSING, "skip": SKIP}
_STATE: dict[str, int] = {"unparseable": UNPARSEABLE, "error": FAILED}
_FETCH = 10_000


class NoSuchSource(PrefloopError):
    """A leaderboard of somebody who is not there."""


def agreement_columns(project: Project) -> AgreementColumns:
    """Fetch a project's comparisons, the votes that stand, and all verdicts. One query each."""
    items = _rows(
        _comparisons(project).order_by("id").values_list("id", "gold", Length("first__text"), Length("second__text"))
    )
    ids, gold, length_first, length_second = _columns(items, int, _CODE.__getitem__, int, int)
    votes = standing_votes(project).order_by("comparison_id", "rater").values_list("comparison_id", "rater", "choice")
    raters = _Names()
    vote_id, vote_rater, vote_outcome = _columns(_rows(votes), int, raters.code, _CODE.__getitem__)
    verdicts = (
        _verdicts(project)
        .order_by("id")
        .values_list("comparison_id", "judge_id", "order", "sample", "state", "outcome")
    )
    names = judge_names(project)
    judges = _Names()
    verdict_id, judge, swapped, sample, outcome = _columns(
        ((c, names[j], o, s, out or state) for c, j, o, s, state, out in _rows(verdicts)),
        int,
        judges.code,
        lambda order: order == "10",
        int,
        lambda said: _CODE[said] if said in _CODE else _STATE.get(said, OTHER_STATE),
    )
    rater_names, vote_rater = raters.sorted(vote_rater)
    judge_list, judge = judges.sorted(judge)
    vote_item = np.searchsorted(ids, vote_id)
    # one vote a (comparison, person) stands, so sorting is all that the report's columns ask
    by_item = np.lexsort((vote_rater, vote_item))
    return AgreementColumns(
        gold=gold,
        length_first=length_first,
        length_second=length_second,
        raters=rater_names,
        vote_item=vote_item[by_item].astype(np.int64),
        vote_rater=vote_rater[by_item],
        vote_outcome=vote_outcome[by_item],
        judges=judge_list,
        verdict_item=np.searchsorted(ids, verdict_id).astype(np.int64),
        verdict_judge=judge,
        verdict_swapped=swapped.astype(np.bool_),
        verdict_sample=sample,
        verdict_outcome=outcome,
    )


def comparison_ids(project: Project) -> Ints:
    """Give the ids of the report's items, in its order."""
    return np.fromiter(_rows(_comparisons(project).order_by("id").values_list("id", flat=True)), dtype=np.int64)


def standing_votes(project: Project) -> QuerySet[Vote]:
    """Return each person's last vote on each comparison, where it was not taken back."""
    votes = Vote.objects.filter(ready("comparison__"), comparison__project=project, superseded_by__isnull=True)
    return votes.exclude(choice="withdrawn")


def games(project: Project, *, source: str = ALL) -> Iterator[Game]:
    """Yield one game a label: each standing vote and each verdict of `source` (all | human | a judge's name).

    A skip, an unparsed verdict or an answer without a model's name is a game that can't be used. Raises NoSuchSource.
    """
    wanted = judge_ids_of(project, source)
    names = "comparison__first__model_name", "comparison__second__model_name"
    if source in {ALL, HUMAN}:
        for choice, order, a, b in _rows(standing_votes(project).order_by("id").values_list("choice", "order", *names)):
            yield Game(a, b, choice if choice in OUTCOMES else None, _first_shown(order))
    if source != HUMAN:
        verdicts = _verdicts(project)
        if wanted is not None:
            verdicts = verdicts.filter(judge__in=wanted)
        for outcome, order, a, b in _rows(verdicts.order_by("id").values_list("outcome", "order", *names)):
            yield Game(a, b, outcome or None, _first_shown(order))


def judge_ids_of(project: Project, source: str) -> list[int] | None:
    """Give the judges that a source names; None where it names none. Raises NoSuchSource."""
    if source in {ALL, HUMAN}:
        return None
    names = judge_names(project)
    found = [key for key, name in names.items() if name == source]
    if not found:
        there = ", ".join([ALL, HUMAN, *sorted(set(names.values()))])
        raise NoSuchSource(f"no source {source!r} in project {project.slug}; there are: {there}")
    return found


def source_list(project: Project) -> list[str]:
    """Name the judges that have said something."""
    spoken = Judge.objects.filter(project=project, verdicts__isnull=False).values_list("id", flat=True).distinct()
    names = judge_names(project)
    return sorted({names[key] for key in spoken})


def _comparisons(project: Project) -> QuerySet[Comparison]:
    return Comparison.objects.filter(ready(), project=project)


def _verdicts(project: Project) -> QuerySet[Verdict]:
    return Verdict.objects.filter(ready("comparison__"), comparison__project=project)


def _first_shown(order: str) -> Literal["a", "b"] | None:
    return {"01": "a", "10": "b"}.get(order)  # type: ignore[return-value]  # the values are those two


def _rows(query: Any) -> Iterator[Any]:
    return iter(query.iterator(chunk_size=_FETCH))


def _columns(rows: Iterable[Sequence[Any]], *code: Callable[[Any], int]) -> tuple[Ints, ...]:
    """Turn rows into one column of integers a field."""
    columns: tuple[list[int], ...] = tuple([] for _ in code)
    for row in rows:
        for column, to_code, value in zip(columns, code, row, strict=True):
            column.append(to_code(value))
    return tuple(np.array(column, dtype=np.int64) for column in columns)


class _Names:
    """Numbers for names as they come, and in the order of the alphabet at the end."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        return self._codes.setdefault(name, len(self._codes))

    def sorted(self, codes: Ints) -> tuple[tuple[str, ...], Ints]:
        names = sorted(self._codes)
        place = np.zeros(max(len(names), 1), dtype=np.int64)
        for new, name in enumerate(names):
            place[self._codes[name]] = new
        return tuple(names), place[codes] if len(codes) else codes


def state_of(project: Project) -> str:
    """Give a word that changes whenever anything a report reads does: labels are only ever appended."""
    comparisons = Comparison.objects.filter(project=project).aggregate(n=Count("id"), last=Max("id"))
    votes = Vote.objects.filter(comparison__project=project).aggregate(n=Count("id"), last=Max("id"))
    verdicts = Verdict.objects.filter(comparison__project=project).aggregate(n=Count("id"), last=Max("id"))
    imports = ImportBatch.objects.filter(project=project, ready=True).aggregate(n=Count("id"), last=Max("id"))
    return "-".join(f"{part['n']}.{part['last'] or 0}" for part in (comparisons, votes, verdicts, imports))


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A comparison as a list shows it."""

    id: int
    prompt: str
    first: str
    second: str


def excerpts(project: Project, ids: Sequence[int]) -> dict[int, Excerpt]:
    """Give these comparisons of the project, by id."""
    rows = _comparisons(project).filter(pk__in=ids).values_list("id", "prompt__text", "first__text", "second__text")
    return {row[0]: Excerpt(*row) for row in rows}


def outcome_name(code: int) -> Outcome | None:
    return OUTCOMES[code] if 0 <= code < len(OUTCOMES) else None
