"""Training: a process of its own does it; this handler starts it, takes in what it says, and registers what it made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from apps.jobs.errors import JobStop
from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure, handler
from apps.policies.models import Checkpoint
from apps.policies.services import checkpoint_register
from apps.policies.store import store_path
from apps.training.changes import recipe_of
from apps.training.loops import checkpoint_name
from apps.training.models import Counterfactual, TrainingRun
from apps.training.runs import events_ingest, loop_of
from prefloop.recipes.runspec import EXIT_DONE, EXIT_LEFT, FINAL_DIR, read_failure
from workers import processes, vllm_servers
from workers.online import Beside, judge_connection

LOOK_SECONDS = 0.25
LEAVE_SECONDS = 60.0  # to finish a step and write a checkpoint after SIGTERM


@handler("training.run", queue="gpu")
def training_run(ctx: JobContext) -> dict[str, Any]:
    """Run (or go on with) a training run: payload {run}."""
    run = TrainingRun.objects.select_related(
        "project", "start", "round__loop__judge__endpoint", "round__sampling_run"
    ).get(pk=ctx.payload["run"])
    directory = store_path(run.run_dir)
    vllm_servers.stop()  # training wants the memory and the cores
    log_path = directory / "train.log"
    beside = Beside(run)
    beside.begin()
    command = [sys.executable, "-m", "prefloop.engine.train", str(directory)]
    with log_path.open("ab") as log, judge_connection(run) as connection:
        # it dies with this worker, so that the next one never meets a second writer
        process = processes.start(
            command if connection is None else [*command, "--connection-from-stdin"],
            stdin=subprocess.DEVNULL if connection is None else subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        )
        try:
            if process.stdin is not None and connection is not None:
                with suppress(BrokenPipeError), process.stdin:  # it may have ended already: its exit code says why
                    process.stdin.write(connection)
            _follow(ctx, beside, process)
        except JobStop:
            _leave(process)
            raise
        finally:
            if process.poll() is None:
                _kill(process)
    _ingest(ctx, beside)
    if process.returncode == EXIT_LEFT:
        # not asked by us: a service manager told every process at once, or a killed worker's process is still ending
        ctx.check()
        raise JobFailure(FailureClass.WORKER_LOST, "the training process was told to leave", retry=True)
    if process.returncode != EXIT_DONE:
        raise _failure(directory, process.returncode, log_path)
    with ctx.fenced():
        beside.ended()
    checkpoint = _register(ctx, run, directory / FINAL_DIR)
    return {"checkpoint": checkpoint.name, "steps": run.step}


def _follow(ctx: JobContext, beside: Beside, process: subprocess.Popen[bytes]) -> None:
    run = beside.run
    while True:
        ended = process.poll() is not None
        _ingest(ctx, beside)
        if ended:
            return
        beside.tell()
        ctx.check()
        ctx.progress(run.step, max(run.n_steps, run.step, 1), f"step {run.step} of {run.n_steps or '…'}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_SECONDS)


def _ingest(ctx: JobContext, beside: Beside) -> None:
    with ctx.fenced():
        events = events_ingest(run=beside.run)
        beside.ingest(events)
        for event in events:
            if event.type == "log":
                ctx.log(str(event.data.get("message", "")))


def _register(ctx: JobContext, run: TrainingRun, final: Path) -> Checkpoint:
    loop = loop_of(run)
    role = "reward" if run.kind == "reward-model" else "policy"
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
        TrainingRun.objects.filter(pk=run.pk).update(output=checkpoint, state="succeeded")
    return checkpoint


def output_name(run: TrainingRun) -> str:
    if run.round is None:
        beside = Counterfactual.objects.filter(run=run).select_related("round__loop").first()
        if beside is None:
            return f"{run.kind}-{run.pk}"
        return f"{checkpoint_name(beside.round.loop, beside.round.index)}-without-overrides"
    if run.kind == "reward-model":
        return f"reward-model-{run.pk}"
    if run.round.index == 0:
        return f"{run.round.loop.recipe}-{run.round.loop_id}-m1"  # what a self-rewarding loop begins with
    name = checkpoint_name(run.round.loop, run.round.index)
    n_steps = recipe_of(run.round.loop, run.round.index).filter.n_steps
    step = TrainingRun.objects.filter(round=run.round, pk__lte=run.pk).count()
    return name if step >= n_steps else f"{name}-step-{step}"  # ReST: only the last Improve step is the round's


def _failure(directory: Path, code: int, log_path: Path) -> JobFailure:
    said = read_failure(directory)
    if said is not None:
        (directory / "failure.json").unlink(missing_ok=True)  # a retry starts clean
        # a judge that is down may come back: the run goes on from its checkpoint then
        return JobFailure(
            FailureClass(said.failure_class), said.message, retry=said.failure_class == "judge_unreachable"
        )
    tail = log_path.read_text("utf-8", errors="replace")[-2000:]
    if code == -signal.SIGKILL:
        return JobFailure(
            FailureClass.OUT_OF_MEMORY, "the training process was killed, most likely for memory", retry=True
        )
    return JobFailure(FailureClass.INTERNAL, f"the training process ended with {code}: {tail}", retry=code < 0)


def _leave(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to write a checkpoint and go; kill it if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + LEAVE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
