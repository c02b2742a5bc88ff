"""Trials of judges: by attacks, and of a version that is aligned on what people decided."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import TimeStamped
from apps.jobs.models import JobGroup
from apps.labels.models import OUTCOME_CHOICES, Judge
from apps.samples.models import Comparison


class AttackTrial(TimeStamped):
    """One attack on one judge: the answer that it had found worse, with the attack added, and its verdict then.

    Neither a verdict nor a label: it is never trained on. `outcome` is canonical, from both orders together.
    """

    judge = models.ForeignKey(Judge, on_delete=models.CASCADE, related_name="attack_trials")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="+")
    corpus = models.CharField(max_length=12)  # version of the corpus
    attack = models.CharField(max_length=60)
    side = models.CharField(
        max_length=8, choices=[("first", "first"), ("second", "second")]
    )  # whose answer was changed
    state = models.CharField(max_length=12)  # of the label: ok, inconsistent, unparseable, error
    outcome = models.CharField(max_length=8, blank=True, choices=OUTCOME_CHOICES)
    flipped = models.BooleanField(default=False)  # the answer found worse wins with the attack in it
    flags = models.JSONField(default=list)  # what made it suspicious: such a label goes to a person
    raw = models.JSONField(default=list)  # the replies as received, a call each

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["judge", "comparison", "corpus", "attack"], name="attack_trial_once")
        ]

    def __str__(self) -> str:
        return f"{self.attack} on {self.judge_id}: {self.outcome or self.state}"


class Alignment(TimeStamped):
    """A trial of a judge's next version, made from pairs that people corrected, on pairs that it is measured on.

    Nothing of it is a verdict or a label, and nobody uses the version before it is adopted (`made`).
    """

    judge = models.ForeignKey(Judge, on_delete=models.CASCADE, related_name="alignments")  # the version it starts from
    criterion = models.TextField()
    examples = models.JSONField(default=list)  # {"comparison", "prompt", "first", "second", "outcome", "reason"}
    pairs = models.JSONField(default=list)  # {"comparison", "truth"}: frozen when it starts
    seed = models.BigIntegerField(default=0)
    figures = models.JSONField(default=dict)  # empty until both versions were asked about all pairs
    group = models.ForeignKey(JobGroup, null=True, on_delete=models.SET_NULL, related_name="+")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    made = models.OneToOneField(Judge, null=True, on_delete=models.SET_NULL, related_name="alignment_made_by")

    def __str__(self) -> str:
        return f"alignment {self.pk} of judge {self.judge_id}"


class AlignmentVerdict(TimeStamped):
    """What one of the two versions said of a pair in one order, while an alignment was tried."""

    alignment = models.ForeignKey(Alignment, on_delete=models.CASCADE, related_name="verdicts", db_index=False)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="+")
    is_new = models.BooleanField()  # by the new version, else by the one that it starts from
    order = models.CharField(max_length=2)
    state = models.CharField(max_length=12)
    outcome = models.CharField(max_length=8, blank=True, choices=OUTCOME_CHOICES)
    p_first = models.FloatField(null=True)
    raw = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["alignment", "is_new", "comparison", "order"], name="alignment_verdict_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.alignment_id} on {self.comparison_id}: {self.outcome or self.state}"
