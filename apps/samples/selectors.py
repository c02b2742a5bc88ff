"""Reads of completions and comparisons."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet

from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison, Completion, SamplingRun


def completion_list(
    project: Project, *, model_name: str = "", run_id: int | None = None, search: str = "", split: str = ""
) -> QuerySet[Completion]:
    """Return completions with their prompts, those of one prompt together."""
    completions = (
        Completion.objects.filter(ready(), project=project)
        .select_related("prompt", "run", "run__checkpoint")
        .order_by("prompt_id", "run_id", "index")
    )
    if model_name:
        completions = completions.filter(model_name=model_name)
    if run_id is not None:
        completions = completions.filter(run_id=run_id)
    if split:
        completions = completions.filter(prompt__split=split)
    if search:
        completions = completions.filter(Q(text__icontains=search) | Q(prompt__text__icontains=search))
    return completions


def comparison_list(project: Project) -> QuerySet[Comparison]:
    return Comparison.objects.filter(ready(), project=project).order_by("id")


def sampling_run_list(project: Project) -> QuerySet[SamplingRun]:
    return (
        SamplingRun.objects.filter(project=project)
        .select_related("checkpoint", "prompt_set", "group")
        .annotate(n_completions=Count("completions"))
        .order_by("-id")
    )


def model_names(project: Project) -> list[str]:
    return list(
        Completion.objects.filter(ready(), project=project)
        .exclude(model_name="")
        .order_by("model_name")
        .values_list("model_name", flat=True)
        .distinct()
    )
