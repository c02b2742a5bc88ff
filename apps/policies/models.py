"""Weights on disk, and models on other servers."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.models import TimeStamped
from apps.projects.models import Project
from prefloop.judging.asking import CALLS_AT_ONCE


class Checkpoint(TimeStamped):
    """A directory of weights, complete and verified; `parent` is what it was trained from."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="checkpoints")
    name = models.CharField(max_length=120)
    role = models.CharField(max_length=8, choices=[("policy", "policy"), ("reward", "reward model")])
    path = models.CharField(max_length=500)  # relative to STORE_DIR
    fingerprint = models.CharField(max_length=64)  # sha256 of weights, config and tokenizer
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    recipe = models.CharField(max_length=40, blank=True)
    architecture = models.CharField(max_length=80, blank=True)
    n_parameters = models.BigIntegerField(null=True)
    n_bytes = models.BigIntegerField(default=0, db_default=0)  # of its files; 0: made before they were counted
    manifest = models.JSONField(default=dict)
    is_default = models.BooleanField(default=False)  # where sampling and new loops start
    # a person's word that it may be used; the weights it was given for never change
    approved_at = models.DateTimeField(null=True)
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    approval_note = models.TextField(blank=True)
    # since when data are deleted from which it learned, or a model that it was trained from
    learned_deleted_at = models.DateTimeField(null=True)
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
    """A served model. The key is encrypted and bound to its base URL: another URL deletes it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=120)
    base_url = models.CharField(max_length=500)
    model = models.CharField(max_length=200)
    encrypted_key = models.TextField(blank=True)
    capabilities = models.JSONField(default=dict)  # probed: what it was seen to do; biases of a simulated one
    is_simulated = models.BooleanField(default=False)
    input_price = models.DecimalField(max_digits=12, decimal_places=4, default=0)  # dollars per million tokens
    output_price = models.DecimalField(max_digits=12, decimal_places=4, default=0)
    cap_tokens = models.PositiveBigIntegerField(null=True)  # null: no cap
    cap_cost = models.DecimalField(max_digits=12, decimal_places=4, null=True)  # dollars
    at_once = models.PositiveSmallIntegerField(default=CALLS_AT_ONCE)  # calls that one job has in flight
    # What was spent and what calls in flight may spend, in tokens and in 1e-9 dollars. A call whose worker was killed
    # stays counted at the most that it could cost: it may have been charged.
    committed_tokens = models.PositiveBigIntegerField(default=0)
    committed_nanos = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="endpoint_name_once")]

    def __str__(self) -> str:
        return self.name


class Spend(TimeStamped):
    """The ledger of an endpoint: what a batch of calls used. Only ever appended."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="spends")
    purpose = models.CharField(max_length=40)  # judging | sampling | trial | attack | alignment | probe
    note = models.CharField(max_length=200, blank=True)
    n_calls = models.PositiveIntegerField()
    prompt_tokens = models.PositiveBigIntegerField()
    completion_tokens = models.PositiveBigIntegerField()
    nanos = models.PositiveBigIntegerField()  # 1e-9 dollars, at the prices of then
    n_estimated = models.PositiveIntegerField(default=0)  # calls that told no usage: counted at the most they could be

    def __str__(self) -> str:
        return f"{self.n_calls} calls of {self.endpoint_id}"
