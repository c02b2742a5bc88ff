"""Answers, and the comparisons made from them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length

from apps.core.models import TimeStamped
from apps.jobs.models import JobGroup
from apps.policies.models import Checkpoint, Endpoint
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, PromptSet

EDIT = "edit"  # the origin of a comparison of an edited answer with the one that it was made of


class Engine(models.TextChoices):
    """What samples: transformers in the worker, a vLLM server that the worker starts, or a model on another server."""

    AUTO = "auto", "auto"  # until the worker that draws first has chosen
    TRANSFORMERS = "transformers", "transformers"
    VLLM = "vllm", "vLLM"
    ENDPOINT = "endpoint", "endpoint"


class SamplingRun(TimeStamped):
    """n answers of one checkpoint (or endpoint) for every chosen prompt of a set."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="sampling_runs")
    checkpoint = models.ForeignKey(Checkpoint, null=True, on_delete=models.PROTECT, related_name="sampling_runs")
    endpoint = models.ForeignKey(Endpoint, null=True, on_delete=models.PROTECT, related_name="sampling_runs")
    engine = models.CharField(max_length=12, choices=Engine.choices, default=Engine.TRANSFORMERS)
    engine_why = models.CharField(max_length=200, blank=True)  # where the worker chose it
    api = models.CharField(max_length=12, blank=True)  # how an endpoint is asked: chat | completions
    prompt_set = models.ForeignKey(PromptSet, null=True, on_delete=models.SET_NULL, related_name="sampling_runs")
    prompt_ids = models.JSONField(default=list)  # frozen when the run is made, so that a resume asks for the same
    n = models.PositiveSmallIntegerField()
    temperature = models.FloatField(default=1.0)
    top_p = models.FloatField(default=1.0)
    top_k = models.PositiveIntegerField(default=0)
    max_tokens = models.PositiveIntegerField(default=128)
    seed = models.BigIntegerField(default=0)
    purpose = models.CharField(max_length=40, default="manual")  # manual | loop | evaluation
    group = models.ForeignKey(JobGroup, null=True, on_delete=models.SET_NULL, related_name="sampling_runs")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(n__gte=1), name="sampling_run_n_positive"),
            models.CheckConstraint(
                condition=Q(checkpoint__isnull=False, endpoint__isnull=True)
                | Q(checkpoint__isnull=True, endpoint__isnull=False),
                name="sampling_run_one_source",
            ),
            models.CheckConstraint(
                condition=Q(engine="endpoint", endpoint__isnull=False)
                | (~Q(engine="endpoint") & Q(endpoint__isnull=True)),
                name="sampling_run_engine_fits",
            ),
        ]

    def __str__(self) -> str:
        return f"sampling run {self.pk}"

    @property
    def source_name(self) -> str:
        """The name of the answering model; costs a query if neither is loaded."""
        source = self.checkpoint or self.endpoint
        return source.name if source else ""


class Completion(TimeStamped):
    """One answer. `logp_sum`: nats at temperature 1, over `token_ids` (EOS included).

    What an endpoint does not return is not stored: no ids and no log-prob; what it does return is in `metadata`.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="completions")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="completions")
    run = models.ForeignKey(SamplingRun, null=True, on_delete=models.PROTECT, related_name="completions")
    batch = models.ForeignKey(ImportBatch, null=True, on_delete=models.CASCADE, related_name="completions")
    index = models.PositiveIntegerField()  # k-th answer of the run, or position in the record
    text = models.TextField(blank=True)
    # kept by the database, so that a report of 100,000 pairs reads an index and no texts
    n_characters = models.GeneratedField(
        expression=Length("text"), output_field=models.PositiveIntegerField(), db_persist=True
    )
    token_ids = models.JSONField(default=list)
    logp_sum = models.FloatField(null=True)
    seed = models.BigIntegerField(null=True)
    finished = models.BooleanField(default=True)
    model_name = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict)
    # the answer that a person edited, and who, as votes name people; nobody's edit has neither
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="edits", db_index=False)
    editor = models.CharField(max_length=150, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run", "prompt", "index"], condition=Q(run__isnull=False), name="completion_once_per_run"
            ),
            models.UniqueConstraint(
                fields=["prompt", "index"], condition=Q(run__isnull=True), name="completion_once_per_record"
            ),
            models.CheckConstraint(
                condition=Q(parent__isnull=True, editor="")
                | (Q(parent__isnull=False, run__isnull=True) & ~Q(editor="")),
                name="completion_edited_by_somebody",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "model_name", "n_characters", "id"], name="completion_by_model"),
            models.Index(fields=["parent"], condition=Q(parent__isnull=False), name="completion_edits"),
        ]

    @property
    def is_cut(self) -> bool:
        """Whether it reached the longest answer before it ended."""
        return not self.finished

    def __str__(self) -> str:
        return self.text[:80]


class Comparison(TimeStamped):
    """Two completions of one prompt, in canonical order (lower id first), once.

    `held_out` marks gold items, evaluation prompts and comparisons made for an evaluation: none of them may enter a
    training set. `same_answers` marks equal texts: nobody is asked about them, and labels on them are kept but are not
    preferences. `for_people`: whether Annotate shows it as a pair.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="comparisons")
    # comparison_once begins with it
    first = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="+", db_index=False)
    second = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="+")
    batch = models.ForeignKey(ImportBatch, null=True, on_delete=models.CASCADE, related_name="comparisons")
    # import | seed | manual | edit | loop:ID:ROUND | evaluation:ID:ROUND (of a loop) | evaluation (of two checkpoints)
    origin = models.CharField(max_length=40, default="manual")
    held_out = models.BooleanField(default=False)
    same_answers = models.BooleanField(default=False)  # both are one text (prefloop.answers): see `comparable`
    for_people = models.BooleanField(default=True)  # an edit never; of an evaluation's, those that were chosen
    gold = models.CharField(max_length=8, blank=True)  # an Outcome, or empty: not known
    # the pair with whose seat this one is asked: both are of one set of answers (apps/rankings/services/sets.py)
    asked_with = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="asked_here", db_index=False
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["first", "second"], name="comparison_once"),
            models.CheckConstraint(condition=Q(first_id__lt=F("second_id")), name="comparison_canonical_order"),
            models.CheckConstraint(condition=Q(gold="") | Q(held_out=True), name="comparison_gold_is_held_out"),
            models.CheckConstraint(
                condition=~Q(origin__startswith="evaluation") | Q(held_out=True),
                name="comparison_of_evaluation_is_held_out",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "origin"], name="comparison_by_origin"),
            models.Index(fields=["project"], condition=Q(same_answers=True), name="comparison_of_same_answers"),
            models.Index(
                fields=["project"],
                condition=Q(origin__startswith="evaluation", for_people=True),
                name="comparison_people_measure",
            ),
            models.Index(
                fields=["asked_with"], condition=Q(asked_with__isnull=False), name="comparison_asked_with_another"
            ),
        ]

    def __str__(self) -> str:
        return f"comparison {self.pk}"


def comparable(prefix: str = "") -> Q:
    """The filter that hides comparisons of two equal answers: neither can be better. Prefix: the path to them."""
    return Q(**{f"{prefix}same_answers": False})


def annotatable(prefix: str = "") -> Q:
    """The filter for comparisons that people may get in Annotate. Prefix: the path to the comparisons."""
    return comparable(prefix) & Q(**{f"{prefix}for_people": True})


class AnswerExposure(TimeStamped):
    """A person was shown another rating, or a score, of an answer: their rating of it would no longer be blind.

    Only apps/samples/exposure.py writes and reads it.
    """

    # answer_exposure_once begins with it
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="answer_exposures", db_index=False
    )
    completion = models.ForeignKey(Completion, on_delete=models.CASCADE, related_name="exposures")
    where = models.CharField(max_length=60, blank=True)  # the route that told it first

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "completion"], name="answer_exposure_once")]

    def __str__(self) -> str:
        return f"{self.user_id} was shown a rating of answer {self.completion_id}"


class Exposure(TimeStamped):
    """A person was shown another label of a comparison: their vote on it would no longer be blind.

    Only apps/samples/exposure.py writes and reads it.
    """

    # exposure_once serves both ways of asking: it begins with the person, the foreign key's index with the comparison
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="exposures", db_index=False
    )
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="exposures")
    where = models.CharField(max_length=60, blank=True)  # the route that told it first

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "comparison"], name="exposure_once")]

    def __str__(self) -> str:
        return f"{self.user_id} was shown a label of {self.comparison_id}"
