"""Studies: a project's runs of a declared study (`prefloop/studies`), and what each measured."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import TimeStamped
from apps.projects.models import Project
from apps.training.models import Loop

MAX_SEEDS = 50


class StudyState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # by a person, or its budget is spent; it can go on
    FAILED = "failed"


class Study(TimeStamped):
    """A declared study in a project. There is one of each name: to run it again continues it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="studies")
    name = models.CharField(max_length=60)
    n_seeds = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=StudyState.choices, default=StudyState.RUNNING)
    stop_at = models.DateTimeField(null=True)  # no run starts after that
    error = models.TextField(blank=True)
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="study_once")]

    def __str__(self) -> str:
        return f"study {self.name}"


class StudyRun(TimeStamped):
    """One run of a study: a setting of an arm with a seed. It has ended when its points are written."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="runs")
    arm = models.CharField(max_length=60)
    setting = models.CharField(max_length=300, blank=True)  # the swept keys in words
    seed = models.PositiveIntegerField()
    loop = models.ForeignKey(Loop, null=True, on_delete=models.SET_NULL, related_name="study_runs")
    points = models.JSONField(default=list)  # of `prefloop.studies.results.Point`, from the start on
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["study", "arm", "setting", "seed"], name="study_run_once"),
        ]

    def __str__(self) -> str:
        return f"{self.arm} {self.setting} with seed {self.seed} of study {self.study_id}"
