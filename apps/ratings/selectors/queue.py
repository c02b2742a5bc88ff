"""The queue of ratings: what a person holds, how many answers are left for them, and what they said last."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.labels.gold_models import gold_ratings_of
from apps.labels.models import PairFlag, Rating
from apps.labels.ratings import standing_ratings
from apps.labels.selectors import last_standing
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.gold import Mixing, Turns
from apps.rankings.models import Place
from apps.rankings.selectors.stops import NO_END, pause_of
from apps.ratings.models import DONE, EXPIRED, OPEN, RatingSeat
from apps.samples.exposure import answer_unseen_by
from apps.samples.models import Completion

N_HISTORY = 10  # ratings that can be taken back
MOST_COUNTED = 1000  # answers; a page need not wait for a longer count


def held(project: Project) -> QuerySet[RatingSeat]:
    """The seats of a project that somebody holds: a few for each person at work."""
    # the condition of the index in the words of the index: SQLite does not recognise it in a parameter
    return RatingSeat.objects.filter(project=project).extra(where=["ratings_ratingseat.state = 'open'"])


def held_by(project: Project, user: User) -> QuerySet[RatingSeat]:
    """The seats that a person holds, the first one to rate at the head, with all that a page needs."""
    rows = RatingSeat.objects.filter(answer_unseen_by(user, "completion"), project=project, user=user, state=OPEN)
    flags = PairFlag.objects.filter(completion=OuterRef("completion"), user=user, resolved_at=None)
    rows = rows.annotate(is_flagged=Exists(flags)).select_related("completion__prompt", "project", "user")
    return rows.defer("completion__token_ids").order_by("id")


def free_for(project: Project, user: User) -> QuerySet[RatingSeat]:
    """The free seats of answers that this person may rate blind and has not rated."""
    same = Q(completion=OuterRef("completion"), user=user)
    # the person as a range, so that SQLite goes by the answer: by the person, each seat would look at all their ratings
    mine = standing_ratings().filter(completion=OuterRef("completion"), user__gte=user.pk, user__lte=user.pk)
    holding = RatingSeat.objects.filter(same, state=OPEN)
    rows = RatingSeat.objects.filter(project=project, user=None)
    return rows.filter(~Exists(mine), ~Exists(holding), answer_unseen_by(user, "completion"))


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` by this person, and `left` for them: counted up to MOST_COUNTED."""

    done: int
    left: int

    @property
    def total(self) -> int:
        return self.done + self.left


def progress(project: Project, user: User) -> Progress:
    done = Place.objects.filter(project=project, user=user).values_list("n_rated", flat=True).first() or 0
    return Progress(done, n_to_rate(project, user))


def n_to_rate(project: Project, user: User) -> int:
    """How many answers this person may rate now, those that they hold among them; counted up to MOST_COUNTED.

    What they have dealt with is not looked at: ids of seats only rise, and they are given in that order. What was
    passed over, because somebody else was just being given it, is counted once nothing is left after it.
    """
    n_held = held_by(project, user).count()
    reached, passed = reach_of(project, user)
    n_free = _n_free_after(project, user, reached)
    if not n_free and passed < reached:
        n_free = _n_free_after(project, user, passed)
    n_gold = _mixing(project, user, n_free).n_left if project.gold_share else 0
    return min(MOST_COUNTED, n_free + n_gold + n_held)


def gold_for(project: Project, user: User) -> QuerySet[Completion]:
    """The answers whose right rating is known that are mixed in for this person: each is given to everybody once."""
    mine = standing_ratings().filter(completion=OuterRef("pk"), user__gte=user.pk, user__lte=user.pk)
    holding = RatingSeat.objects.filter(completion=OuterRef("pk"), user=user, state=OPEN)
    known = gold_ratings_of(project).filter(for_practice=False).values("completion")
    rows = Completion.objects.filter(ready("prompt__"), pk__in=known)
    return rows.filter(~Exists(mine), ~Exists(holding), answer_unseen_by(user)).order_by("pk")


def _mixing(project: Project, user: User, n_ordinary: int) -> Mixing:
    """Say how gold is mixed in for a person who has so many other answers left."""
    turns, turn = turn_of(project, user)
    return Mixing(turns, turn, n_ordinary, gold_for(project, user).count())


def turn_of(project: Project, user: User) -> tuple[Turns, int]:
    """How many answers a person was given before, and which of those to come are gold."""
    n_rated = Place.objects.filter(project=project, user=user).values_list("n_rated", flat=True).first() or 0
    n_held = RatingSeat.objects.filter(project=project, user=user, state=OPEN).count()
    return Turns(project.pk, user.pk, project.gold_share), n_rated + n_held


def _n_free_after(project: Project, user: User, seat: int) -> int:
    rows = free_for(project, user).filter(pk__gt=seat).order_by()
    return rows.values("completion").distinct()[:MOST_COUNTED].count()


def reach_of(project: Project, user: User) -> tuple[int, int]:
    """Up to which seat a person has been given answers, and up to which one nothing at all is left for them."""
    passed = Place.objects.filter(project=project, user=user).values_list("rated_up_to", flat=True).first() or 0
    # one look at the end of an index a state, however many seats they have had
    mine = [RatingSeat.objects.filter(user=user, project=project, state=state) for state in (OPEN, DONE, EXPIRED)]
    return max(passed, *(rows.aggregate(last=Max("pk"))["last"] or 0 for rows in mine)), passed


def history(project: Project, user: User) -> list[Rating]:
    """The person's last current ratings, latest first: those that can still be undone."""
    rows = Rating.objects.filter(user=user, completion__project=project, seat__isnull=False)
    return last_standing(rows.select_related("completion__prompt", "seat"), N_HISTORY, said="choice")


def room(project: Project) -> int:
    """How many more answers may be given out: no more than the project's budget of labels has left."""
    if project.label_budget is None:
        return NO_END
    used = Place.objects.filter(project=project, user=None).values_list("n_labels", flat=True).first() or 0
    return project.label_budget - used - held(project).count()


def stop_of(project: Project, user: User) -> str:
    """Say in one sentence why nothing is given to this person; "" if there is no such reason."""
    if paused := pause_of(project, user):
        return paused
    if project.label_budget is not None and room(project) <= 0 and not held_by(project, user).exists():
        return _("The project has all the labels that it asked for, so no more answers are given out.")
    return ""
