"""Making the seats of ratings, and leasing them: as many free ones as ratings of an answer are still wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from random import Random

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, Max, OuterRef, QuerySet

from apps.accounts.models import User
from apps.core.bulk import rows_insert
from apps.core.chunks import chunks
from apps.jobs.models import Turn
from apps.jobs.services import job_enqueue
from apps.labels.gold_models import gold_ratings_of
from apps.labels.ratings import WANTED, counting_ratings
from apps.projects.models import Guideline, Project
from apps.projects.selectors import guideline_current
from apps.prompts.models import Prompt, ready
from apps.rankings.models import Place
from apps.ratings.models import EXPIRED, FREE, OPEN, RatingSeat
from apps.ratings.selectors import free_for, held, held_by, reach_of, room, stop_of
from apps.ratings.services.mixing import gold_mixed_in
from apps.samples.locks import prompts_lock
from apps.samples.models import Completion
from prefloop.answers import same_answer
from prefloop.seeds import derive_seed

LEASE = timedelta(minutes=15)
SHOWN_FIRST = 3  # answers that the desk's page comes with; it asks for the others when it is open
PREFETCH = 21  # the answer on the screen and the next twenty, which are there without a connection
MOST_HELD = 2 * PREFETCH
AT_ONCE = 2000  # prompts whose answers get their seats within the request; more is a job
_CHUNK = 200  # prompts in a transaction
_MANUAL = "manual"  # the purpose of a sampling run that belongs to no loop and no evaluation


def answers_lock(completion_ids: Iterable[int]) -> None:
    """Lock the prompts of these answers in this transaction: two ratings of one prompt come one after the other, since
    the later one is compared with the earlier. On SQLite the transaction holds the only write lock already.
    """
    theirs = Completion.objects.filter(pk__in=list(completion_ids)).values("prompt")
    prompts_lock(Prompt.objects.filter(pk__in=theirs))


def ratable(project: Project) -> QuerySet[Completion]:
    """The answers that people may be asked to rate: imported ones, and those that were sampled by hand; none that
    somebody here wrote by editing another.
    """
    rows = Completion.objects.filter(ready(), project=project, parent=None)
    return rows.filter(run=None) | rows.filter(run__purpose=_MANUAL)


def prompts_to_rate(project: Project) -> list[int]:
    return list(ratable(project).order_by("prompt").values_list("prompt", flat=True).distinct())


def seats_settle(*, project: Project, prompt_ids: Sequence[int] | None = None) -> None:
    """Give the answers to these prompts (all unless ids are given) as many free seats as ratings are still wanted.

    A text that a prompt has twice is asked about once. Answers to one prompt lie next to each other, in an order that
    is drawn by the prompt's id and tells nothing. Repeating it changes nothing.
    """
    if prompt_ids is None:
        prompt_ids = prompts_to_rate(project)
    for ids in chunks(sorted(set(prompt_ids)), _CHUNK):
        with transaction.atomic():
            _fill(project, answers_asked(project, ids))


def answers_asked(project: Project, prompt_ids: Sequence[int]) -> list[int]:
    """The answers to these prompts that people are asked about, or would be: each text once."""
    texts: dict[int, list[tuple[int, str]]] = defaultdict(list)
    rows = ratable(project).filter(prompt__in=prompt_ids).order_by("prompt", "pk")
    for prompt, pk, text in rows.values_list("prompt", "pk", "text"):
        if not any(same_answer(text, known) for _, known in texts[prompt]):
            texts[prompt].append((pk, text))
    found: list[int] = []
    for prompt, answers in texts.items():
        Random(derive_seed(project.pk, "ratings", prompt)).shuffle(answers)
        found += [pk for pk, _ in answers]
    return found


def _fill(project: Project, completion_ids: Sequence[int]) -> None:
    """Add or remove free seats of these answers, in their order; the caller is in a transaction."""
    answers_lock(completion_ids)
    new, gone = _plan(project, completion_ids)
    if gone:
        RatingSeat.objects.filter(pk__in=gone, state=FREE).delete()
    rows_insert(RatingSeat, ("project_id", "completion_id", "state"), new)


def _plan(project: Project, completion_ids: Sequence[int]) -> tuple[list[tuple[int, int, str]], list[int]]:
    """The free seats that these answers lack, in their order, and the ids of those that are too many."""
    rules = Project.objects.filter(pk=project.pk).values_list("asks_ratings", "votes_per_comparison", "gold_share")
    asks, n_votes, share = rules.get()
    wanted = n_votes if asks else 0
    apart = gold_ratings_of(project).filter(completion__in=completion_ids)
    if not share:  # gold comes like any other, but for what people practise on
        apart = apart.filter(for_practice=True)
    not_here = set(apart.values_list("completion_id", flat=True))
    here = RatingSeat.objects.filter(completion__in=completion_ids)
    free: dict[int, list[int]] = defaultdict(list)
    for answer, seat in here.filter(state=FREE).order_by("pk").values_list("completion_id", "pk"):
        free[answer].append(seat)
    said = counting_ratings().filter(completion__in=completion_ids, choice__in=WANTED).order_by()
    n_said = dict(said.values_list("completion_id").annotate(n=Count("pk")))
    n_held = dict(here.filter(state=OPEN).order_by().values_list("completion_id").annotate(n=Count("pk")))
    gone: list[int] = []
    new: list[tuple[int, int, str]] = []
    for answer in completion_ids:
        n = 0 if answer in not_here else max(0, wanted - n_said.get(answer, 0) - n_held.get(answer, 0))
        gone += free[answer][n:]
        new += [(project.pk, answer, FREE)] * (n - len(free[answer][:n]))
    return new, gone


def n_seats_wrong(project: Project) -> int:
    """How many free seats of answers are missing or too many; only for checks."""
    if not project.asks_ratings and not RatingSeat.objects.filter(project=project, user=None).exists():
        return 0
    asked = (answers_asked(project, ids) for ids in chunks(prompts_to_rate(project), _CHUNK))
    return sum(len(rows) for ids in asked for rows in _plan(project, ids))


def seat_fill(project: Project, completion_id: int) -> None:
    """Bring one answer to the number of free seats that it should have; the caller is in a transaction."""
    _fill(project, [completion_id])


def seats_follow(project: Project) -> None:
    """Settle the seats of a whole project after its rules have changed; for many prompts in a job."""
    if len(prompts_to_rate(project)) > AT_ONCE:
        title = "Ask for ratings of answers"
        job_enqueue(kind="ratings.seats", turn=Turn.SOON, queue="cpu", payload={}, project=project, title=title)
    else:
        seats_settle(project=project)


# --- what happens below, in apps that do not know of ratings ----------------------------------------------------------


def task_changed(project: Project, guideline: Guideline) -> None:
    """Ask for ratings where a new version of the guidelines does, or ask no more."""
    if guideline.declared.of_answers or RatingSeat.objects.filter(project=project, user=None).exists():
        seats_follow(project)


def rules_changed(project: Project) -> None:
    """Settle the seats after the project asks for another number of ratings of an answer, or share of gold."""
    if project.asks_ratings:
        seats_follow(project)


def ratings_excluded(project: Project, prompt_ids: Sequence[int]) -> None:
    """Ask for other ratings in place of those that count no more, or not after all; for many prompts in a job."""
    if not project.asks_ratings:
        return
    if len(prompt_ids) > AT_ONCE:
        seats_follow(project)
    else:
        seats_settle(project=project, prompt_ids=prompt_ids)


def answers_made(project: Project, prompt_ids: Sequence[int]) -> None:
    """Ask about new answers, where the project's task is to rate answers."""
    if Project.objects.filter(pk=project.pk, asks_ratings=True).exists():  # a run has the row as it was at its start
        seats_settle(project=project, prompt_ids=prompt_ids)


# --- leases -----------------------------------------------------------------------------------------------------------


def seats_lease(
    *, project: Project, user: User, n: int = SHOWN_FIRST, now: datetime, have: Collection[int] = ()
) -> list[RatingSeat]:
    """Lease up to `n` answers besides those of the seats in `have`: first those the person holds, then new ones.

    Every lease they hold is renewed; with more than `MOST_HELD` the surplus is given back.
    """
    current = guideline_current(project)
    if current is None or not current.declared.of_answers:
        return []
    held = list(held_by(project, user))
    RatingSeat.objects.filter(pk__in=[seat.pk for seat in held], state=OPEN).update(lease_until=now + LEASE)
    n_have = sum(seat.pk in have for seat in held)
    others = [seat for seat in held if seat.pk not in have]
    n = max(0, min(n, MOST_HELD - n_have))
    mine = others[:n]
    for seat in others[max(0, MOST_HELD - n_have) :]:
        seat_end(seat)
    if stop_of(project, user):
        return []
    n = min(n, len(mine) + max(0, room(project)))
    if len(mine) < n:
        _sweep(project, now, but_of=user)
        if n > SHOWN_FIRST:
            n = min(n, max(SHOWN_FIRST, len(mine) + _share(project, user)))
        taken = _take(project, user, n - len(mine), now, current.name)
        mine += list(held_by(project, user).filter(pk__in=taken))
    for seat in mine:
        seat.lease_until = now + LEASE
    late = [seat.pk for seat in mine if seat.guideline != current.name]
    RatingSeat.objects.filter(pk__in=late).update(guideline=current.name)
    for seat in mine:
        seat.guideline = current.name
    return mine


def seat_lease_more(*, project: Project, user: User, now: datetime) -> RatingSeat | None:
    """Lease one more answer to this person than they hold; None if there is none for them."""
    current = guideline_current(project)
    if current is None or not current.declared.of_answers or stop_of(project, user) or room(project) <= 0:
        return None
    if RatingSeat.objects.filter(project=project, user=user, state=OPEN).count() >= MOST_HELD:
        return None
    taken = _take(project, user, 1, now, current.name)
    return held_by(project, user).filter(pk__in=taken).first() if taken else None


def _take(project: Project, user: User, n: int, now: datetime, guideline: str) -> list[int]:
    """Lease the next free seats to this person, from where they are in the project's order.

    Ids only rise, so what lies before their last seat was dealt with; what was passed over because somebody else had it
    locked is found once nothing is left after it. Where nothing is left at all, that is remembered: a seat that ends
    lets a new one, so what comes to them later has a higher id.
    """
    reached, passed = reach_of(project, user)
    taken = _take_after(project, user, n, now, guideline, reached)
    if not taken and passed < reached:
        taken = _take_after(project, user, n, now, guideline, passed)
    if not taken:
        _remember_end(project, user, passed)
    return taken


def _remember_end(project: Project, user: User, passed: int) -> None:
    """Note up to which seat nothing is left for a person, unless what is left is just being given to somebody else."""
    last = RatingSeat.objects.filter(project=project, user=None).aggregate(last=Max("pk"))["last"] or 0
    if last > passed and not free_for(project, user).filter(pk__gt=passed, pk__lte=last).exists():
        Place.objects.filter(project=project, user=user, rated_up_to__lt=last).update(rated_up_to=last)


def _take_after(project: Project, user: User, n: int, now: datetime, guideline: str, reached: int) -> list[int]:
    earlier = RatingSeat.objects.filter(user=None, completion=OuterRef("completion"), pk__lt=OuterRef("pk"))
    rows = free_for(project, user).filter(~Exists(earlier), pk__gt=reached).order_by("pk")
    try:
        with transaction.atomic():
            ids = list(rows.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:n])
            other = gold_mixed_in(project, user, ids)
            RatingSeat.objects.filter(pk__in=ids, user=None).update(
                user=user, state=OPEN, lease_until=now + LEASE, guideline=guideline, **other
            )
    except IntegrityError:  # the same person, in another tab, took a seat of one of these answers
        return []
    return ids


def _share(project: Project, user: User) -> int:
    """How many of the free seats are this person's part, with those who hold some now."""
    others = held(project).exclude(user=user).values("user").distinct().count()
    n_free = free_for(project, user)[: PREFETCH * (others + 1)].count()
    return -(-n_free // (others + 1))


def _sweep(project: Project, now: datetime, *, but_of: User) -> None:
    """End the leases of others that ran out; a person's own are theirs until somebody asks for work."""
    late = held(project).filter(lease_until__lt=now).exclude(user=but_of).select_related("project")
    for seat in late.order_by("completion", "pk"):
        seat_end(seat, late_at=now)


def seats_end_beside(seat: RatingSeat) -> None:
    """End what else its holder has of the answer: after a lease that ran out, another tab may have been given a new
    seat of it. The caller is in a transaction, and fills the answer's seats.
    """
    theirs = RatingSeat.objects.filter(completion=seat.completion_id, user=seat.user_id, state=OPEN)
    theirs.exclude(pk=seat.pk).update(state=EXPIRED)


def seat_end(seat: RatingSeat, *, late_at: datetime | None = None) -> None:
    """Let a held seat to others, unless it was rated (or, with `late_at`, renewed) meanwhile."""
    still = RatingSeat.objects.filter(pk=seat.pk, state=OPEN)
    if late_at is not None:
        still = still.filter(lease_until__lt=late_at)
    with transaction.atomic():
        answers_lock([seat.completion_id])
        if still.update(state=EXPIRED):
            seat_fill(seat.project, seat.completion_id)
