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
from prefloop.judging.render import SCORE_MODES

OUTCOME_CHOICES = [("first", "first"), ("second", "second"), ("tie", "tie"), ("both_bad", "both bad")]


class JudgeKind(models.TextChoices):
    REWARD_MODEL = "reward_model", "Trained reward model"
    POLICY = "policy", "Policy that scores by itself"
    LLM = "llm", "Language model on an endpoint"
    ENSEMBLE = "ensemble", "Several judges together"
    WORLD = "world", "The world's own preference"
    IMPORTED = "imported", "Imported verdicts"


MODE_CHOICES = [
    ("text", "reasons, then a verdict"),
    ("json", "reasons and a verdict as JSON"),
    ("logprob", "log-probs of one token"),
    ("soft", "log-probs of one token, unordered names"),
    ("five", "five labels"),
    ("additive", "a score from 0 to 5"),
    ("rubric", "a mark from 1 to 10"),
]


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
    mode = models.CharField(max_length=12, default="text", choices=MODE_CHOICES)
    # noise, soft (world); temperature, max_tokens, samples, tie_delta (llm); members, rule, weights (ensemble);
    # temperature, top_p, max_tokens, samples, seed (policy)
    options = models.JSONField(default=dict)
    is_simulated = models.BooleanField(default=False)
    retired_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name", "version"], name="judge_version_once"),
            models.CheckConstraint(
                condition=~Q(kind="reward_model") | Q(checkpoint__isnull=False), name="judge_reward_model_has_weights"
            ),
            models.CheckConstraint(
                condition=~Q(kind="policy") | Q(checkpoint__isnull=False), name="judge_policy_has_weights"
            ),
            models.CheckConstraint(condition=~Q(kind="llm") | Q(endpoint__isnull=False), name="judge_llm_has_endpoint"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def gives_scores(self) -> bool:
        """Whether it grades single answers, and compares by what it gave them."""
        by_grade = self.kind == JudgeKind.LLM and self.mode in SCORE_MODES
        return by_grade or self.kind in (JudgeKind.REWARD_MODEL, JudgeKind.POLICY, JudgeKind.WORLD)


class JudgingRun(TimeStamped):
    """One judge asked about chosen comparisons."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judging_runs")
    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="runs")
    comparison_ids = models.JSONField(default=list)  # frozen when the run is made
    seed = models.BigIntegerField(default=0)
    purpose = models.CharField(max_length=40, default="manual")
    retry_states = models.JSONField(default=list)  # ask again where every verdict so far is in one of these states
    group = models.ForeignKey(JobGroup, null=True, on_delete=models.SET_NULL, related_name="judging_runs")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return f"judging run {self.pk}"


class Verdict(TimeStamped):
    """What a judge said in one call. `order`: which of the pair it was shown first ("01": the canonical first).

    Only ever appended; `outcome` is canonical; `p_first` is the probability that the canonical first is better.
    """

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="verdicts", db_index=False)  # verdict_read
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="verdicts")
    run = models.ForeignKey(JudgingRun, null=True, on_delete=models.SET_NULL, related_name="verdicts")
    order = models.CharField(max_length=2, choices=[("01", "first shown first"), ("10", "second shown first")])
    sample = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(
        max_length=12,
        choices=[
            ("ok", "ok"),
            ("unparseable", "unparseable"),
            ("error", "error"),
            ("skipped", "skipped"),
            ("inconsistent", "inconsistent"),  # an ensemble whose members disagree
        ],
    )
    outcome = models.CharField(max_length=8, blank=True, choices=OUTCOME_CHOICES)
    p_first = models.FloatField(null=True)
    raw = models.TextField(blank=True)
    rationale = models.TextField(blank=True)
    usage = models.JSONField(default=dict)
    seconds = models.FloatField(null=True)
    flags = models.JSONField(default=list)  # why a person should look: verdict-in-answer, control-token, floored, …

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
        # all that reports read, without the replies
        indexes = [
            models.Index(
                fields=["judge", "comparison", "order", "sample", "state", "outcome", "p_first"], name="verdict_read"
            )
        ]

    def __str__(self) -> str:
        return f"{self.judge_id} on {self.comparison_id}: {self.outcome or self.state}"


class Score(TimeStamped):
    """A number a judge gave one completion. Never comparable across prompts for a reward model."""

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="scores")
    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="scores")
    sample = models.PositiveSmallIntegerField(default=0)
    run = models.ForeignKey(JudgingRun, null=True, on_delete=models.SET_NULL, related_name="scores")
    state = models.CharField(max_length=12, default="ok")
    value = models.FloatField(null=True)
    raw = models.TextField(blank=True)
    rationale = models.TextField(blank=True)
    usage = models.JSONField(default=dict)
    seconds = models.FloatField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["judge", "completion", "sample"], name="score_once")]

    def __str__(self) -> str:
        return f"{self.judge_id} on {self.completion_id}: {self.value}"


class AttackTrial(TimeStamped):
    """One attack on one judge: the answer that it had found worse, with the attack put in, and what it said then.

    No verdict and no label: nothing is trained on it. `outcome` is canonical, of both orders together.
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
