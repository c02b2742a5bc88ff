"""The job queue. A broker only notifies workers (DESIGN 5, ARCHITECTURE.md "Jobs")."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from apps.core.models import TimeStamped
from apps.jobs.pace import pace_words
from apps.projects.models import Project

QUEUES = ("cpu", "gpu")  # of workers; what needs a model's weights goes to the second


class JobState(models.TextChoices):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class Turn(models.IntegerChoices):
    """Which of a project's waiting jobs is taken first: the lowest, and of equal ones the oldest.

    Whoever queues a job says whether somebody waits for it.
    """

    PERSON = 0  # a person waits in front of a page
    SOON = 1  # other work waits for it, and it takes seconds
    WORK = 2  # sampling, judging, training


TERMINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class FailureClass(models.TextChoices):
    """The cause of a failure."""

    USER_CONFIG = "user_config"
    DATA = "data"
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_DISK = "out_of_disk"
    JUDGE_UNREACHABLE = "judge_unreachable"
    JUDGE_REFUSED = "judge_refused"
    CAP_REACHED = "cap_reached"  # of an endpoint's spending, or a quota: it goes on when somebody raises it
    WORKER_LOST = "worker_lost"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


class JobGroup(TimeStamped):
    """Jobs with a common follow-up: whoever brings `open_count` to zero inserts it, once."""

    project = models.ForeignKey(Project, null=True, on_delete=models.CASCADE, related_name="job_groups")
    name = models.CharField(max_length=120)
    unique_key = models.CharField(max_length=200, null=True, unique=True)
    open_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    cancelled_count = models.PositiveIntegerField(default=0)
    follow_up_kind = models.CharField(max_length=60, blank=True)
    follow_up_queue = models.CharField(max_length=12, default="cpu", choices=[("gpu", "gpu"), ("cpu", "cpu")])
    follow_up_payload = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class Job(TimeStamped):
    project = models.ForeignKey(Project, null=True, on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=60)
    queue = models.CharField(max_length=12, choices=[("gpu", "gpu"), ("cpu", "cpu")])
    turn = models.PositiveSmallIntegerField(choices=Turn.choices, default=Turn.WORK, db_default=Turn.WORK)
    title = models.CharField(max_length=200, blank=True)
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=JobState.choices, default=JobState.QUEUED)
    unique_key = models.CharField(max_length=200, null=True, unique=True)
    group = models.ForeignKey(JobGroup, null=True, on_delete=models.CASCADE, related_name="jobs")
    follow_up_of = models.OneToOneField(JobGroup, null=True, on_delete=models.CASCADE, related_name="follow_up")
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="retries")
    # job_by_person begins with it
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=5)
    token = models.UUIDField(null=True)  # the fencing token: a writer without the current one writes nothing
    worker = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True)
    run_after = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cards = models.PositiveSmallIntegerField(default=0, db_default=0)  # that it wants at once
    memory = models.PositiveBigIntegerField(default=0, db_default=0)  # bytes, as the planner says; 0: unknown
    step = models.PositiveIntegerField(default=0)
    n_steps = models.PositiveIntegerField(default=0)
    message = models.CharField(max_length=300, blank=True)
    seconds_each = models.FloatField(null=True)  # a step, in the phase under way
    result = models.JSONField(default=dict)
    failure_class = models.CharField(max_length=20, blank=True, choices=FailureClass.choices)
    error = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["queue", "state", "id"], name="job_claim"),
            models.Index(fields=["project", "queue", "state", "turn", "id"], name="job_next"),
            models.Index(fields=["project", "queue", "started_at"], name="job_served"),
            models.Index(fields=["state", "lease_until"], name="job_reconcile"),
            models.Index(fields=["started_by", "state"], name="job_by_person"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(attempt__lte=F("max_attempts")), name="job_attempts_capped"),
        ]

    def __str__(self) -> str:
        return f"job {self.pk} {self.kind} {self.state}"

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def pace(self) -> str:
        """How fast the job goes, and the time left, in words; "" where that can't be said."""
        return "" if self.state != JobState.RUNNING else pace_words(self.seconds_each, self.n_steps - self.step)


class JobEvent(TimeStamped):
    """One line of a job's log or one change of its state. Only ever appended."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20)  # state | log | warning
    text = models.TextField()
    data = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Worker(models.Model):
    """One worker process; its consumer writes `last_loop_at`, so that a stuck one can be seen."""

    name = models.CharField(max_length=120, unique=True)
    queue = models.CharField(max_length=12)
    pid = models.PositiveIntegerField()
    host = models.CharField(max_length=120)
    cards = models.PositiveSmallIntegerField(null=True)  # that it owns; null: it runs whatever comes
    started_at = models.DateTimeField()
    last_loop_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
