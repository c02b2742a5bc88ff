"""Prompts, their sets, and the batch of an import."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from apps.core.models import TimeStamped
from apps.projects.models import Project


class ImportBatch(TimeStamped):
    """All rows of one import belong to a batch; queries ignore them until it is `ready`."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="import_batches")
    name = models.CharField(max_length=200)
    format = models.CharField(max_length=20)
    sha256 = models.CharField(max_length=64, blank=True)
    n_records = models.PositiveIntegerField(default=0)
    n_unchanged = models.PositiveIntegerField(default=0)
    added = models.JSONField(default=dict)  # to records that were there: {"records": 2, "votes": 5, …}
    ready = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return self.name


def ready(prefix: str = "") -> models.Q:
    """The filter that hides rows of an import that is still being written. Prefix: the path to the batch's owner."""
    # a few ids found once, rather than a join that looks up the batch of every row
    done = ImportBatch.objects.filter(ready=True).values("pk")
    return models.Q(**{f"{prefix}batch__isnull": True}) | models.Q(**{f"{prefix}batch__in": done})


class PromptSet(TimeStamped):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompt_sets")
    name = models.CharField(max_length=120)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="prompt_set_name_once")]

    def __str__(self) -> str:
        return self.name


class Prompt(TimeStamped):
    """One prompt: `text` for people; also `messages` if it is a conversation."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts")
    prompt_set = models.ForeignKey(PromptSet, on_delete=models.CASCADE, related_name="prompts")
    batch = models.ForeignKey(ImportBatch, null=True, on_delete=models.CASCADE, related_name="prompts")
    external_id = models.CharField(max_length=200)
    text = models.TextField()
    messages = models.JSONField(null=True)
    split = models.CharField(max_length=8, default="train", choices=[("train", "train"), ("eval", "eval")])
    metadata = models.JSONField(default=dict)
    record_sha256 = models.CharField(max_length=64, blank=True)  # of the record it was imported from

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "external_id"], name="prompt_external_id_once")]
        indexes = [models.Index(fields=["project", "prompt_set", "split"], name="prompt_by_set")]

    def __str__(self) -> str:
        return self.text[:80]
