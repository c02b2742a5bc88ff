"""Seats: one for each vote that is wanted, and how far each person is in the order in which they are given."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.accounts.models import User
from apps.core.models import TimeStamped
from apps.projects.models import Project
from apps.projects.selectors import Asks
from apps.rankings.batch_models import Batch as Batch
from apps.rankings.batch_models import BatchItem as BatchItem
from apps.rankings.practice_models import PracticeAnswer as PracticeAnswer
from apps.samples.models import Comparison
from prefloop.criteria import LONGEST_NAME

FREE, OPEN, DONE, EXPIRED = "free", "open", "done", "expired"
# The lanes of the queue. `CHANCE` has the random share of a project's pairs, the others go by what judges said:
# they disagree, with each other or with themselves; they are unsure; nobody was asked; they are sure. `GOLD` has pairs
# with a known answer that are mixed in for everybody (apps/rankings/gold.py).
MEASURING, ORDINARY, CHANCE, DISPUTED, CLOSE, SURE, GOLD = range(7)
BY_WORTH = (DISPUTED, CLOSE, ORDINARY, SURE)


def batch_lanes(project: Project, user_id: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The lanes of open batches that come first for a person, and those of others', which come last for them."""
    ahead: list[int] = []
    behind: list[int] = []
    for lane, people in project.batch_lanes:
        (ahead if not people or user_id in people else behind).append(int(lane))
    return tuple(ahead), tuple(behind)


def lanes(*, by_chance: bool) -> tuple[int, ...]:
    """The order in which seats are given, within a lane by id: in the random share of all draws by chance first.

    Batches come before and after these (`batch_lanes`).
    """
    return (MEASURING, CHANCE, *BY_WORTH) if by_chance else (MEASURING, *BY_WORTH, CHANCE)


class Assignment(TimeStamped):
    """A seat: one vote that is wanted. Free until somebody takes it; then leased to them, with the sides as they see
    them, until they vote.

    A seat that is not voted on (its lease ends, it is skipped, its holder is shown a label of the comparison) stays as
    a record, and a new one takes its place. Only apps/rankings/services writes seats.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="assignments", db_index=False)
    # assignment_by_comparison begins with it
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="assignments", db_index=False)
    # assignment_by_person begins with it
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="assignments", db_index=False
    )
    criterion = models.CharField(max_length=LONGEST_NAME, blank=True)  # by which it is asked; empty: the unnamed one
    priority = models.PositiveSmallIntegerField(default=ORDINARY)  # its lane
    order = models.CharField(max_length=2, blank=True)  # "01": the canonical first is shown left
    # of a seat that is one of a set (apps/rankings/services/sets.py): its answers' ids in the order shown to the holder
    shown = models.JSONField(null=True)
    lease_until = models.DateTimeField(null=True)
    guideline = models.CharField(  # the version that went with the pair when it was last given
        max_length=40, blank=True
    )
    state = models.CharField(max_length=8, default=OPEN, choices=[(s, s) for s in (FREE, OPEN, DONE, EXPIRED)])

    # read with it, where a vote follows (apps/rankings/access.py)
    place: Place | None = None
    n_open_now: int | None = None  # of the project's place: `n_open`, and `n_gold` below
    n_gold_now: int = 0
    n_held_now: int = 0  # seats that the holder has, this one among them
    guideline_now: str | None = None
    asks_now: Asks = Asks()  # what that guideline asks beside the answer
    task_now: str | None = None  # its task

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "user", "criterion"],
                condition=Q(state="open"),
                name="assignment_open_once_per_person",
            ),
            models.CheckConstraint(
                condition=Q(state=FREE, user__isnull=True)
                | (~Q(state=FREE) & Q(user__isnull=False, lease_until__isnull=False)),
                name="assignment_free_is_nobodys",
            ),
        ]
        indexes = [
            models.Index(fields=["comparison", "state"], name="assignment_by_comparison"),
            models.Index(fields=["user", "state"], condition=Q(user__isnull=False), name="assignment_by_person"),
            # by the missing person rather than by the state: SQLite uses it only where the condition is no parameter
            models.Index(fields=["project", "priority", "id"], condition=Q(user__isnull=True), name="assignment_free"),
            models.Index(fields=["project", "lease_until"], condition=Q(state=OPEN), name="assignment_held"),
        ]

    def __str__(self) -> str:
        return f"assignment {self.pk}"

    @property
    def by_chance(self) -> bool | None:
        """Whether the pair is of the random share, rather than chosen by what judges said of it; None: neither."""
        return {CHANCE: True, DISPUTED: False, CLOSE: False, SURE: False}.get(self.priority)

    @property
    def holder(self) -> User:
        """Who holds it, or held it; only a free seat is nobody's."""
        if self.user is None:
            raise ValueError(f"nobody holds seat {self.pk}")
        return self.user


class Place(models.Model):
    """How far a person is in a project's queue, and their counts; the row without a person has the project's count.

    The counts are changed in the transactions that change what they count (apps/rankings/services/counts.py).
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="places", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="places")
    # by priority, the last seat they took: every seat up to it was taken, or is of a pair that is not for them
    reached = models.JSONField(default=dict)
    n_open = models.IntegerField(default=0)  # of the project: comparisons with a free seat
    n_blocked = models.IntegerField(default=0)  # of them, those that this person answered, holds, or saw a label of
    n_done = models.IntegerField(default=0)  # comparisons that this person has answered, with skips
    # of the project: gold pairs that are mixed in for everybody; of a person: those of them that they have met
    n_gold = models.IntegerField(default=0)
    # answers other than skips, of this person or of all who have an account: what a budget is about
    n_labels = models.IntegerField(default=0)
    n_rated = models.IntegerField(default=0)  # answers that this person has rated by themselves, with skips
    # of the seats of answers up to this id none is for this person: nobody need look at them for them again
    rated_up_to = models.PositiveBigIntegerField(default=0)
    is_qualified = models.BooleanField(default=False)  # for real pairs, where people practise first
    attempt = models.PositiveSmallIntegerField(default=1)  # at practice
    pause = models.CharField(max_length=300, blank=True)  # why this person is given no pairs now; "": they are
    rater = models.CharField(max_length=150, blank=True)  # the name under which their last vote is stored
    recent = models.JSONField(default=list)  # their last votes, latest first: seconds, and when

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="place_once_per_person"),
            models.UniqueConstraint(fields=["project"], condition=Q(user__isnull=True), name="place_of_project_once"),
        ]

    def __str__(self) -> str:
        return f"place of {self.user_id} in {self.project_id}"
