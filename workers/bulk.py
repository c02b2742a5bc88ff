"""Questions of one job to the engines of a cluster, which the executor starts; the answers are stored as they come.

The job's worker writes the questions (`prefloop/bulk/work.py`), watches the program that gives them to engines, and
stores each piece of answers in one fenced transaction. What an earlier attempt has answered is taken first.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.core.chunks import chunks
from apps.core.store import home
from apps.jobs.errors import JobFenced
from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure
from apps.policies.models import Checkpoint
from apps.policies.store import checkpoint_here
from prefloop.bulk.work import ENGINES, LOG, SAID, Draws, Said, Work, read_said, write_work
from prefloop.judging.spec import JudgeSpec
from prefloop.recipes.engines import Machine
from prefloop.recipes.runspec import EXIT_DONE
from prefloop.speeds import tokens_in
from workers import executors
from workers.executors import BULK, Process, Task
from workers.executors.failures import failure_of

QUESTIONS_IN_A_PIECE = 128
PIECE_SECONDS = 60.0  # that a piece takes at most on a CPU: so much is lost with an engine
LOOK_SECONDS = 0.5

Questions = Mapping[str, Mapping[str, Any]]  # by key, as plain values
Write = Callable[[list[Said]], None]


def machine() -> Machine:
    """What an engine of the cluster has."""
    return Machine(accelerator=settings.CARDS > 0, vllm=bool(settings.VLLM_PYTHON))


def work_of(
    checkpoint: Checkpoint, engine: str, *, at_once: int, judge: JudgeSpec | None = None, draws: Draws | None = None
) -> Work:
    """Describe what is asked of this checkpoint's engines, with the settings of this installation."""
    return Work(
        checkpoint=str(checkpoint_here(checkpoint)),
        engine=engine,
        at_once=at_once,
        engines=settings.RAY_ENGINES,
        cards=settings.CARDS,
        threads=settings.WORKER_THREADS,
        precision=settings.PRECISION,
        folder=str(settings.VAR_DIR),
        vllm_python=settings.VLLM_PYTHON,
        vllm_arguments=tuple(settings.VLLM_ARGUMENTS),
        judge=judge,
        draws=draws,
    )


def piece_size(checkpoint: Checkpoint, *, tokens: int) -> int:
    """How many questions, of so many tokens each with its answer, are one piece."""
    if settings.CARDS:
        return QUESTIONS_IN_A_PIECE
    most = tokens_in(PIECE_SECONDS, checkpoint.n_parameters or 1) // max(1, tokens)
    return int(max(1, min(QUESTIONS_IN_A_PIECE, most)))


def ask_engines(
    ctx: JobContext, work: Work, questions: Questions, *, name: str, size: int, write: Write, words: str
) -> None:
    """Have the questions answered, and each answer stored once.

    `name`: the same for every attempt at this work. `write` stores answers in a fenced transaction. Raises JobFailure;
    what was answered before that is stored.
    """
    taker = _Taker(ctx, questions, write, words)
    folder = home() / "bulk"
    folder.mkdir(mode=0o700, exist_ok=True)
    for earlier in sorted(folder.glob(f"{name}.*")):  # of a worker that was killed
        taker.take(earlier)
        shutil.rmtree(earlier)
    left = taker.left()
    if not left:
        return
    directory = folder / f"{name}.{uuid.uuid4().hex[:12]}"
    directory.mkdir(mode=0o700)
    try:
        write_work(directory, work, list(chunks(left, size)))
        _run(ctx, taker, directory, name)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(ctx: JobContext, taker: _Taker, directory: Path, name: str) -> None:
    log = directory / LOG
    process = executors.start(
        Task(name=name, arguments=[str(directory)], program=BULK, env={"PYTHONUNBUFFERED": "1"}, log=log)
    )
    if process.place is not None:
        ctx.log(process.place.words, kind="place", data={"page": process.place.page})
    try:
        _follow(ctx, process, taker, directory)
    finally:
        if process.poll() is None:
            process.kill()
        with suppress(JobFenced):
            taker.take(directory)
    if process.lost:
        raise JobFailure(FailureClass.WORKER_LOST, process.lost, retry=True)
    if process.returncode != EXIT_DONE:
        raise failure_of(directory, process.wait(), log, what="the program that asks the engines")
    if left := taker.left():
        raise JobFailure(FailureClass.WORKER_LOST, f"{len(left)} questions were not answered", retry=True)
    _tell_engines(ctx, json.loads((directory / ENGINES).read_text("utf-8")))


def _follow(ctx: JobContext, process: Process, taker: _Taker, directory: Path) -> None:
    while process.poll() is None:
        ctx.check()
        taker.take(directory)
        if process.waiting:
            taker.progress(f"waiting for {process.waiting}")
        time.sleep(LOOK_SECONDS)


class _Taker:
    """Stores the answers in files, each once."""

    def __init__(self, ctx: JobContext, questions: Questions, write: Write, words: str) -> None:
        self._ctx, self._questions, self._write, self._words = ctx, questions, write, words
        self._taken: set[Path] = set()
        self._answered: set[str] = set()

    def left(self) -> list[tuple[str, Mapping[str, Any]]]:
        return [(key, one) for key, one in self._questions.items() if key not in self._answered]

    def take(self, directory: Path) -> None:
        """Store what is new in a directory. Raises JobFenced."""
        for path in sorted((directory / SAID).glob("*.jsonl")):
            if path in self._taken:
                continue
            new = [one for one in read_said(path) if one.key in self._questions and one.key not in self._answered]
            with self._ctx.fenced():
                self._write(new)
            self._taken.add(path)
            self._answered.update(one.key for one in new)
            self.progress(f"{len(self._answered)} {self._words}")

    def progress(self, words: str) -> None:
        self._ctx.progress(len(self._answered), len(self._questions), words)


def _tell_engines(ctx: JobContext, engines: Sequence[Mapping[str, Any]]) -> None:
    """Write into the job's log how many engines answered, and how much of their time they had something to answer."""
    span = sum(one["ended"] - one["began"] for one in engines)
    share = sum(one["busy_seconds"] for one in engines) / max(span, 1e-9)
    words = f"{len(engines)} engines answered; they had questions for {share:.0%} of their time"
    ctx.log(words, kind="engines", data={"engines": list(engines)})
