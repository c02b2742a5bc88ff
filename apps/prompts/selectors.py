"""Reads of prompts."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Count, Q, QuerySet

from apps.core.ids import among
from apps.projects.models import Project
from apps.prompts.models import Prompt, PromptSet, ready
from prefloop.recipes.parts import Prompts
from prefloop.types import PrefloopError

SELF_INSTRUCT = "self-instruct"  # the set of prompts that policies wrote, and the `origin` in their metadata


class NoSuchPromptSet(PrefloopError):
    """The project has no prompt set of this name."""


def prompt_list(project: Project, *, set_name: str = "", split: str = "", search: str = "") -> QuerySet[Prompt]:
    """Return the project's prompts that are not part of an unfinished import, oldest first."""
    prompts = Prompt.objects.filter(ready(), project=project).select_related("prompt_set").order_by("id")
    if set_name:
        prompts = prompts.filter(prompt_set__name=set_name)
    if split:
        prompts = prompts.filter(split=split)
    if search:
        prompts = prompts.filter(Q(text__icontains=search) | Q(external_id__icontains=search))
    return prompts


def given_prompts(project: Project, *, split: str = "") -> QuerySet[Prompt]:
    """Return the prompts that people gave the project, without those that a policy wrote for its own loop."""
    own = Q(metadata__origin=SELF_INSTRUCT)
    return prompt_list(project, split=split).filter(Q(metadata__origin__isnull=True) | ~own)


def chosen_prompts(project: Project, wanted: Prompts, *, split: str = "") -> QuerySet[Prompt]:
    """Return the given prompts that a recipe uses: those in its sets whose metadata meets its filter.

    Raises NoSuchPromptSet for an unknown set.
    """
    rows = given_prompts(project, split=split)
    if wanted.set_names:
        rows = rows.filter(prompt_set__in=[prompt_set_by_name(project, name).pk for name in wanted.set_names])
    if wanted.where:
        condition = wanted.condition
        known = rows.values_list("id", "metadata").iterator()
        rows = rows.filter(pk__in=among(pk for pk, metadata in known if condition.holds(metadata)))
    return rows


def prompt_set_list(project: Project) -> QuerySet[PromptSet]:
    return (
        PromptSet.objects.filter(project=project)
        .annotate(
            n_train=Count("prompts", filter=Q(prompts__split="train") & ready("prompts__")),
            n_eval=Count("prompts", filter=Q(prompts__split="eval") & ready("prompts__")),
        )
        .order_by("id")
    )


def prompt_set_by_name(project: Project, name: str) -> PromptSet:
    found = PromptSet.objects.filter(project=project, name=name).first()
    if found is None:
        names = ", ".join(PromptSet.objects.filter(project=project).order_by("id").values_list("name", flat=True))
        raise NoSuchPromptSet(f"no prompt set {name!r} in project {project.slug}; there are: {names or 'none yet'}")
    return found


def completion_counts(prompt_ids: Iterable[int]) -> dict[int, int]:
    """Count the completions of each of these prompts (a page's worth)."""
    return dict(
        Prompt.objects.filter(pk__in=list(prompt_ids))
        .annotate(n_completions=Count("completions", filter=ready("completions__")))
        .values_list("id", "n_completions")
    )
