"""Blind ratings: appended, never edited; sending one twice stores it once; the last ten can be undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from apps.accounts.models import User
from apps.labels.models import RATED, Rating
from apps.labels.ratings import last_rating, rating_rater, rating_withdraw
from apps.labels.telling import rating_told
from apps.projects.models import Project
from apps.rankings.services.counts import counts_add
from apps.rankings.services.finish import AlreadyAnswered, LeaseLost, said_when
from apps.rankings.services.rank import MAX_KEY
from apps.rankings.services.vote import MAX_REASON, MAX_SECONDS, NothingToUndo
from apps.ratings.models import DONE, OPEN, RatingSeat
from apps.ratings.selectors import history, rubric_shown
from apps.ratings.services.compare import compared, compared_no_more
from apps.ratings.services.seats import LEASE, answers_lock, seat_fill, seat_lease_more, seats_end_beside
from apps.samples.exposure import has_seen_of_answer
from prefloop.rubrics import rubric_stored, total, values_checked
from prefloop.types import CANT_JUDGE, SKIPPED, PrefloopError

CHOICES = (RATED, SKIPPED, CANT_JUDGE)


class BadRating(PrefloopError):
    """An invalid rating."""


@dataclass(frozen=True, slots=True)
class Rated:
    """A rating as it is said: a value for each item of the rubric by its name, or none where it is skipped."""

    choice: str = RATED
    values: Mapping[str, object] | None = None
    key: str = ""  # made by the client, one for each rating: the same is stored once, even after it was undone
    reason: str = ""
    seconds: float | None = None
    guideline: str | None = None  # the version that was on the screen; None: the one given with the answer
    said_at: datetime | None = None  # when it was said, if earlier than now (offline)


@dataclass(frozen=True, slots=True)
class Stored:
    rating: Rating
    created: bool


def rating_create(*, seat: RatingSeat, said: Rated, now: datetime) -> Stored:
    """Record a person's rating of the answer they were shown, and the comparisons that follow from it.

    A rating after the lease has ended is kept, also where somebody else has the answer now. Raises LeaseLost if they
    were shown a label of it meanwhile, AlreadyAnswered if there is a different rating of theirs, and BadRating or
    BadRubric for an invalid one.
    """
    new = _new(seat, said, now)
    with transaction.atomic():
        answers_lock([seat.completion_id])
        known = Rating.objects.filter(user=seat.user, key=said.key).first() if said.key else None
        if known is not None:
            if not _same(known, new):
                raise AlreadyAnswered("another rating was sent under this key")
            return Stored(known, created=False)
        last = last_rating(seat.completion_id, seat.holder)
        if last is not None and last.choice != "withdrawn":
            if _same(last, new):
                return Stored(last, created=False)
            raise AlreadyAnswered("you have rated this answer already; undo that first")
        if has_seen_of_answer(user=seat.holder, answer_id=seat.completion_id):
            raise LeaseLost("you have been shown a label of this answer: a rating would no longer be blind")
        new.supersedes = last
        new.rater = last.rater if last is not None else rating_rater(seat.holder, seat.project, seat.completion_id)
        new.save(force_insert=True)
        RatingSeat.objects.filter(pk=seat.pk).update(state=DONE)
        seats_end_beside(seat)
        seat_fill(seat.project, seat.completion_id)
        if new.choice == RATED:
            compared(seat.project, new, now)
        _labels_add(seat, new.choice, 1)
        rating_told("rating.created", seat.project, new)
    return Stored(new, created=True)


def rating_and_next(*, seat: RatingSeat, said: Rated, now: datetime) -> tuple[Stored, RatingSeat | None]:
    """Record a rating, as `rating_create` does, and lease one more answer to the same person."""
    stored = rating_create(seat=seat, said=said, now=now)
    return stored, seat_lease_more(project=seat.project, user=seat.holder, now=now) if stored.created else None


def rating_undo(*, project: Project, user: User, now: datetime, seat: RatingSeat | None = None) -> RatingSeat:
    """Undo this person's last rating (or the one of `seat`) and give the answer back to them.

    A `withdrawn` row is appended, nothing is edited. Repeating it returns the same seat. Raises NothingToUndo if it is
    not among their last ten.
    """
    last = history(project, user)
    if seat is not None and seat.state == OPEN:
        return seat
    rating = next((one for one in last if seat is None or one.seat_id == seat.pk), None)
    if rating is None or rating.seat_id is None:
        raise NothingToUndo("there is nothing to undo among your last ten answers")
    with transaction.atomic():
        answers_lock([rating.completion_id])
        if has_seen_of_answer(user=user, answer_id=rating.completion_id):
            raise NothingToUndo("you have been shown a label of it since: a new rating would no longer be blind")
        if last_rating(rating.completion_id, user) == rating:
            back = rating_withdraw(rating=rating, now=now)
            compared_no_more(project, rating, now)
            given = RatingSeat.objects.select_related("project").get(pk=rating.seat_id)
            seats_end_beside(given)
            RatingSeat.objects.filter(pk=rating.seat_id, state=DONE).update(state=OPEN, lease_until=now + LEASE)
            seat_fill(project, rating.completion_id)
            _labels_add(given, rating.choice, -1)
            rating_told("rating.withdrawn", project, back)
    return RatingSeat.objects.select_related("completion__prompt", "project", "user").get(pk=rating.seat_id)


def _new(seat: RatingSeat, said: Rated, now: datetime) -> Rating:
    """The rating as a row that is not written yet. Raises BadRating and BadRubric."""
    if said.choice not in CHOICES:
        raise BadRating(f"choice must be one of {', '.join(CHOICES)}, not {said.choice!r}")
    if len(said.reason) > MAX_REASON:
        raise BadRating(f"a note has at most {MAX_REASON:,} characters")
    if len(said.key) > MAX_KEY:
        raise BadRating(f"a key has at most {MAX_KEY} characters")
    new = Rating(
        completion=seat.completion,
        seat=seat,
        user=seat.user,
        choice=said.choice,
        key=said.key,
        at=said_when(said.said_at, now),
        seconds=None if said.seconds is None else min(max(said.seconds, 0.0), MAX_SECONDS),
        guideline=_guideline(seat, said.guideline),
        reason=said.reason.strip(),
    )
    if said.choice == RATED:
        rubric = rubric_shown(seat.project, new.guideline, seat)
        if not rubric:
            raise BadRating(f"the guideline {new.guideline or '(none)'} does not ask for a rating")
        new.values = values_checked(rubric, said.values or {})
        new.rubric, new.total = rubric_stored(rubric), total(rubric, new.values)
    elif said.values:
        raise BadRating("only a rating has values")
    return new


def _guideline(seat: RatingSeat, shown: str | None) -> str:
    """The version that the person read, which need not be the current one."""
    if shown is None or shown == seat.guideline:
        return seat.guideline
    if shown not in {guideline.name for guideline in seat.project.guidelines.only("version")}:
        raise BadRating(f"this project has no guideline {shown!r}")
    return shown


def _same(known: Rating, new: Rating) -> bool:
    return (known.completion_id, known.choice, known.values) == (new.completion_id, new.choice, new.values)


def _labels_add(seat: RatingSeat, choice: str, n: int) -> None:
    """Count a rating for its person, and as one label of theirs and of the project; a skip is none."""
    changes: dict[tuple[int | None, str], int] = {(seat.user_id, "n_rated"): n}
    if choice != SKIPPED:
        changes |= {(seat.user_id, "n_labels"): n, (None, "n_labels"): n}
    counts_add(seat.project_id, Counter(changes))
