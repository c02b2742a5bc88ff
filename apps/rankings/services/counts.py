"""The counts that pages show of a project's queue, changed in the transactions that change what they count.

A comparison is *open* while it has a free seat. A person has *met* it if they answered it, hold a seat of it or were
shown a label of it. What is left for a person is what is open without what they met of it, and what they hold.

Locks are taken in one order, comparisons by id first, the project's place next, people's places by id last, so that
nobody waits in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction
from django.db.models import F, Q

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.labels.selectors import CHUNK, standing_votes
from apps.projects.models import Project
from apps.rankings.models import FREE, OPEN, Assignment, Place
from apps.samples.exposure import who_saw
from apps.samples.locks import comparisons_lock
from apps.samples.models import Comparison

COUNTS = ("n_open", "n_blocked", "n_done")


N_RECENT = 20  # votes that a person's pace is the median of


@dataclass(frozen=True, slots=True)
class Answer:
    """A vote, as a person's place remembers it."""

    rater: str
    seconds: float | None
    at: datetime
    counts: bool = True  # whether it is still to be added to what they have done


@dataclass(slots=True)
class Tally:
    """What there is to count of some comparisons. `met` holds (user, comparison)."""

    open: set[int] = field(default_factory=set)
    met: set[tuple[int | None, int]] = field(default_factory=set)
    done: Counter[int | None] = field(default_factory=Counter)  # by user

    def counts(self) -> Counter[tuple[int | None, str]]:
        """By whose count it is (None: the project's) and its name."""
        found: Counter[tuple[int | None, str]] = Counter({(None, "n_open"): len(self.open)})
        found.update((user, "n_blocked") for user, comparison in self.met if comparison in self.open)
        found.update({(user, "n_done"): n for user, n in self.done.items()})
        return found


def tally(comparison_ids: Sequence[int]) -> Tally:
    """Count from the rows themselves; the caller has locked these comparisons."""
    here = Q(comparison__in=comparison_ids)
    made = Tally()
    made.open.update(Assignment.objects.filter(here, user=None, state=FREE).values_list("comparison_id", flat=True))
    for user, comparison in standing_votes().filter(here, user__isnull=False).values_list("user_id", "comparison_id"):
        made.done[user] += 1
        made.met.add((user, comparison))
    made.met.update(who_saw(comparison_ids=comparison_ids))
    made.met.update(Assignment.objects.filter(here, state=OPEN).values_list("user_id", "comparison_id"))
    return made


@contextmanager
def counted(project_id: int, comparison_ids: Sequence[int]) -> Iterator[None]:
    """Lock some comparisons of a project, and afterwards change the counts by whatever has changed of them."""
    with transaction.atomic():
        comparisons_lock(comparison_ids)
        before = tally(comparison_ids).counts()
        yield
        after = tally(comparison_ids).counts()
        after.subtract(before)
        counts_add(project_id, after)


def counts_add(project_id: int, changes: Counter[tuple[int | None, str]]) -> None:
    """Add to the counts; places that are missing are made. The last thing that a transaction does."""
    by_user: dict[int | None, dict[str, int]] = {}
    for (user, name), n in changes.items():
        if n:
            by_user.setdefault(user, {})[name] = n
    if not by_user:
        return
    if None not in by_user:
        by_user[None] = {}  # its lock comes first, whoever's counts follow
    places = places_lock(project_id, list(by_user))
    for user, change in by_user.items():
        if change:
            Place.objects.filter(pk=places[user].pk).update(**{name: F(name) + n for name, n in change.items()})


def places_lock(project_id: int, users: Sequence[int | None]) -> dict[int | None, Place]:
    """Return the places of these people (None: the project's), locked in one order; made if there are none."""
    whose = Q(user__in=[user for user in users if user is not None])
    if None in users:
        whose |= Q(user=None)
    rows = Place.objects.filter(whose, project=project_id).select_for_update(no_key=True)
    rows = rows.order_by(F("user").asc(nulls_first=True))
    found = {place.user_id: place for place in rows}
    missing = [user for user in users if user not in found]
    if missing:
        Place.objects.bulk_create(
            [Place(project_id=project_id, user_id=user) for user in missing], ignore_conflicts=True
        )
        found = {place.user_id: place for place in rows.all()}
    return found


def place_of(project: Project, user: User) -> Place:
    """Return a person's place in a project; made if they have none."""
    place = Place.objects.filter(project=project, user=user).first()
    if place is None:
        with transaction.atomic():
            place = places_lock(project.pk, [None, user.pk])[user.pk]
    return place


def places_change(
    place: Place, *, n_open: int = 0, reached: dict[str, int] | None = None, answer: Answer | None = None
) -> dict[int | None, Place]:
    """Change a person's place and their project's in one statement; returns both as they are now."""
    recent = place.recent
    if answer is not None:
        recent = [[answer.seconds, answer.at.isoformat()], *recent][:N_RECENT]
    table = connection.ops.quote_name(Place._meta.db_table)
    rows = f"SELECT id FROM {table} WHERE project_id = %s AND (user_id IS NULL OR id = %s) ORDER BY user_id IS NOT NULL"  # noqa: S608
    if connection.features.has_select_for_update:
        rows += " FOR NO KEY UPDATE"
    mine = {
        "reached": connection.ops.adapt_json_value(place.reached if reached is None else reached, None),
        "recent": connection.ops.adapt_json_value(recent, None),
        "rater": place.rater if answer is None else answer.rater,
    }
    sets = ", ".join(f"{name} = CASE WHEN user_id IS NULL THEN {name} ELSE %s END" for name in mine)
    statement = (
        f"UPDATE {table} SET n_open = n_open + CASE WHEN user_id IS NULL THEN %s ELSE 0 END, "  # noqa: S608 - no value is in it
        f"n_done = n_done + CASE WHEN user_id IS NULL THEN 0 ELSE %s END, {sets} WHERE id IN ({rows}) "
        "RETURNING id, user_id, n_open, n_blocked, n_done"
    )
    n_done = int(answer is not None and answer.counts)
    with connection.cursor() as cursor:
        cursor.execute(statement, [n_open, n_done, *mine.values(), place.project_id, place.pk])
        found = cursor.fetchall()
    made: dict[int | None, Place] = {}
    for pk, user, opened, blocked, done in found:
        row = Place(pk=pk, project_id=place.project_id, user_id=user)
        row.n_open, row.n_blocked, row.n_done = opened, blocked, done
        if user is not None:
            row.reached, row.recent, row.rater = reached or place.reached, recent, mine["rater"]
        made[user] = row
    return made


def recount(project: Project) -> Counter[tuple[int | None, str]]:
    """Count everything of a project again; only for checks and repairs."""
    found: Counter[tuple[int | None, str]] = Counter()
    ids = list(Comparison.objects.filter(project=project).order_by("id").values_list("id", flat=True))
    for part in chunks(ids, CHUNK):
        found.update(tally(part).counts())
    return Counter({key: n for key, n in found.items() if n})


def kept(project: Project) -> Counter[tuple[int | None, str]]:
    """The counts as they are kept."""
    rows = Place.objects.filter(project=project).values_list("user_id", *COUNTS)
    return Counter({(user, name): n for user, *counts in rows for name, n in zip(COUNTS, counts, strict=True) if n})


def differences(project: Project) -> dict[tuple[int | None, str], tuple[int, int]]:
    """Return every count that is not what a recount says, as (kept, counted)."""
    says, counted_ = kept(project), recount(project)
    return {key: (says[key], counted_[key]) for key in {*says, *counted_} if says[key] != counted_[key]}


@transaction.atomic
def counts_repair(project: Project) -> dict[tuple[int | None, str], tuple[int, int]]:
    """Replace the counts that are wrong by what a recount says; returns them."""
    places_lock(project.pk, [None])
    wrong = differences(project)
    changes = Counter({key: counted_ - says for key, (says, counted_) in wrong.items()})
    counts_add(project.pk, changes)
    return wrong
