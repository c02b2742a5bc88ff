"""Models only for import and export: how a record was spelled, and uploaded files.

An import's batch is stored with its prompts (apps.prompts).
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import TimeStamped
from apps.jobs.models import Job
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt


class RecordSpelling(models.Model):
    """What the columns of an imported record don't keep, stored so that its export gives the same bytes.

    `kept`: "split" where train was written out, "votes" and "overrides" the times as they were written, "verdicts"
    those that had a probability and no choice; keys are places in the record's own lists.
    """

    prompt = models.OneToOneField(Prompt, on_delete=models.CASCADE, related_name="spelling")
    kept = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"spelling of {self.prompt_id}"


class ImportNote(models.Model):
    """What an import left out of its file although it could matter, with a count."""

    batch = models.ForeignKey(ImportBatch, on_delete=models.CASCADE, related_name="notes")
    text = models.CharField(max_length=300)
    n = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.text}: {self.n:,}"


class Upload(TimeStamped):
    """An uploaded file, on disk under a random name, until it is imported or removed. Never served."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="uploads")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    token = models.CharField(max_length=64, unique=True)  # the name on disk, chosen by us
    name = models.CharField(max_length=200)  # what the person called it; for people's eyes only
    n_bytes = models.PositiveBigIntegerField()
    mapping = models.JSONField(default=dict)  # which column holds what, where a person said so
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    batch = models.ForeignKey(ImportBatch, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return self.name
