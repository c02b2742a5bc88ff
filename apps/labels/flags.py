"""Flags: single answers that an import calls desirable or not, without comparing them with another."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, QuerySet

from apps.labels.gold_models import prompt_measures
from apps.labels.models import Score
from apps.labels.types import FLAGGED
from apps.projects.models import Project
from apps.prompts.models import ready


def flags_of(project: Project) -> QuerySet[Score]:
    """Return the flags that may be trained on, in order: the last one of each judge on each answer.

    None of evaluation prompts, nor of prompts with a gold item.
    """
    rows = Score.objects.filter(
        ready("completion__prompt__"),
        flag=True,
        state="ok",
        completion__project=project,
        completion__prompt__split="train",
    )
    later = Score.objects.filter(
        flag=True, judge=OuterRef("judge"), completion=OuterRef("completion"), sample__gt=OuterRef("sample")
    )
    return rows.filter(~prompt_measures(), ~Exists(later)).order_by("completion_id", "id")


def source_of(flag: Score) -> str:
    """Name the source of a label that is a flag, as `flag:JUDGE`."""
    return f"{FLAGGED}{flag.judge.name}"
