"""Running a study: its runs one after the other, each an ordinary loop, so that it can be killed and go on.

`study_advance` looks at what is stored and does the next thing: start a loop, have an ended one measured, or end the
study. It is called when a study is started, when one of its loops has ended, and when a run has been measured.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from apps.accounts.models import User
from apps.core.services import audit
from apps.jobs.clock import database_now
from apps.jobs.models import Job, Turn
from apps.jobs.services import job_enqueue, room_for_jobs
from apps.labels.models import Judge, Preference
from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_default
from apps.projects.models import Project
from apps.reports.models import MAX_SEEDS, Study, StudyRun, StudyState
from apps.training.loops.starting import loop_obstacle, loop_start
from apps.training.loops.steering import loop_resume
from apps.training.models import UNDER_WAY, Loop, LoopState, TrainingRun
from apps.training.rounds.labels import LOOP_ORIGIN
from apps.training.rounds.loop_judge import loop_judge
from prefloop.config import Value, apply_settings
from prefloop.recipes.catalogue import get_recipe
from prefloop.studies.catalogue import get_study
from prefloop.studies.declaration import Planned, Uses
from prefloop.studies.declaration import Study as Declared
from prefloop.types import PrefloopError

ADVANCE, MEASURE = "studies.advance", "studies.measure"


class StudyRefused(PrefloopError):
    """A study that can't run in this project, or a number that it can't have."""


def study_start(
    *,
    project: Project,
    name: str,
    n_seeds: int | None = None,
    budget_minutes: float | None = None,
    started_by: User | None = None,
    now: datetime,
) -> Study:
    """Start a study, or continue it: what is done stays, and more seeds are added to it.

    With a budget no run starts after so many minutes. Nothing is written if it can't run here. Raises UnknownStudy,
    StudyRefused, QuotaReached.
    """
    declared = get_study(name)
    seeds = declared.seeds if n_seeds is None else n_seeds
    if not 1 <= seeds <= MAX_SEEDS:
        raise StudyRefused(f"seeds must be between 1 and {MAX_SEEDS}, not {seeds}")
    if budget_minutes is not None and not budget_minutes > 0:
        raise StudyRefused(f"a budget must be a number of minutes above 0, not {budget_minutes:g}")
    if why := why_not(project, declared):
        raise StudyRefused(why)
    stop_at = now + timedelta(minutes=budget_minutes) if budget_minutes is not None else None
    going = {"n_seeds": seeds, "state": StudyState.RUNNING, "stop_at": stop_at, "error": "", "ended_at": None}
    with transaction.atomic():
        room_for_jobs(project.pk, started_by, [Turn.WORK])  # its jobs begin with one, and are not asked for later
        study, _ = Study.objects.update_or_create(
            project=project, name=name, defaults=going | {"started_by": started_by}
        )
        planned = [
            StudyRun(study=study, arm=one.arm.name, setting=one.setting, seed=one.seed)
            for one in declared.planned(seeds)
        ]
        StudyRun.objects.bulk_create(planned, ignore_conflicts=True)
        _resume_loops(study, started_by)
        audit(actor=started_by, verb="study started", target=str(study), project=project, data={"seeds": seeds})
        _enqueue(study)
    return study


def study_stop(*, study: Study, by: User | None, now: datetime) -> None:
    """Start no more runs. A loop that is under way ends by itself, and is measured when the study goes on."""
    with transaction.atomic():
        running = Study.objects.filter(pk=study.pk, state=StudyState.RUNNING)
        if running.update(state=StudyState.STOPPED, ended_at=now):
            audit(actor=by, verb="study stopped", target=str(study), project=study.project)


def why_not(project: Project, declared: Declared) -> str:
    """Say in one line why a study can't run in this project; "" if it can."""
    if declared.exact:
        return ""
    if checkpoint_default(project, "policy") is None:
        return "the project has no policy to start from: import one on the Policies page"
    for arm in declared.arms:
        if not arm.exact and not arm.after:
            obstacle = loop_obstacle(project, arm.made(arm.settings_swept()[0]))
            if obstacle is not None:
                return f"{arm.title}: {obstacle.text}"
    return ""


def study_advance(*, study_id: int, now: datetime) -> None:
    """Do the next thing that a running study needs."""
    with transaction.atomic():
        study = Study.objects.select_for_update(no_key=True).select_related("project").get(pk=study_id)
        if study.state != StudyState.RUNNING:
            return
        try:
            _next(study, now)
        except PrefloopError as error:
            study_fail(study_id=study_id, error=str(error), now=now)


def study_fail(*, study_id: int, error: str, now: datetime) -> None:
    """End a running study with what went wrong; it can be continued."""
    running = Study.objects.filter(pk=study_id, state=StudyState.RUNNING)
    running.update(state=StudyState.FAILED, error=error, ended_at=now)


def run_end(*, run: StudyRun, points: list[dict[str, Any]], now: datetime) -> None:
    """Write what a run measured, once, and go on with its study. Call it where the job is held."""
    with transaction.atomic():
        if StudyRun.objects.filter(pk=run.pk, ended_at=None).update(points=points, ended_at=now):
            _enqueue(run.study)


def loop_heard(loop_id: int) -> None:
    """Go on with a study, one of whose loops has ended."""
    rows = StudyRun.objects.filter(loop=loop_id, ended_at=None, study__state=StudyState.RUNNING)
    for run in rows.select_related("study__project"):
        _enqueue(run.study)


def job_failed(job_id: int, failure: str, error: str) -> None:
    """End the study whose next run, or whose measuring, has failed for good: by an error or by its worker's death."""
    job = Job.objects.get(pk=job_id)
    if job.kind == ADVANCE:
        study_fail(study_id=int(job.payload["study"]), error=error, now=database_now())
    elif job.kind == MEASURE:
        for run in StudyRun.objects.filter(pk=job.payload["run"], ended_at=None):
            study_fail(study_id=run.study_id, error=error, now=database_now())


def _enqueue(study: Study) -> None:
    job_enqueue(
        kind=ADVANCE,
        turn=Turn.SOON,
        queue="cpu",
        payload={"study": study.pk},
        project=study.project,
        title=f"Study {study.name}: next run",
    )


def _next(study: Study, now: datetime) -> None:
    declared = get_study(study.name)
    rows = {
        (row.arm, row.setting, row.seed): row
        for row in StudyRun.objects.filter(study=study).filter(Q(ended_at=None) | ~Q(loop=None)).select_related("loop")
    }
    for planned in declared.planned(study.n_seeds):
        run = rows.get((planned.arm.name, planned.setting, planned.seed))
        if run is None or run.ended_at is not None:
            continue
        if run.loop is None and study.stop_at is not None and now >= study.stop_at:
            Study.objects.filter(pk=study.pk).update(state=StudyState.STOPPED, ended_at=now)
            return
        _go_on(study, planned, run, rows)
        return
    Study.objects.filter(pk=study.pk).update(state=StudyState.DONE, ended_at=now)


def _go_on(study: Study, planned: Planned, run: StudyRun, rows: dict[tuple[str, str, int], StudyRun]) -> None:
    loop = run.loop
    if planned.arm.exact or (loop is not None and loop.state == LoopState.DONE):
        job_enqueue(
            kind=MEASURE,
            queue="gpu",
            payload={"run": run.pk},
            project=study.project,
            title=f"Study {study.name}: {planned.arm.title}, seed {planned.seed}",
        )
    elif loop is None:
        settings = _settings(planned, rows)
        done = _done_already(study, planned, settings)
        if done is None:
            StudyRun.objects.filter(pk=run.pk).update(loop=_start(study, planned, settings))
        else:
            StudyRun.objects.filter(pk=run.pk).update(loop=done)
            _enqueue(study)
    elif loop.state not in UNDER_WAY:
        raise StudyRefused(f"loop {loop.pk} ({loop.recipe}) {loop.state}: {loop.error or 'it was stopped'}")


def _settings(planned: Planned, rows: dict[tuple[str, str, int], StudyRun]) -> dict[str, Value]:
    """Give a run's settings, with what it uses of the run before it."""
    arm = planned.arm
    settings = {**arm.settings, **planned.swept}
    if arm.after:
        of_seed = {
            setting: row
            for (name, setting, seed), row in rows.items()
            if (name, seed) == (arm.after, planned.seed) and row.loop
        }
        before = of_seed.get(planned.setting) or next(iter(of_seed.values()))
        if before.loop is not None:
            settings[arm.uses] = USED[arm.uses](before.loop)
    return settings


def _last_output(loop: Loop) -> Checkpoint:
    run = TrainingRun.objects.filter(round__loop=loop, output__isnull=False).select_related("output").last()
    if run is None or run.output is None:
        raise StudyRefused(f"loop {loop.pk} ({loop.recipe}) made no checkpoint")
    return run.output


def _made_judge(loop: Loop) -> Judge:
    """Return the judge that a loop made of its reward model: the first one, as people may make others of it."""
    judge = Judge.objects.filter(project=loop.project_id, checkpoint=_last_output(loop)).order_by("id").first()
    if judge is None:
        raise StudyRefused(f"loop {loop.pk} ({loop.recipe}) made no judge")
    return judge


USED: dict[Uses, Callable[[Loop], str]] = {
    "memory.run": lambda loop: str(loop.pk),
    "draws.source": lambda loop: f"checkpoint:{_last_output(loop).name}",
    "objective.reference": lambda loop: f"checkpoint:{_last_output(loop).name}",
    "score.judge": lambda loop: _made_judge(loop).name,
}


def _start(study: Study, planned: Planned, settings: dict[str, Value]) -> Loop:
    return loop_start(
        project=study.project,
        recipe=planned.arm.recipe,
        settings=settings,
        n_rounds=planned.arm.rounds,
        seed=planned.seed,
        started_by=study.started_by,
    )


def _done_already(study: Study, planned: Planned, settings: dict[str, Value]) -> Loop | None:
    """Find a finished loop of another study with the same settings and seed, from the same policy and labels.

    Settings name a judge without its version: what was scored by an older one, or made it, is not the same.
    """
    rounds = planned.arm.rounds or get_recipe(planned.arm.recipe).rounds
    found = Loop.objects.filter(
        project=study.project_id,
        recipe=planned.arm.recipe,
        seed=planned.seed,
        n_rounds=rounds,
        state=LoopState.DONE,
        initial=checkpoint_default(study.project, "policy"),
        study_runs__isnull=False,
        changes__isnull=True,
    )
    for loop in found.order_by("-id").distinct():
        later = Preference.objects.filter(comparison__project=study.project_id, derived_at__gt=loop.created_at)
        if loop.chosen != settings or later.exclude(comparison__origin__startswith=LOOP_ORIGIN).exists():
            continue
        if _has_newest_judge(loop, planned, settings):
            return loop
    return None


def _has_newest_judge(loop: Loop, planned: Planned, settings: dict[str, Value]) -> bool:
    """Whether a loop's judge, or the one that it made, is what its name stands for now."""
    if not planned.arm.makes_policy:
        made = _made_judge(loop)
        usable = Judge.objects.filter(project=loop.project_id, name=made.name, retired_at=None)
        return usable.order_by("-version").first() == made
    return loop.judge == loop_judge(loop.project, apply_settings(get_recipe(loop.recipe), settings))


def _resume_loops(study: Study, by: User | None) -> None:
    """Let the loops of a study go on that were stopped early, or failed."""
    stopped = (LoopState.FAILED, LoopState.CANCELLED, LoopState.PAUSED)
    for run in StudyRun.objects.filter(study=study, ended_at=None, loop__state__in=stopped).select_related("loop"):
        if run.loop is not None:
            loop_resume(loop=run.loop, by=by)
