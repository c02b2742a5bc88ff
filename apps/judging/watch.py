"""Watching the label judge: telling once when its agreement with people is surely below the project's bound."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from apps.events.telling import tell
from apps.jobs.models import Turn
from apps.jobs.services import job_enqueue
from apps.judging.figures import Figures, judge_figures
from apps.labels.models import Judge
from apps.labels.selectors import label_judge
from apps.projects.models import Project

EVERY = timedelta(minutes=5)


def watches_start(now: datetime) -> None:
    """Start a look at the label judge of each project with a bound, every few minutes; once, by whoever is first."""
    due = Q(judge_watched_at=None) | Q(judge_watched_at__lte=now - EVERY)
    for project in Project.objects.filter(due, judge_bound__isnull=False):
        with transaction.atomic():
            if Project.objects.filter(due, pk=project.pk).update(judge_watched_at=now):
                job_enqueue(
                    kind="judging.watch",
                    turn=Turn.SOON,
                    queue="cpu",
                    payload={},
                    project=project,
                    title="Look at the label judge",
                )


def judge_watch(*, project: Project, now: datetime) -> bool:
    """Compare the label judge of each criterion with the bound; return whether one's whole interval lies below.

    Told once, when it begins: a judge that recovers and falls again is told again.
    """
    judges = [label_judge(project, criterion) for criterion in ("", *project.known_criteria)]
    return any([_is_below(judge, project, now) for judge in judges if judge is not None])


def _is_below(judge: Judge, project: Project, now: datetime) -> bool:
    if project.judge_bound is None:
        return False
    share = judge_figures(project).get(judge.pk, Figures()).agreement
    below = share.rate is not None and share.high is not None and share.high < project.judge_bound
    with transaction.atomic():
        if not below:
            Judge.objects.filter(pk=judge.pk).exclude(below_since=None).update(below_since=None)
        elif Judge.objects.filter(pk=judge.pk, below_since=None).update(below_since=now):
            tell(
                "judge.below_bound",
                project,
                judge=judge.pk,
                name=judge.name,
                version=judge.version,
                agreement=share.rate,
                ci95=[share.low, share.high],
                bound=project.judge_bound,
                n=share.n_comparisons,
            )
    return below
