"""Blindness in one rule: a person who was shown another label of a comparison may not vote blind on it.

Every page, response and file that shows a verdict, a score, a vote, an override, a frozen label or the gold of single
comparisons calls `labels_shown` (a service: `shown`) before it responds. Leases and votes ask `unseen_by` and
`has_seen`. Figures over many comparisons (agreement, win rates, counts, charts) don't count as labels of one.
tests/architecture/routes.py declares which routes show labels, and tests/architecture/test_blindness.py checks every
route against its declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest

from apps.core.chunks import chunks
from apps.samples.models import AnswerExposure, Comparison, Exposure

Recorder = Callable[[int, Sequence[int]], AbstractContextManager[None]]

_CHUNK = 500


def _alone(_user_id: int, _comparison_ids: Sequence[int]) -> AbstractContextManager[None]:
    return nullcontext()


_recorder: Recorder = _alone


def labels_shown(request: HttpRequest, comparison_ids: Iterable[int]) -> None:
    """Record that the response to this request shows the signed-in user labels of these comparisons."""
    match = request.resolver_match
    shown(user_id=request.user.pk, comparison_ids=comparison_ids, where=match.view_name if match else request.path)


def shown(*, user_id: int | None, comparison_ids: Iterable[int], where: str) -> None:
    """Record that a person was shown labels of these comparisons; existing records stay unchanged.

    Committed before the response leaves, so that a vote without a record was sent by somebody who knew nothing.
    """
    if user_id is None:
        return
    told = set(comparison_ids)
    for ids in chunks(sorted(told), _CHUNK):  # a set of answers is not ranked blind by who knows of one of its pairs
        told.update(_leading(ids))
    for ids in chunks(sorted(told), _CHUNK):
        known = set(Exposure.objects.filter(user=user_id, comparison__in=ids).values_list("comparison_id", flat=True))
        new = [key for key in ids if key not in known]
        if new:
            with _recorder(user_id, new):
                Exposure.objects.bulk_create(
                    [Exposure(user_id=user_id, comparison_id=key, where=where[:60]) for key in new],
                    ignore_conflicts=True,
                )


def _leading(comparison_ids: Sequence[int]) -> list[int]:
    """The pairs that lead the sets of answers that these comparisons are in."""
    rows = Comparison.objects.filter(pk__in=comparison_ids, asked_with__isnull=False)
    return [pk for pk in rows.values_list("asked_with_id", flat=True) if pk is not None]


def register_recorder(recorder: Recorder) -> None:
    """Let `recorder(user_id, comparison_ids)` be entered before exposures are written, and left after it.

    Register in `AppConfig.ready()`; registering again replaces.
    """
    global _recorder
    _recorder = recorder


def scores_shown(request: HttpRequest, completion_ids: Iterable[int]) -> None:
    """Record that the person is shown scores of these answers: two show which answer is better, one how good it is."""
    told = set(completion_ids)
    labels_shown(request, comparisons_between(told))
    match = request.resolver_match
    answers_shown(user_id=request.user.pk, answer_ids=told, where=match.view_name if match else request.path)


def comparisons_between(completion_ids: Iterable[int]) -> set[int]:
    """Return the comparisons both of whose answers are among these."""
    found: set[int] = set()
    wanted = set(completion_ids)
    for ids in chunks(sorted(wanted), _CHUNK):
        rows = Comparison.objects.filter(first__in=ids).values_list("id", "second_id")
        found.update(key for key, second in rows if second in wanted)
    return found


def has_seen(*, user: AbstractBaseUser, comparison_id: int) -> bool:
    """Say whether a vote of this person on this comparison would no longer be blind."""
    return Exposure.objects.filter(user=user.pk, comparison=comparison_id).exists()


def seen_among(*, user: AbstractBaseUser | None, comparison_ids: Iterable[int]) -> set[int]:
    """Return those of the comparisons whose labels this person has been shown; for nobody, none."""
    if user is None:
        return set()
    found: set[int] = set()
    for ids in chunks(sorted(set(comparison_ids)), _CHUNK):
        found.update(Exposure.objects.filter(user=user.pk, comparison__in=ids).values_list("comparison_id", flat=True))
    return found


def who_saw(*, comparison_ids: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Return (user, comparison) for everybody who was shown a label of one of these; at most a few thousand ids."""
    return Exposure.objects.filter(comparison__in=comparison_ids).values_list("user_id", "comparison_id")


def exposures_of(comparison: Comparison) -> list[Exposure]:
    """List who was shown a label of a comparison, and where first, in order."""
    return list(Exposure.objects.filter(comparison=comparison).select_related("user").order_by("pk"))


def seen_by_anybody(comparison: str = "pk") -> Any:
    """Return the condition that somebody was shown a label of a row's comparison (found at `comparison`)."""
    return Exists(Exposure.objects.filter(comparison=OuterRef(comparison)))


def unseen_by(user: AbstractBaseUser, comparison: str = "pk") -> Any:
    """Return the condition that this person was not shown a label of a row's comparison (found at `comparison`)."""
    return ~Exists(Exposure.objects.filter(user=user.pk, comparison=OuterRef(comparison)))


def answers_shown(*, user_id: int | None, answer_ids: Iterable[int], where: str) -> None:
    """Record that a person was shown others' ratings or judges' scores of these answers; existing records stay
    unchanged.
    """
    if user_id is None:
        return
    for ids in chunks(sorted(set(answer_ids)), _CHUNK):
        there = AnswerExposure.objects.filter(user=user_id, completion__in=ids)
        known = set(there.values_list("completion_id", flat=True))
        rows = [AnswerExposure(user_id=user_id, completion_id=key, where=where[:60]) for key in ids if key not in known]
        if rows:
            AnswerExposure.objects.bulk_create(rows, ignore_conflicts=True)


def answer_unseen_by(user: AbstractBaseUser, answer: str = "pk") -> Any:
    """Return the condition that this person was shown no rating or score of a row's answer (found at `answer`), nor a
    label of a comparison that it is in: a rating of it would be blind.
    """
    told = AnswerExposure.objects.filter(user=user.pk, completion=OuterRef(answer))
    shown_to_them = Exists(Exposure.objects.filter(user=user.pk, comparison=OuterRef("pk")))
    # One condition a side: with both in one, no index serves. From the answer to its comparisons: the other way round,
    # each answer would look at all that the person was ever shown.
    rows = Comparison.objects.filter(shown_to_them)
    first, second = (Exists(rows.filter(**{side: OuterRef(answer)})) for side in ("first", "second"))
    return ~Exists(told) & ~first & ~second


def has_seen_of_answer(*, user: AbstractBaseUser, answer_id: int) -> bool:
    """Say whether a rating of this person of this answer would no longer be blind."""
    here = Q(comparison__first=answer_id) | Q(comparison__second=answer_id)
    told = AnswerExposure.objects.filter(user=user.pk, completion=answer_id)
    return told.exists() or Exposure.objects.filter(here, user=user.pk).exists()
