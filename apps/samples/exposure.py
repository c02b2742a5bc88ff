"""Blindness in one rule: a person who was shown another label of a comparison may not vote blind on it.

Every page, response and file that shows a verdict, a score, a vote, an override, a frozen label or the gold of single
comparisons calls `labels_shown` (a service: `shown`) before it responds. Leases and votes ask `unseen_by`, `has_seen`
and `held_blind`. Figures over many comparisons (agreement, win rates, counts, charts) don't count as labels of one.
tests/architecture/routes.py declares which routes show labels, and tests/architecture/test_blindness.py checks every
route against its declaration.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Exists, OuterRef
from django.http import HttpRequest

from apps.core.chunks import chunks
from apps.samples.models import Comparison, Exposure

_CHUNK = 500


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
    for ids in chunks(sorted(set(comparison_ids)), _CHUNK):
        known = set(Exposure.objects.filter(user=user_id, comparison__in=ids).values_list("comparison_id", flat=True))
        new = [Exposure(user_id=user_id, comparison_id=key, where=where[:60]) for key in ids if key not in known]
        Exposure.objects.bulk_create(new, ignore_conflicts=True)


def scores_shown(request: HttpRequest, completion_ids: Iterable[int]) -> None:
    """Record the comparisons between answers whose scores the person is shown: two scores show which answer is
    better.
    """
    labels_shown(request, comparisons_between(completion_ids))


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


def unseen_by(user: AbstractBaseUser, comparison: str = "pk") -> Any:
    """Return the condition that this person was not shown a label of a row's comparison (found at `comparison`)."""
    return ~Exists(Exposure.objects.filter(user=user.pk, comparison=OuterRef(comparison)))


def held_blind() -> Any:
    """Return the condition that the holder of a lease (`comparison`, `user`) may still vote blind; otherwise the
    lease is void.
    """
    return ~Exists(Exposure.objects.filter(user=OuterRef("user"), comparison=OuterRef("comparison")))
