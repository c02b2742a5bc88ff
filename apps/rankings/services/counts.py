"""The counts that pages show of a project's queue, changed in the transactions that change what they count.

A comparison is *open* while it has a free seat; gold pairs that are mixed in are counted apart. A person has *met* it
if they answered it, hold a seat of it or were shown a label of it. What is left for a person is what is open without
what they met of it, and what they hold. Where people are asked by named criteria, all of this is by comparison and
criterion.

Locks are taken in one order, prompts by id first where single answers are rated, then comparisons by id, the project's
place next, people's places by id last, so that nobody waits in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Count, F, Q

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.labels.ratings import standing_ratings
from apps.labels.selectors import CHUNK, standing_votes
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.models import FREE, GOLD, OPEN, Assignment, Place
from apps.samples.exposure import who_saw
from apps.samples.locks import comparisons_lock
from apps.samples.models import Comparison, annotatable
from prefloop.types import SKIPPED

Question = tuple[int, str]  # a comparison by a criterion
COUNTS = ("n_open", "n_blocked", "n_done", "n_gold", "n_labels", "n_rated")


N_RECENT = 20  # votes that a person's pace is the median of


@dataclass(frozen=True, slots=True)
class Answer:
    """A vote, as a person's place remembers it."""

    rater: str
    seconds: float | None
    at: datetime
    is_label: bool  # rather than a skip
    counts: bool = True  # whether it is still to be added to what they have done


@dataclass(slots=True)
class Tally:
    """What there is to count of some comparisons. `met` holds (user, question), `seen` holds (user, comparison)."""

    open: set[Question] = field(default_factory=set)
    gold: set[Question] = field(default_factory=set)  # mixed in for everybody, whether a seat is free or not
    met: set[tuple[int | None, Question]] = field(default_factory=set)
    seen: set[tuple[int, int]] = field(default_factory=set)  # a label by one criterion tells of the others
    done: Counter[int | None] = field(default_factory=Counter)  # by user
    labels: Counter[int | None] = field(default_factory=Counter)  # of these, without skips

    def met_of(self, questions: set[Question]) -> set[tuple[int | None, Question]]:
        """Who has met which of these questions."""
        of_each: dict[int, list[Question]] = {}
        for question in questions:
            of_each.setdefault(question[0], []).append(question)
        seen = {(user, question) for user, comparison in self.seen for question in of_each.get(comparison, ())}
        return {met for met in self.met if met[1] in questions} | seen

    def counts(self) -> Counter[tuple[int | None, str]]:
        """By whose count it is (None: the project's) and its name."""
        found: Counter[tuple[int | None, str]] = Counter({(None, "n_open"): len(self.open)})
        found.update((user, "n_blocked") for user, _ in self.met_of(self.open))
        found[None, "n_gold"] = len(self.gold)
        found.update((user, "n_gold") for user, _ in self.met_of(self.gold))
        found.update({(user, "n_done"): n for user, n in self.done.items()})
        found.update({(user, "n_labels"): n for user, n in self.labels.items()})
        found[None, "n_labels"] = self.labels.total()
        return found


def mixed_in() -> Q:
    """The filter for gold pairs that are mixed in among the others (apps/rankings/gold.py): none where people are asked
    by named criteria, since a pair that is asked without one would be known for gold.
    """
    mixing = Q(ready(), annotatable(), ~Q(gold=""), project__gold_share__gt=0, project__criteria=[])
    return mixing & ~Q(gold_item__for_practice=True)


def tally(comparison_ids: Sequence[int]) -> Tally:
    """Count from the rows themselves; the caller has locked these comparisons."""
    here = Q(comparison__in=comparison_ids)
    made = Tally()
    gold = Comparison.objects.filter(mixed_in(), pk__in=comparison_ids).values_list("pk", flat=True)
    made.gold.update((pk, "") for pk in gold)
    free = Assignment.objects.filter(here, user=None, state=FREE).exclude(priority=GOLD)
    made.open.update(free.values_list("comparison_id", "criterion"))
    said = standing_votes(None).filter(here, user__isnull=False)
    fields = ("user_id", "comparison_id", "criterion", "choice", "ranking_id", "assignment_id")
    for user, comparison, criterion, choice, ranking, seat in said.values_list(*fields):
        is_answer = ranking is None or seat is not None  # a ranking is one answer, with a vote on each pair
        made.done[user] += is_answer
        made.labels[user] += is_answer and choice != SKIPPED
        made.met.add((user, (comparison, criterion)))
    made.seen.update(who_saw(comparison_ids=comparison_ids))
    held = Assignment.objects.filter(here, state=OPEN).values_list("user_id", "comparison_id", "criterion")
    made.met.update((user, (comparison, criterion)) for user, comparison, criterion in held)
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
    place: Place,
    *,
    n_open: int = 0,
    n_gold: int = 0,
    reached: dict[str, int] | None = None,
    answer: Answer | None = None,
) -> dict[int | None, Place]:
    """Change a person's place and their project's in one statement; returns both as they are now.

    `n_open` is the project's, `n_gold` the person's.
    """
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
        f"n_done = n_done + CASE WHEN user_id IS NULL THEN 0 ELSE %s END, "
        f"n_gold = n_gold + CASE WHEN user_id IS NULL THEN 0 ELSE %s END, "
        f"n_labels = n_labels + %s, {sets} WHERE id IN ({rows}) "
        f"RETURNING id, user_id, {', '.join(COUNTS)}"
    )
    n_done = int(answer is not None and answer.counts)
    n_labels = n_done if answer is not None and answer.is_label else 0
    with connection.cursor() as cursor:
        cursor.execute(statement, [n_open, n_done, n_gold, n_labels, *mine.values(), place.project_id, place.pk])
        found = cursor.fetchall()
    made: dict[int | None, Place] = {}
    for pk, user, *counts in found:
        row = Place(pk=pk, project_id=place.project_id, user_id=user, **dict(zip(COUNTS, counts, strict=True)))
        if user is not None:
            row.reached, row.recent, row.rater = reached or place.reached, recent, mine["rater"]
        made[user] = row
    return made


def gold_recount(project: Project) -> None:
    """Count the gold pairs again that are mixed in, after the project's share of them has changed."""
    rows = Comparison.objects.filter(mixed_in(), project=project).order_by("pk")
    counts: Counter[tuple[int | None, str]] = Counter()
    for ids in chunks(list(rows.values_list("pk", flat=True)), CHUNK):
        counts.update({key: n for key, n in tally(ids).counts().items() if key[1] == "n_gold"})
    with transaction.atomic():
        Place.objects.filter(project=project).exclude(n_gold=0).update(n_gold=0)
        counts_add(project.pk, counts)


def recount(project: Project) -> Counter[tuple[int | None, str]]:
    """Count everything of a project again; only for checks and repairs."""
    found: Counter[tuple[int | None, str]] = Counter()
    ids = list(Comparison.objects.filter(project=project).order_by("id").values_list("id", flat=True))
    for part in chunks(ids, CHUNK):
        found.update(tally(part).counts())
    rated = standing_ratings(project).filter(user__isnull=False).order_by()
    skipped = Count("pk", filter=Q(choice=SKIPPED))
    for user, n, n_skipped in rated.values_list("user_id").annotate(n=Count("pk"), n_skipped=skipped):
        n_labels = n - n_skipped
        found.update({(user, "n_rated"): n, (user, "n_labels"): n_labels, (None, "n_labels"): n_labels})
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
