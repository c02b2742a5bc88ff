"""Judges, what they were asked, and everything they said."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.jobs.models import JobGroup
from apps.policies.models import Checkpoint, Endpoint
from apps.projects.models import Project
from apps.samples.models import Comparison, Completion

OUTCOME_CHOICES = [("first", "first"), ("second", "second"), ("tie", "tie"), ("both_bad", "both bad")]


class JudgeKind(models.TextChoices):
    REWARD_MODEL = "reward_model", "Trained reward model"
    LLM = "llm", "Language model on an endpoint"
    WORLD = "world", "The world's own preference"
    IMPORTED = "imported", "Imported verdicts"


class Judge(TimeStamped):
    """A judge's settings never change: an edit makes the next version."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judges")
    name = models.CharField(max_length=120)
    version = models.PositiveIntegerField(default=1)
    kind = models.CharField(max_length=16, choices=JudgeKind.choices)
    order_policy = models.CharField(
        max_length=12,
        default="both_agree",
        choices=[
            ("both_agree", "both orders must agree"),
            ("average", "average of both orders"),
            ("random", "one random order"),
        ],
    )
    endpoint = models.ForeignKey(Endpoint, null=True, on_delete=models.PROTECT, related_name="judges")
    checkpoint = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="judges")
    template = models.TextField(blank=True)
    criterion = models.TextField(blank=True)
    mode = models.CharField(max_length=8, default="text", choices=[("text", "text"), ("logprob", "log-probs")])
    options = models.JSONField(default=dict)  # noise (world), temperature, max_tokens (llm)
    is_simulated = models.BooleanField(default=False)
    retired_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name", "version"], name="judge_version_once"),
            models.CheckConstraint(
                condition=~Q(kind="reward_model") | Q(checkpoint__isnull=False), name="judge_reward_model_has_weights"
            ),
            models.CheckConstraint(condition=~Q(kind="llm") | Q(endpoint__isnull=False), name="judge_llm_has_endpoint"),
        ]

    def __str__(self) -> str:
        return self.name


class JudgingRun(TimeStamped):
    """One judge asked about chosen comparisons."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judging_runs")
    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="runs")
    comparison_ids = models.JSONField(default=list)  # frozen when the run is made
    seed = models.BigIntegerField(default=0)
    purpose = models.CharField(max_length=40, default="manual")
    group = models.ForeignKey(JobGroup, null=True, on_delete=models.SET_NULL, related_name="judging_runs")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return f"judging run {self.pk}"


class Verdict(TimeStamped):
    """What a judge said in one call. `order`: which of the pair it was shown first ("01": the canonical first).

    Only ever appended; `outcome` is canonical; `p_first` is the probability that the canonical first is better.
    """

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="verdicts")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="verdicts")
    run = models.ForeignKey(JudgingRun, null=True, on_delete=models.SET_NULL, related_name="verdicts")
    order = models.CharField(max_length=2, choices=[("01", "first shown first"), ("10", "second shown first")])
    sample = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(
        max_length=12,
        choices=[("ok", "ok"), ("unparseable", "unparseable"), ("error", "error"), ("skipped", "skipped")],
    )
    outcome = models.CharField(max_length=8, blank=True, choices=OUTCOME_CHOICES)
    p_first = models.FloatField(null=True)
    raw = models.TextField(blank=True)
    rationale = models.TextField(blank=True)
    usage = models.JSONField(default=dict)
    seconds = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["judge", "comparison", "order", "sample"], name="verdict_once"),
            models.CheckConstraint(
                condition=(Q(state="ok") & ~Q(outcome="")) | (~Q(state="ok") & Q(outcome="")),
                name="verdict_outcome_iff_ok",
            ),
            models.CheckConstraint(
                condition=Q(p_first__isnull=True) | Q(p_first__gte=0, p_first__lte=1), name="verdict_p_in_unit"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.judge_id} on {self.comparison_id}: {self.outcome or self.state}"


class Score(TimeStamped):
    """A number a judge gave one completion. Never comparable across prompts for a reward model."""

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="scores")
    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="scores")
    sample = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=12, default="ok")
    value = models.FloatField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["judge", "completion", "sample"], name="score_once")]

    def __str__(self) -> str:
        return f"{self.judge_id} on {self.completion_id}: {self.value}"
