"""The training process: `python -m prefloop.engine.train RUN_DIR`.

Reads `spec.json` and the snapshot, writes `events.jsonl`, reads `inbox.jsonl` before each step, and publishes `final/`.
On SIGTERM and SIGINT it drops the step that it is in, writes a checkpoint and leaves with exit code 75; if the step has
changed the weights, it has seconds to end, or the run goes on from the checkpoint before. Checkpoints are also due by
time, every two minutes. Started again, it continues where it was. Other exit codes, with `failure.json`:
`EXIT_OF_FAILURE`.

`--connection-from-stdin`: the address of an on-policy run's judge and its key come as one JSON line on standard input,
{"base_url", "api_key", "allow": ["host:port"]}, and are written nowhere; so does the vLLM server for a step's answers,
if there is one: {"sampler": {"host_port", "model", "key"}}.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from prefloop.checkpoints import UnsafeCheckpoint
from prefloop.config import ConfigError
from prefloop.engine.context import NotFinite, RunContext
from prefloop.engine.hardware import device_of, most_held
from prefloop.engine.launch import launch
from prefloop.engine.online.judges import Connection, read_connection
from prefloop.engine.online.stream import UnusableStream
from prefloop.engine.ranks import ALONE, Ranks, joined
from prefloop.engine.resume import OtherRun, OutOfDisk, is_disk_error
from prefloop.engine.run import Outcome, RunProcess
from prefloop.judging.errors import CapReached, JudgeError, JudgeUnreachable
from prefloop.measured import VARIABLE
from prefloop.policy.loading import UnloadableModel
from prefloop.recipes.events import EventsError, EventWriter
from prefloop.recipes.runspec import (
    EVENTS_FILE,
    EXIT_DONE,
    EXIT_LEFT,
    EXIT_OF_FAILURE,
    FAILURE_FILE,
    FailureClass,
    RunFailure,
    RunSpec,
    read_spec,
    write_failure,
)
from prefloop.recipes.snapshots import SnapshotError
from prefloop.types import BadData, PrefloopError

logger = logging.getLogger(__name__)

_CLASS_OF_ERROR: tuple[tuple[type[Exception], FailureClass], ...] = (
    (OutOfDisk, "out_of_disk"),
    (CapReached, "cap_reached"),
    (JudgeUnreachable, "judge_unreachable"),
    (JudgeError, "judge_refused"),
    (SnapshotError, "data"),
    (BadData, "data"),
    (UnusableStream, "data"),
    (EventsError, "internal"),
    (ConfigError, "user_config"),
    (OtherRun, "user_config"),
    (NotFinite, "user_config"),
    (UnsafeCheckpoint, "user_config"),
    (UnloadableModel, "user_config"),
    (PrefloopError, "user_config"),
    (torch.OutOfMemoryError, "out_of_memory"),
    (MemoryError, "out_of_memory"),
)


class Busy(PrefloopError):
    """Another process is training in this directory."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the process ended: an outcome, or the reason why there is none."""

    outcome: Outcome | None = None
    failure: RunFailure | None = None

    @property
    def exit_code(self) -> int:
        if self.failure is not None:
            return EXIT_OF_FAILURE[self.failure.failure_class]
        return EXIT_LEFT if self.outcome is None or self.outcome.status == "left" else EXIT_DONE


def run(
    run_dir: str | Path,
    *,
    should_leave: Callable[[], bool] = lambda: False,
    at_once: Callable[[], bool] = lambda: False,
    connection: Connection | None = None,
    ranks: Ranks = ALONE,
) -> Ended:
    """Train in this process; a failure is written to `failure.json` and returned, never raised.

    `should_leave` is called before each step; `at_once` also in the middle of one, which is then repeated later.
    `connection`: the address of an on-policy run's judge; None: the one in its specification, without a key.

    Raises Busy if another process holds the directory.
    """
    folder = Path(run_dir)
    try:
        spec = read_spec(folder)
    except PrefloopError as error:
        return Ended(failure=_fail(folder, error, None))
    with _held(folder, ranks):
        log = folder / EVENTS_FILE
        if ranks.is_main:
            (folder / FAILURE_FILE).unlink(missing_ok=True)
        resumed = log.exists() and log.stat().st_size > 0
        events = EventWriter(log if ranks.is_main else None)
        ctx = RunContext(
            folder,
            spec,
            events,
            should_leave=should_leave,
            at_once=at_once,
            ranks=ranks,
            measured=Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None,
            resumed=resumed,
        )
        training = RunProcess(ctx, connection)
        try:
            outcome = training.run()
            events.write(
                "end",
                step=outcome.step,
                status=outcome.status,
                path=outcome.path.name if outcome.path else "",
                fingerprint=outcome.fingerprint,
                peak=most_held(ctx.device),
            )
            return Ended(outcome=outcome)
        except Exception as error:  # noqa: BLE001 - the boundary of the process: everything becomes a failure with a class
            return Ended(failure=_fail(folder, error, events, step=training.step))
        finally:
            events.close()


def classify(error: Exception) -> FailureClass:
    """Classify the cause of a failure."""
    for kind, failure_class in _CLASS_OF_ERROR:
        if isinstance(error, kind):
            return failure_class
    if is_disk_error(error):
        return "out_of_disk"
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):  # torch's CPU allocator
        return "out_of_memory"
    return "internal"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prefloop.engine.train", description="Train from a run directory.")
    parser.add_argument("run_dir", help="directory with spec.json and the snapshot")
    parser.add_argument(
        "--leave-with-parent", action="store_true", help="write a checkpoint and leave if the parent process dies"
    )
    parser.add_argument(
        "--connection-from-stdin", action="store_true", help="read the judge's address and key from a pipe"
    )
    arguments = parser.parse_args(argv)
    told = sys.stdin.readline() if arguments.connection_from_stdin else None
    disable_progress_bar()  # bars are for people at a terminal; this process speaks in events.jsonl
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parent = os.getppid()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: asked.append(received))

    def should_leave() -> bool:
        return bool(asked) or (arguments.leave_with_parent and os.getppid() != parent)

    spec = _spec_of(arguments.run_dir)
    if spec is not None and spec.processes > 1 and "WORLD_SIZE" not in os.environ:
        return launch(Path(arguments.run_dir), spec, should_leave=should_leave, told=told)
    connection = read_connection(told) if told is not None else None
    on_cpu = spec is None or device_of(spec).type == "cpu"
    try:
        with joined(on_cpu=on_cpu) as ranks:
            ended = run(
                arguments.run_dir, should_leave=should_leave, at_once=should_leave, connection=connection, ranks=ranks
            )
    except Busy as error:
        print(error, file=sys.stderr)  # noqa: T201 - this module is a command
        return EXIT_LEFT
    if ended.failure is not None:
        print(f"{ended.failure.failure_class}: {ended.failure.message}", file=sys.stderr)  # noqa: T201
    return ended.exit_code


def _spec_of(run_dir: str) -> RunSpec | None:
    try:
        return read_spec(run_dir)
    except PrefloopError:
        return None  # `run` says what is wrong with it


def _fail(folder: Path, error: Exception, events: EventWriter | None, *, step: int = 0) -> RunFailure:
    failure_class = classify(error)
    lines = str(error).strip().splitlines()
    message = lines[0] if lines else type(error).__name__
    if failure_class == "internal":
        message = f"{type(error).__name__}: {message}"
        traceback.print_exception(error)
    failure = RunFailure(failure_class=failure_class, message=message, step=step)
    try:
        if failure_class != "internal" or not (folder / FAILURE_FILE).exists():  # another process's death is no reason
            write_failure(folder, failure)
        if events is not None:
            events.write("end", step=step, status="failed", failure_class=failure_class, message=message)
    except OSError as second:  # a full disk, a directory that is not there: the exit code still says it
        logger.warning("could not write %s: %s", FAILURE_FILE, second)
    return failure


@contextmanager
def _held(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Lock the directory in the first process; the system releases it when the process dies, however it does.

    Raises Busy in all processes.
    """
    with (folder / "run.lock").open("w") if ranks.is_main else nullcontext() as stream:
        is_free = True
        if stream is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_free = False
        if not ranks.gather(is_free)[0]:
            raise Busy(f"another process is training in {folder}")
        yield


if __name__ == "__main__":
    sys.exit(main())
