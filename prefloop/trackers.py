"""Mirror a training run's metrics to a tracker: TensorBoard, W&B, MLflow or trackio. Each is an extra to install.

    pip install 'prefloop[tensorboard]'
    python -m prefloop.trackers RUN_DIR [RUN_DIR …] --to tensorboard --where logs/ [--follow]

`events.jsonl` stays the record; a tracker is a copy. Metrics have TRL's names. For several runs (the rounds of a loop)
the steps are counted across them, so that they form one curve. With --follow it waits for more until the last run ends.
A resumed run repeats some steps; a tracker that can only append gets each step once, which loses nothing, since the
same steps give the same numbers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from prefloop.recipes.events import drop_superseded, read_events
from prefloop.recipes.runspec import EVENTS_FILE
from prefloop.types import PrefloopError

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
TRACKERS: tuple[Tracker, ...] = get_args(Tracker)
LOOK_SECONDS = 1.0


class TrackerMissing(PrefloopError):
    """The tracker's package is not installed; the text says how to install it."""


class NoRun(PrefloopError):
    """A directory without any events of a run."""


class Sink(Protocol):
    """A tracker that receives metrics. `at` is seconds since 1970."""

    def write(self, step: int, at: float, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in a directory, which `tensorboard --logdir` shows."""

    def __init__(self, where: str, name: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(Path(where or "tensorboard") / name))

    def write(self, step: int, at: float, values: Mapping[str, float]) -> None:
        summary = self._summary(value=[self._summary.Value(tag=key, simple_value=v) for key, v in values.items()])
        self._writer.add_event(self._event(wall_time=at, step=step, summary=summary))

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases in the project `where`; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, where: str, name: str) -> None:
        import wandb

        self._run = wandb.init(project=where or "prefloop", name=name)

    def write(self, step: int, at: float, values: Mapping[str, float]) -> None:
        self._run.log({**values, "at": at}, step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of the experiment "prefloop" at the tracking URI `where` (sqlite:///mlflow.db, http://…)."""

    def __init__(self, where: str, name: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=where or None)
        found = self._client.get_experiment_by_name("prefloop")
        experiment = found.experiment_id if found else self._client.create_experiment("prefloop")
        self._run = self._client.create_run(experiment, run_name=name).info.run_id

    def write(self, step: int, at: float, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._client.log_metric(self._run, key, value, timestamp=int(1000 * at), step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class Trackio:
    """A run of trackio in the project `where`, on this machine."""

    def __init__(self, where: str, name: str) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(project=where or "prefloop", name=name, embed=False)

    def write(self, step: int, at: float, values: Mapping[str, float]) -> None:
        self._trackio.log({**values, "at": at}, step=step)

    def close(self) -> None:
        self._trackio.finish()


SINKS: Mapping[Tracker, type[TensorBoard] | type[WandB] | type[MLflow] | type[Trackio]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def mirror(
    run_dirs: Sequence[str | Path], *, to: Tracker, where: str = "", name: str = "", follow: bool = False
) -> int:
    """Write the runs' metrics to a tracker as one run; return how many steps were written.

    Raises TrackerMissing, and NoRun for a directory without a run.
    """
    paths = [Path(directory) / EVENTS_FILE for directory in run_dirs]
    for path in paths if not follow else paths[:1]:
        if not path.is_file():
            raise NoRun(f"{path.parent} holds no {EVENTS_FILE}: no run has said anything there")
    try:
        sink: Sink = SINKS[to](where, name or paths[0].parent.name)
    except ImportError as error:
        raise TrackerMissing(f"{to} is not installed ({error}): pip install 'prefloop[{to}]'") from error
    n_told = 0
    try:
        for step, at, values in _metrics(paths, follow=follow):
            sink.write(step, at, values)
            n_told += 1
    finally:
        sink.close()
    return n_told


def _metrics(paths: Sequence[Path], *, follow: bool) -> Iterator[tuple[int, float, dict[str, float]]]:
    begin = 0
    for path in paths:
        last = 0
        for step, at, values in _metrics_of(path, follow=follow):
            last = step
            yield begin + step, at, values
        begin += last


def _metrics_of(path: Path, *, follow: bool) -> Iterator[tuple[int, float, dict[str, float]]]:
    told, offset = 0, 0
    while True:
        events, offset = read_events(path, offset)
        for event in events if follow else drop_superseded(events):
            if event.type == "metric" and event.step is not None and event.step > told:
                told = event.step
                yield told, event.at, _numbers(event.data["values"])
        ended = any(event.type == "end" and event.data.get("status") in ("done", "stopped") for event in events)
        if ended or not follow:
            return
        time.sleep(LOOK_SECONDS)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if isinstance(value, int | float)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prefloop.trackers", description="Mirror runs to a tracker.")
    parser.add_argument("run_dir", nargs="+", help="directory of a run (events.jsonl); several: rounds, in their order")
    parser.add_argument("--to", required=True, choices=TRACKERS)
    parser.add_argument("--where", default="", help="directory, project or tracking URI, as the tracker has it")
    parser.add_argument("--name", default="", help="the run's name there; default: the first directory's")
    parser.add_argument("--follow", action="store_true", help="wait for more until the last run ends")
    given = parser.parse_args(arguments)
    try:
        n_told = mirror(given.run_dir, to=given.to, where=given.where, name=given.name, follow=given.follow)
    except PrefloopError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{n_told} steps to {given.to}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
