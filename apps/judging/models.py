"""Trials of judges by attacks."""

from __future__ import annotations

from django.db import models

from apps.core.models import TimeStamped
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
