"""Training jobs: this handler starts the training process, stores its events, and registers its result."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.jobs.errors import JobFenced, JobInterrupted, JobStop
from apps.jobs.models import FailureClass, Job
from apps.jobs.registry import JobContext, JobFailure, handler
from apps.policies.models import Checkpoint
from apps.policies.services import checkpoint_register, checkpoint_share
from apps.training.models import KeptStep, TrainingRun
from apps.training.sets.runs import events_ingest, loop_of, output_name
from prefloop.measured import VARIABLE
from prefloop.recipes.events import Event
from prefloop.recipes.runspec import EXIT_DONE, EXIT_LEFT, FINAL_DIR, TEMPORARY, kept_dirs, read_spec
from workers import executors
from workers.executors import Process, Task
from workers.executors.failures import failure_of
from workers.online import DatabaseLink
from workers.run_files import RunFiles

LOOK_SECONDS = 0.25
CANCEL_SECONDS = 12.0  # to drop a step after SIGTERM, where a person waits for it to end
SAVE_SECONDS = 120.0  # for the checkpoint that it writes then
_PHASES = {
    "loading": "loading the model",
    "saving": "; writing the checkpoint of step {step}",
    "reference": "reading reference log-probs, {done} of {total} batches",
    "drawing": "; in the next, answers to {done} of {total} prompts are drawn",
    "learning": "; in the next, {done} of {total} passes are made",
}
SPARE_SECONDS = 5.0  # of the worker's own grace: to end what has not left by then, and to give the job back


@handler("training.run", queue="gpu")
def training_run(ctx: JobContext) -> dict[str, Any]:
    """Start or continue a training run: payload {run}."""
    run = TrainingRun.objects.select_related(
        "project", "start", "round__loop__judge__endpoint", "round__sampling_run"
    ).get(pk=ctx.payload["run"])
    files = RunFiles(ctx, run)
    directory = files.bring()
    log_path = directory / "train.log"
    spec, job = read_spec(directory), Job.objects.only("cards", "memory").get(pk=ctx.job_id)
    link = DatabaseLink(run)
    link.tell()
    with files.stored(), link.connection(check=ctx.check) as (told, meter):
        # it leaves when this worker is gone, so that the next one never meets a second writer
        process = executors.start(
            Task(
                name=f"run-{run.pk}",
                arguments=[str(directory), *(["--connection-from-stdin"] if told is not None else [])],
                env={"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", VARIABLE: str(settings.VAR_DIR)},
                log=log_path,
                told=told,
                link=meter,
                cards=job.cards,
                cores=spec.processes * spec.threads,
                memory=job.memory,
            )
        )
        if process.place is not None:
            ctx.log(process.place.words, kind="place", data={"page": process.place.page})
        try:
            _follow(ctx, link, process, files)
        except JobStop as stop:
            tell = None if isinstance(stop, JobFenced) else partial(_tell_leaving, ctx, run)
            _leave(process, grace=_grace(stop), is_saving=partial(_is_saving, directory), tell=tell)
            if tell is not None:
                with suppress(JobFenced):
                    _ingest(ctx, link, files)
                    files.end(told=ctx.log)
                    ctx.log(f"the training process has left; it goes on after step {run.step}")
            raise
        finally:
            if process.poll() is None:
                process.kill()
    _ingest(ctx, link, files)
    files.end()
    if process.returncode == EXIT_LEFT:
        # not asked by us: a service manager told every process at once, or a killed worker's process is still ending
        ctx.check()
        raise JobFailure(FailureClass.WORKER_LOST, "the training process was told to leave", retry=True)
    if process.lost:
        raise JobFailure(FailureClass.WORKER_LOST, process.lost, retry=True)
    if process.returncode != EXIT_DONE:
        raise failure_of(directory, process.wait(), log_path, what="the training process")
    with ctx.fenced():
        link.ended()
    _register_kept(ctx, run, directory)
    checkpoint = _register(ctx, run, directory / FINAL_DIR)
    return {"checkpoint": checkpoint.name, "steps": run.step}


def _follow(ctx: JobContext, link: DatabaseLink, process: Process, files: RunFiles) -> None:
    run = link.run
    phase: dict[str, Any] | None = None  # what the process is doing before its steps, or in a slow one
    look_at = 0.0
    while True:
        ended = process.poll() is not None
        requests = link.requests()
        for event in _ingest(ctx, link, files):
            if event.type == "progress":
                phase = event.data
            elif event.type in ("start", "metric", "checkpoint"):
                phase = None
        if ended:
            return
        link.answer(requests)
        if not requests or time.monotonic() >= look_at:
            look_at = time.monotonic() + LOOK_SECONDS
            link.tell()
            ctx.check()
            words = "" if phase is None else _PHASES[phase["phase"]].format(**phase)
            if process.waiting:
                ctx.progress(run.step, max(run.n_steps, run.step, 1), f"waiting for {process.waiting}")
            elif phase is not None and "step" not in phase:
                ctx.progress(int(phase["done"]), int(phase["total"]), words)
            else:
                ctx.progress(run.step, max(run.n_steps, run.step, 1), f"step {run.step} of {run.n_steps or '…'}{words}")
        link.wait(process, max(0.0, look_at - time.monotonic()))


def _ingest(ctx: JobContext, link: DatabaseLink, files: RunFiles) -> list[Event]:
    with ctx.fenced():
        files.name_stored()
        events = events_ingest(run=link.run)
        link.ingest(events)
        for event in events:
            if event.type == "log":
                ctx.log(str(event.data.get("message", "")))
    files.heard(events)
    return events


def _register(ctx: JobContext, run: TrainingRun, final: Path) -> Checkpoint:
    loop = loop_of(run)
    role = "reward" if run.kind == "reward-model" else "policy"
    checkpoint_share(final)
    with ctx.fenced():
        checkpoint = checkpoint_register(
            project=run.project,
            name=output_name(run),
            role=role,
            directory=final,
            parent=run.start,
            recipe=run.kind if loop is None or (run.round is not None and run.round.index == 0) else loop.recipe,
            # a project's first reward model scores from now on; a loop's policy becomes the default by hand
            make_default=role == "reward" and not (loop is not None and run.round is None),
        )
        TrainingRun.objects.filter(pk=run.pk).update(output=checkpoint)
    return checkpoint


def _register_kept(ctx: JobContext, run: TrainingRun, directory: Path) -> None:
    """Record the policies that the run kept on the way, which the round then measures."""
    for step, folder in kept_dirs(directory).items():
        checkpoint_share(folder)
        with ctx.fenced():
            checkpoint = checkpoint_register(
                project=run.project,
                name=f"{output_name(run)}-at-{step}",
                role="policy",
                directory=folder,
                parent=run.start,
                recipe=run.round.loop.recipe if run.round is not None else run.kind,
            )
            KeptStep.objects.get_or_create(run=run, step=step, defaults={"checkpoint": checkpoint})


@dataclass(frozen=True, slots=True)
class Grace:
    """Seconds that a process may take to leave: to drop its step, and, once it writes its checkpoint, in all."""

    to_drop: float
    to_save: float


def _grace(stop: JobStop) -> Grace:
    """Say how long the process may take: what the worker itself may, where that shuts down."""
    if isinstance(stop, JobInterrupted):
        seconds = max(settings.WORKER_GRACE_SECONDS - SPARE_SECONDS, 1.0)
        return Grace(seconds, seconds)
    return Grace(CANCEL_SECONDS, SAVE_SECONDS)


def _leave(
    process: Process,
    *,
    grace: Grace,
    is_saving: Callable[[], bool] = lambda: False,
    tell: Callable[[float, bool], None] | None = None,
) -> None:
    """Ask the process to leave and wait as long as it may take; `tell` says the seconds left, and if it is saving."""
    if process.poll() is not None:
        return
    process.leave()
    told_at = time.monotonic()
    while process.poll() is None:
        saving = is_saving()
        left = told_at + (grace.to_save if saving else grace.to_drop) - time.monotonic()
        if left <= 0:
            return
        if tell is not None:
            tell(left, saving)
        with suppress(subprocess.TimeoutExpired):
            process.wait(min(LOOK_SECONDS, left))


def _is_saving(directory: Path) -> bool:
    """Whether the process is writing a checkpoint: under a temporary name, until it is whole."""
    return any(directory.glob(f"*{TEMPORARY}*"))


def _tell_leaving(ctx: JobContext, run: TrainingRun, left: float, saving: bool) -> None:
    doing = "writes its last checkpoint" if saving else "drops the step that it is in"
    with suppress(JobFenced):
        words = f"stopping: the training process {doing}, at most {left:.0f} s more"
        ctx.progress(run.step, max(run.n_steps, run.step, 1), words)
