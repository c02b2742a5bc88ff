"""Recording that an export shows labels: before a row is sent, its comparisons are recorded as shown to the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.labels.flags import flags_of
from apps.labels.models import Score
from apps.labels.ratings import standing_ratings
from apps.labels.selectors import said_by_others
from apps.projects.models import Project
from apps.samples import exposure
from apps.samples.models import Comparison
from prefloop.formats import FlaggedRow, PreferenceRow
from prefloop.records import Record

PIECE = 500
T = TypeVar("T")


def told_records(records: Iterable[Record], *, project: Project, reader: User, piece: int = PIECE) -> Iterator[Record]:
    """Yield the records, after recording each piece of them."""

    def comparisons(some: Sequence[Record]) -> list[int]:
        names = [record.id for record in some]
        rated = standing_ratings(project).filter(completion__prompt__external_id__in=names).exclude(user=reader)
        scored = Score.objects.filter(completion__project=project, completion__prompt__external_id__in=names)
        ids = {*rated.values_list("completion_id", flat=True), *scored.values_list("completion_id", flat=True)}
        exposure.answers_shown(user_id=reader.pk, answer_ids=ids, where="exchange:export")
        rows = Comparison.objects.filter(project=project, prompt__external_id__in=names)
        return list(rows.values_list("id", flat=True))

    return _told(records, comparisons, reader, piece)


def told_rows(rows: Iterable[PreferenceRow], *, reader: User, piece: int = PIECE) -> Iterator[PreferenceRow]:
    """Yield the rows of `preference_rows`, whose ids end in their comparison's, after recording each piece of them."""

    def comparisons(some: Sequence[PreferenceRow]) -> list[int]:
        return [int(row.id.rsplit("-", 1)[1]) for row in some]

    return _told(rows, comparisons, reader, piece)


def told_flags(project: Project, *, reader: User | None, piece: int = PIECE) -> Iterator[FlaggedRow]:
    """Yield the project's flagged answers, those of so many prompts at once, after recording each piece of them.

    Two flags show which of two answers is better, as two scores do; one shows what a judge thinks of one.
    """
    rows = flags_of(project)
    prompts = sorted(set(rows.order_by().values_list("completion__prompt_id", flat=True)))
    for some in chunks(prompts, piece):
        of_some = rows.filter(completion__prompt__in=some).order_by("completion__prompt_id", "completion_id", "id")
        flags = list(of_some.select_related("completion__prompt"))
        if reader is not None:
            flagged = {flag.completion_id for flag in flags}
            ids = exposure.comparisons_between(flagged)
            exposure.shown(user_id=reader.pk, comparison_ids=ids, where="exchange:export")
            exposure.answers_shown(user_id=reader.pk, answer_ids=flagged, where="exchange:export")
        for flag in flags:
            prompt = flag.completion.prompt
            asked = prompt.text if prompt.messages is None else tuple(prompt.messages)
            yield FlaggedRow(asked, flag.completion.text, flag.value == 1)


def _told(rows: Iterable[T], comparisons: Callable[[Sequence[T]], list[int]], reader: User, piece: int) -> Iterator[T]:
    left = iter(rows)
    while some := list(islice(left, piece)):
        ids = said_by_others(comparisons(some), user_id=reader.pk)
        exposure.shown(user_id=reader.pk, comparison_ids=ids, where="exchange:export")
        yield from some
