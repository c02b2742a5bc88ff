"""The recipes that the gallery shows first: two or three that suit what the project has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext_noop

from apps.labels.models import Judge
from apps.labels.selectors import preferences
from apps.projects.models import Project

MOST = 3
# what the project has: the recipe, and what it does with it; without the recipe's name, which names its own card
SUGGESTED = {
    "labels": ("dpo", gettext_noop("Learn from the labels that the project has")),
    "judge": ("oaif-dpo", gettext_noop("Let a judge label fresh answers in every training step")),
    "rounds": ("iterative-dpo", gettext_noop("Sample, label and train in rounds, with people's corrections")),
    "scores": ("grpo", gettext_noop("Learn from scores, such as those of rules")),
}


@dataclass(frozen=True, slots=True)
class Suggestion:
    recipe: str
    why: str


def suggestions(project: Project, startable: Sequence[str]) -> list[Suggestion]:
    """Return what suits what the project has, of the recipes that can start now."""
    judges = [judge for judge in Judge.objects.filter(project=project, retired_at=None) if judge.declared.asked]
    has = {
        "labels": preferences().filter(comparison__project=project).exists(),
        "judge": bool(judges),
        "scores": bool(project.world) or any(judge.scale_is_shared for judge in judges),
        "rounds": True,
    }
    fitting = [SUGGESTED[what] for what, is_there in has.items() if is_there]
    return [Suggestion(recipe, why) for recipe, why in fitting if recipe in startable][:MOST]
