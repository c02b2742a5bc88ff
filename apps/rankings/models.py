"""What people said: votes (blind), overrides (seeing the verdict), rankings; and the label that follows from it all.

Labels are events: only ever appended. A Preference is derived from them and can be made again at any time.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.judging.models import OUTCOME_CHOICES, Judge
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.samples.models import Comparison

VOTE_CHOICES = [*OUTCOME_CHOICES, ("skip", "skip"), ("withdrawn", "withdrawn")]


class Assignment(TimeStamped):
    """A comparison leased to one person, with the sides as they will see them.

    `seen`: no lease; the person was shown a judge's label of it, so that they are never asked for a blind vote.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="assignments")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="assignments")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="assignments")
    order = models.CharField(max_length=2)  # "01": the canonical first is shown left
    lease_until = models.DateTimeField()
    state = models.CharField(
        max_length=8, default="open", choices=[(s, s) for s in ("open", "done", "expired", "seen")]
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "user"], condition=Q(state="open"), name="assignment_open_once_per_person"
            )
        ]
        indexes = [
            models.Index(fields=["comparison", "state"], name="assignment_by_comparison"),
            models.Index(fields=["user", "state"], name="assignment_by_person"),
        ]

    def __str__(self) -> str:
        return f"assignment {self.pk}"


class Vote(TimeStamped):
    """A blind judgement. A person's label is their latest vote on a comparison; `withdrawn` takes it back."""

    # vote_latest begins with it
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="votes", db_index=False)
    assignment = models.ForeignKey(Assignment, null=True, on_delete=models.SET_NULL, related_name="votes")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="votes")
    rater = models.CharField(max_length=150)  # the username, or the name an import gave
    choice = models.CharField(max_length=10, choices=VOTE_CHOICES)
    order = models.CharField(max_length=2, blank=True)
    at = models.DateTimeField(null=True)  # when it was said (an import keeps the original time)
    seconds = models.FloatField(null=True)
    guideline = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True)
    adjudication = models.BooleanField(default=False)
    supersedes = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="superseded_by")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "rater"],
                condition=Q(supersedes__isnull=True),
                name="vote_first_once_per_rater",
            ),
        ]
        indexes = [models.Index(fields=["comparison", "rater", "id"], name="vote_latest")]

    def __str__(self) -> str:
        return f"{self.rater} on {self.comparison_id}: {self.choice}"


class Override(TimeStamped):
    """A person's decision made seeing a judge's verdict: to agree, or to correct it with a reason.

    It replaces a training label; it never counts as a vote, in a majority, or as truth for a judge. To agree where
    the judge has no label (its orders disagree, its reply was unreadable) leaves the pair out: `choice` is empty.
    """

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="overrides")
    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="overrides")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="overrides")
    rater = models.CharField(max_length=150)
    kind = models.CharField(
        max_length=10, choices=[("agree", "agree"), ("override", "override"), ("withdrawn", "withdrawn")]
    )
    choice = models.CharField(max_length=8, blank=True, choices=OUTCOME_CHOICES)
    judge_outcome = models.CharField(max_length=12, blank=True)  # what the judge's label was at that moment
    reason = models.TextField(blank=True)
    at = models.DateTimeField(null=True)
    supersedes = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="superseded_by")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(kind="override") | ~Q(choice=""), name="override_says_what_instead"),
        ]
        indexes = [models.Index(fields=["comparison", "id"], name="override_latest")]

    def __str__(self) -> str:
        return f"{self.rater} {self.kind} on {self.comparison_id}"


class Ranking(TimeStamped):
    """An N-way ordering of a prompt's completions, ties allowed; `groups` holds completion ids, best first."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="rankings")
    rater = models.CharField(max_length=150, blank=True)
    judge = models.ForeignKey(Judge, null=True, on_delete=models.PROTECT, related_name="rankings")
    groups = models.JSONField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(rater="", judge__isnull=False) | (~Q(rater="") & Q(judge__isnull=True)),
                name="ranking_by_a_person_or_a_judge",
            )
        ]

    def __str__(self) -> str:
        return f"ranking of {self.prompt_id}"


class Preference(models.Model):
    """The effective label of a comparison: override > adjudication > human majority > judges."""

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, related_name="preference")
    outcome = models.CharField(max_length=12)  # an Outcome, or "inconsistent"
    p_first = models.FloatField(null=True)  # None where the outcome makes no pair
    source = models.CharField(max_length=140)  # override | adjudication | human | judge:NAME
    label_ids = models.JSONField(default=list)  # ["vote:12", "verdict:7", …]
    derived_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["source"], name="preference_by_source")]

    def __str__(self) -> str:
        return f"{self.comparison_id}: {self.outcome} ({self.source})"

    @property
    def is_human(self) -> bool:
        """Whether blind votes made it: what an annotator must not see before their own."""
        return self.source in {"human", "adjudication"}
