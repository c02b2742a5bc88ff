"""Weights on disk, and models served by others."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.projects.models import Project


class Checkpoint(TimeStamped):
    """A directory of weights that is complete and verified; `parent` is what it was trained from."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="checkpoints")
    name = models.CharField(max_length=120)
    role = models.CharField(max_length=8, choices=[("policy", "policy"), ("reward", "reward model")])
    path = models.CharField(max_length=500)  # relative to STORE_DIR
    fingerprint = models.CharField(max_length=64)  # sha256 of weights, config and tokenizer
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    recipe = models.CharField(max_length=40, blank=True)
    architecture = models.CharField(max_length=80, blank=True)
    n_parameters = models.BigIntegerField(null=True)
    manifest = models.JSONField(default=dict)
    is_default = models.BooleanField(default=False)  # where sampling and new loops start
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="checkpoint_name_once"),
            models.UniqueConstraint(
                fields=["project", "role"], condition=Q(is_default=True), name="checkpoint_one_default_per_role"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Endpoint(TimeStamped):
    """A served model. The key is encrypted and bound to its base URL: another URL wipes it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=120)
    base_url = models.CharField(max_length=500)
    model = models.CharField(max_length=200)
    encrypted_key = models.TextField(blank=True)
    capabilities = models.JSONField(default=dict)
    is_simulated = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="endpoint_name_once")]

    def __str__(self) -> str:
        return self.name
