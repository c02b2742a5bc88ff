"""What a deletion would take away, counted before it is done. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from apps.labels.exclusions import exclusion_effect, people_who_said
from apps.labels.models import Override, Rating, Score, Verdict, Vote
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.samples.models import Comparison, Completion
from apps.training.models import Snapshot, SnapshotItem, TrainingRun


@dataclass(frozen=True, slots=True)
class Effect:
    """How much goes. `learned`: names of checkpoints that learned from it, which stay and are marked."""

    n_prompts: int = 0
    n_answers: int = 0
    n_comparisons: int = 0
    n_votes: int = 0
    n_decisions: int = 0
    n_ratings: int = 0
    n_verdicts: int = 0
    n_training_sets: int = 0
    n_checkpoints: int = 0  # that are deleted themselves
    n_labels_changed: int = 0  # labels that say something else afterwards, or are gone
    learned: tuple[str, ...] = ()


def prompt_effect(prompt: Prompt) -> Effect:
    pairs = Comparison.objects.filter(prompt=prompt)
    sets = Snapshot.objects.filter(items__comparison__in=pairs).distinct()
    return Effect(
        n_prompts=1,
        n_answers=Completion.objects.filter(prompt=prompt).count(),
        n_comparisons=pairs.count(),
        n_votes=Vote.objects.filter(comparison__in=pairs).count(),
        n_decisions=Override.objects.filter(comparison__in=pairs).count(),
        n_ratings=Rating.objects.filter(completion__prompt=prompt).count(),
        n_verdicts=Verdict.objects.filter(comparison__in=pairs).count()
        + Score.objects.filter(completion__prompt=prompt).count(),
        n_training_sets=sets.count(),
        learned=_learned(sets),
    )


def person_effect(project: Project, rater: str, *, labels: str) -> Effect:
    """Count what a person said; with labels kept under a pseudonym, nothing but the name goes."""
    votes = Vote.objects.filter(comparison__project=project, rater=rater)
    decisions = Override.objects.filter(comparison__project=project, rater=rater)
    counts: dict[str, Any] = {
        "n_votes": votes.count(),
        "n_decisions": decisions.count(),
        "n_ratings": Rating.objects.filter(completion__project=project, rater=rater).count(),
    }
    if labels == "pseudonym" or rater not in people_who_said(project):
        return Effect(**counts)
    ids = {f"vote:{pk}" for pk in votes.values_list("pk", flat=True)}
    ids |= {f"override:{pk}" for pk in decisions.values_list("pk", flat=True)}
    items = SnapshotItem.objects.filter(
        Q(comparison__in=votes.values("comparison")) | Q(comparison__in=decisions.values("comparison"))
    )
    found = {key for key, label_ids in items.values_list("snapshot", "label_ids") if ids & set(label_ids)}
    sets = Snapshot.objects.filter(pk__in=found)
    edited = Completion.objects.filter(project=project, editor=rater)
    return Effect(
        **counts,
        n_answers=edited.count(),
        n_training_sets=len(found),
        n_labels_changed=exclusion_effect(project=project, rater=rater, since=None).n_changed,
        learned=_learned(sets),
    )


def project_effect(project: Project) -> Effect:
    return Effect(
        n_prompts=Prompt.objects.filter(project=project).count(),
        n_answers=Completion.objects.filter(project=project).count(),
        n_comparisons=Comparison.objects.filter(project=project).count(),
        n_votes=Vote.objects.filter(comparison__project=project).count(),
        n_decisions=Override.objects.filter(comparison__project=project).count(),
        n_ratings=Rating.objects.filter(completion__project=project).count(),
        n_verdicts=Verdict.objects.filter(judge__project=project).count()
        + Score.objects.filter(judge__project=project).count(),
        n_training_sets=Snapshot.objects.filter(project=project).count(),
        n_checkpoints=Checkpoint.objects.filter(project=project).count(),
    )


def _learned(sets: Iterable[Snapshot]) -> tuple[str, ...]:
    """Name the checkpoints that runs on these sets made, and those that were trained from them."""
    found = set(TrainingRun.objects.filter(snapshot__in=sets, output__isnull=False).values_list("output", flat=True))
    new = found
    while new:
        new = set(Checkpoint.objects.filter(parent__in=new).values_list("pk", flat=True)) - found
        found |= new
    return tuple(Checkpoint.objects.filter(pk__in=found).order_by("id").values_list("name", flat=True))
