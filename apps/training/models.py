"""Loops, their rounds, the frozen training sets and the training runs."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.jobs.models import JobGroup
from apps.labels.models import Judge, JudgingRun
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.samples.models import Comparison, SamplingRun

MAX_ROUNDS = 1000  # of one loop
MAX_SEED = 2**63 - 1  # what its column holds


class LoopState(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"  # for people, at the review gate
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNDER_WAY = (LoopState.QUEUED, LoopState.RUNNING, LoopState.WAITING)  # a paused loop takes no step
ACTIVE = (*UNDER_WAY, LoopState.PAUSED)


class Stage(models.TextChoices):
    """A round's stages, in order; each ends before the next begins."""

    PREPARE = "prepare"  # make the ingredients the recipe needs and the project lacks
    SAMPLING = "sampling"
    JUDGING = "judging"
    REVIEW = "review"
    SNAPSHOT = "snapshot"
    TRAINING = "training"
    EVALUATION = "evaluation"
    DONE = "done"


class Loop(TimeStamped):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="loops")
    recipe = models.CharField(max_length=40)
    config = models.JSONField()  # the whole recipe, as it will be run
    chosen = models.JSONField(default=dict)  # what the person set, key by key
    n_rounds = models.PositiveIntegerField()
    foreseen_seconds = models.FloatField(null=True)  # all rounds from the first on, as forecast at the start
    foreseen_memory = models.BigIntegerField(null=True)  # bytes of a training process on a CPU, as forecast then
    seed = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=LoopState.choices, default=LoopState.QUEUED)
    initial = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="loops_from")
    judge = models.ForeignKey(Judge, null=True, on_delete=models.PROTECT, related_name="loops")
    branched_from = models.ForeignKey("Round", null=True, on_delete=models.SET_NULL, related_name="branches")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    failure_class = models.CharField(max_length=20, blank=True)
    error = models.TextField(blank=True)
    ended_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"loop {self.pk} ({self.recipe})"


class LoopChange(TimeStamped):
    """A person's change to a running loop. Rounds before `from_round` keep their settings."""

    loop = models.ForeignKey(Loop, on_delete=models.CASCADE, related_name="changes")
    from_round = models.PositiveIntegerField()
    chosen = models.JSONField(default=dict)  # key by key, on top of the loop's config and of earlier changes
    n_rounds = models.PositiveIntegerField(null=True)  # how many rounds the loop has from then on; None: as before
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return f"change of loop {self.loop_id} from round {self.from_round} on"


class Round(TimeStamped):
    """One round of a loop. Round 0 is the starting policy, evaluated and never trained."""

    loop = models.ForeignKey(Loop, on_delete=models.CASCADE, related_name="rounds")
    index = models.PositiveIntegerField()
    stage = models.CharField(max_length=12, choices=Stage.choices, default=Stage.PREPARE)
    policy = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="+")  # it starts from
    output = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="rounds")
    sampling_run = models.OneToOneField(SamplingRun, null=True, on_delete=models.SET_NULL, related_name="round")
    judging_run = models.OneToOneField(JudgingRun, null=True, on_delete=models.SET_NULL, related_name="round")
    group = models.ForeignKey(JobGroup, null=True, on_delete=models.SET_NULL, related_name="rounds")
    # what self-instruct wrote for it: {"prompt_ids", "n_candidates", "n_refused": {filter: n}}
    written = models.JSONField(default=dict)
    review_comparison_ids = models.JSONField(default=list)  # what the review gate asks people
    evaluation = models.JSONField(default=dict)  # who measures it and what they are asked: rounds/evaluation.py
    result = models.JSONField(default=dict)  # the row of `run_recipe --json`
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["loop", "index"], name="round_once")]

    def __str__(self) -> str:
        return f"round {self.index} of loop {self.loop_id}"


class Snapshot(TimeStamped):
    """A frozen training set: the exact pairs, soft labels and label ids, and their SHA-256."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="snapshots")
    name = models.CharField(max_length=120)
    path = models.CharField(max_length=500)  # relative to STORE_DIR
    sha256 = models.CharField(max_length=64)
    n_pairs = models.PositiveIntegerField()
    n_erased = models.PositiveIntegerField(default=0)  # rows that were in it, whose data have been deleted
    n_overrides = models.PositiveIntegerField(default=0)
    n_human = models.PositiveIntegerField(default=0)
    sources = models.JSONField(default=dict)  # count by source of label; a mean of several labels has several
    label_policy = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class SnapshotItem(models.Model):
    """A pair of a snapshot. Held-out comparisons are refused by a constraint and by snapshot_create."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="items")
    comparison = models.ForeignKey(Comparison, on_delete=models.PROTECT, related_name="snapshot_items")
    held_out = models.BooleanField(default=False)
    p_first = models.FloatField()
    weight = models.FloatField(default=1.0)
    source = models.CharField(max_length=140)
    label_ids = models.JSONField(default=list)
    # what the label would have been without people's overrides (None: no label at all)
    p_first_without_overrides = models.FloatField(null=True)
    # both answers are undesirable, and p a half: now, and without people's overrides
    both_bad = models.BooleanField(default=False)
    both_bad_without_overrides = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["snapshot", "comparison"], name="snapshot_item_once"),
            models.CheckConstraint(condition=Q(held_out=False), name="snapshot_item_never_held_out"),
        ]

    def __str__(self) -> str:
        return f"{self.snapshot_id}: {self.comparison_id}"


class TrainingRun(TimeStamped):
    """One run of `python -m prefloop.engine.train RUN_DIR`. How it is doing is said by its job, `training:PK`."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="training_runs")
    round = models.ForeignKey(Round, null=True, on_delete=models.CASCADE, related_name="training_runs")
    kind = models.CharField(max_length=20)  # sft, reward-model, online, or the name of the loss
    snapshot = models.ForeignKey(Snapshot, null=True, on_delete=models.PROTECT, related_name="training_runs")
    start = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="+")
    reference = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="+")
    output = models.OneToOneField(Checkpoint, null=True, on_delete=models.PROTECT, related_name="training_run")
    run_dir = models.CharField(max_length=500)  # relative to STORE_DIR
    # of the directory in a store that machines share, as it is there now; "" where there is no such store
    stored_version = models.CharField(max_length=32, blank=True)
    spec = models.JSONField(default=dict)
    events_offset = models.BigIntegerField(default=0)  # bytes of events.jsonl already taken in
    step = models.PositiveIntegerField(default=0)
    n_steps = models.PositiveIntegerField(default=0)
    peak = models.JSONField(default=dict)  # the most memory that its process held: {"device": cpu or cuda, "bytes"}

    def __str__(self) -> str:
        return f"training run {self.pk} ({self.kind})"


class KeptStep(TimeStamped):
    """A policy as it was after a step of a round's training, kept and measured like the round's result."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="kept_steps")
    step = models.PositiveIntegerField()
    checkpoint = models.OneToOneField(Checkpoint, on_delete=models.PROTECT, related_name="kept_step")
    evaluation = models.JSONField(default=dict)  # like a round's
    result = models.JSONField(default=dict)  # like a round's; empty until it is measured
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="kept_step_once")]

    def __str__(self) -> str:
        return f"step {self.step} of training run {self.run_id}"


class CounterfactualState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Counterfactual(TimeStamped):
    """A round trained again without people's overrides, and measured on the same prompts."""

    round = models.OneToOneField(Round, on_delete=models.CASCADE, related_name="counterfactual")
    run = models.OneToOneField(TrainingRun, on_delete=models.CASCADE, related_name="counterfactual")
    group = models.ForeignKey(JobGroup, null=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=10, choices=CounterfactualState.choices, default=CounterfactualState.RUNNING)
    n_changed = models.PositiveIntegerField(default=0)  # labels that it has otherwise, or not at all
    evaluation = models.JSONField(default=dict)  # like a round's
    result = models.JSONField(default=dict)  # like a round's
    error = models.TextField(blank=True)
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return f"round {self.round_id} without overrides"


class Metric(models.Model):
    """A value of a run at a step, under TRL's names."""

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="metrics")
    step = models.PositiveIntegerField()
    values = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="metric_once_per_step")]

    def __str__(self) -> str:
        return f"{self.run_id} step {self.step}"
