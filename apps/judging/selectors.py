"""Reads on judges and their verdicts."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, QuerySet

from apps.judging.attack_figures import AttackFigures, attack_figures
from apps.judging.figures import Figures, judge_figures
from apps.judging.models import AttackTrial
from apps.labels.models import Judge, JudgingRun, Verdict
from apps.labels.selectors import label_judge_name
from apps.labels.types import RETRIED_STATES
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison
from apps.samples.progress import GroupProgress, group_progress_of
from apps.samples.selectors import comparison_list
from prefloop.types import PrefloopError


class NoJudge(PrefloopError):
    """The project has no such judge."""


def judge_by_name(project: Project, name: str) -> Judge:
    """Return the newest version of the judge of this name; raises NoJudge with the existing names."""
    found = Judge.objects.filter(project=project, name=name, retired_at=None).order_by("-version").first()
    if found is None:
        names = sorted(set(Judge.objects.filter(project=project, retired_at=None).values_list("name", flat=True)))
        raise NoJudge(f"no judge {name!r} in project {project.slug}; there are: {', '.join(names) or 'none yet'}")
    return found


@dataclass(frozen=True, slots=True)
class JudgeCard:
    judge: Judge
    figures: Figures
    is_label_judge: bool
    attacks: AttackFigures | None = None


def judge_cards(project: Project) -> list[JudgeCard]:
    """Return the newest version of each judge in use with its figures, by criterion, the label judge first."""
    figures = judge_figures(project)
    newest: dict[str, Judge] = {}
    for judge in Judge.objects.filter(project=project, retired_at=None).select_related("endpoint", "checkpoint"):
        known = newest.get(judge.name)
        if known is None or judge.version > known.version:
            newest[judge.name] = judge
    attacked = set(AttackTrial.objects.filter(judge__project=project).values_list("judge_id", flat=True).distinct())
    labels = {name for name, judge in newest.items() if name == label_judge_name(project, judge.criterion_name)}
    names = sorted(newest, key=lambda name: (newest[name].criterion_name, name not in labels, name.lower()))
    return [
        JudgeCard(
            newest[name],
            figures.get(newest[name].pk, Figures()),
            name in labels,
            attack_figures(newest[name]) if newest[name].pk in attacked else None,
        )
        for name in names
    ]


def judge_versions(judge: Judge) -> QuerySet[Judge]:
    return (
        Judge.objects.filter(project_id=judge.project_id, name=judge.name)
        .annotate(n_verdicts=Count("verdicts"))
        .order_by("-version")
    )


def unjudged(judge: Judge, *, split: str = "") -> QuerySet[Comparison]:
    """Return the comparisons without a verdict of this judge."""
    said = Verdict.objects.filter(judge=judge, comparison_id=OuterRef("pk"))
    comparisons = comparison_list(judge.project).filter(~Exists(said))
    return comparisons.filter(prompt__split=split) if split else comparisons


def failed_only(judge: Judge) -> QuerySet[Comparison]:
    """Return the comparisons in which an order has only errors and unreadable replies."""
    read = Verdict.objects.filter(judge=judge, comparison_id=OuterRef("comparison_id"), order=OuterRef("order"))
    bad = Verdict.objects.filter(judge=judge, state__in=RETRIED_STATES).filter(~Exists(read.filter(state="ok")))
    return comparison_list(judge.project).filter(pk__in=bad.values("comparison_id"))


def verdict_list(judge: Judge, *, state: str = "") -> QuerySet[Verdict]:
    """Return a judge's verdicts, the latest first."""
    verdicts = Verdict.objects.filter(ready("comparison__"), judge=judge).select_related("comparison__prompt")
    if state:
        verdicts = verdicts.filter(state=state)
    return verdicts.order_by("-id")


@dataclass(frozen=True, slots=True)
class JudgingRow:
    """A judging run for pages: `n_done` of `n_wanted` comparisons have a verdict from this run."""

    run: JudgingRun
    n_wanted: int
    n_done: int
    progress: GroupProgress

    @property
    def key(self) -> tuple[int, int, str, int]:
        return (self.run.pk, self.n_done, self.progress.state, self.progress.n_ended)


def judging_rows(judge: Judge, *, limit: int = 10) -> list[JudgingRow]:
    runs = list(JudgingRun.objects.filter(judge=judge).select_related("group", "started_by").order_by("-id")[:limit])
    done = dict(
        Verdict.objects.filter(run__in=runs, judge=judge)
        .order_by()
        .values_list("run_id")
        .annotate(n=Count("comparison_id", distinct=True))
        .values_list("run_id", "n")
    )
    progress = group_progress_of(run.group for run in runs)
    return [
        JudgingRow(
            run=run,
            n_wanted=run.n_comparisons,
            n_done=done.get(run.pk, 0),
            progress=progress.get(run.group_id or 0, GroupProgress(state="done")),
        )
        for run in runs
    ]
