"""Gold: what leads know of a pair, or of a single answer, and why. It measures people and judges."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet

from apps.core.models import TimeStamped
from apps.projects.models import Project
from apps.samples.models import Comparison, Completion


class GoldItem(TimeStamped):
    """A pair or an answer whose right label is known, why, and who said so.

    The right label of a pair is `Comparison.gold`; a gold pair that was imported without a note has no such row. The
    right rating of an answer is here: `values` by the items of `rubric`, as a `Rating` has them.
    """

    comparison = models.OneToOneField(Comparison, null=True, on_delete=models.CASCADE, related_name="gold_item")
    completion = models.OneToOneField(Completion, null=True, on_delete=models.CASCADE, related_name="gold_item")
    rubric = models.JSONField(default=list)
    values = models.JSONField(default=dict)
    note = models.TextField(blank=True)  # shown to people after they have answered it in practice
    # whether people practise on it before they get real work; then it is never given among this
    for_practice = models.BooleanField(default=False)
    marked_at = models.DateTimeField(auto_now=True)  # last
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        app_label = "labels"
        constraints = [
            models.CheckConstraint(
                condition=Q(comparison__isnull=False, completion__isnull=True)
                | Q(comparison__isnull=True, completion__isnull=False),
                name="gold_item_of_a_pair_or_an_answer",
            ),
        ]

    def __str__(self) -> str:
        return f"gold of {self.comparison or self.completion}"

    @property
    def answer(self) -> Completion:
        """The answer whose right rating this is."""
        if self.completion is None:
            raise ValueError(f"gold item {self.pk} is a pair")
        return self.completion

    @property
    def outcome(self) -> str:
        """The right label of a pair; of an answer there is none."""
        return "" if self.comparison is None else self.comparison.gold


def gold_ratings_of(project: Project) -> QuerySet[GoldItem]:
    """Return the answers of a project whose right rating is known."""
    return GoldItem.objects.filter(completion__project=project)


def prompt_measures(prompt: str = "completion__prompt") -> Q:
    """Say in SQL whether a row's prompt (found at `prompt`) has a held-out pair or an answer whose right rating is
    known: ratings of its answers are not trained on.
    """
    pairs = Comparison.objects.filter(prompt=OuterRef(prompt), held_out=True)
    answers = Completion.objects.filter(prompt=OuterRef(prompt), gold_item__isnull=False)
    return Q(Exists(pairs)) | Q(Exists(answers))
