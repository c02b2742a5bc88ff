"""What a worker does beside an on-policy run: opens its judge, keeps its cap, takes answers in, tells corrections."""

from __future__ import annotations

import json
import socket
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.conf import settings

from apps.jobs.models import FailureClass
from apps.jobs.registry import JobFailure
from apps.judging.specs import asked_with
from apps.labels.models import Judge, Override
from apps.policies.store import store_path
from apps.training.models import TrainingRun
from apps.training.rounds.stream import overrides_forward, stream_ingest, used_snapshot
from apps.training.sets.runs import loop_of
from prefloop.executors import EXECUTORS
from prefloop.judging.errors import CapReached
from prefloop.judging.metering import Call, Hold, Most, Requests
from prefloop.recipes.engines import VLLM, choose_in_steps
from prefloop.recipes.events import Event
from prefloop.recipes.runspec import ONLINE, read_spec
from workers import engines, model_cache, vllm_servers
from workers.asking import EndpointMeter, answering, meter_of
from workers.executors import Process


def _draws_by_vllm(run: TrainingRun) -> bool:
    online = read_spec(store_path(run.run_dir)).online if run.kind == ONLINE else None
    if online is None or online.replay:
        return False
    return any(choose_in_steps(draw.engine).name == VLLM.name for draw in online.draws)


def _asked(run: TrainingRun) -> dict[str, Judge]:
    """The language models that the run asks inside its steps, by the keys of their specs."""
    loop = loop_of(run) if run.kind == ONLINE else None
    if loop is None or loop.judge is None:
        return {}
    return {key: judge for key, judge in asked_with(loop.judge).items() if judge.declared.costs}


class DatabaseLink:
    """The database side of a run; it does nothing for a run on stored rows."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self._newest_override = -1
        self._judges = _asked(run)
        self._meters: dict[str, EndpointMeter] = {}
        loop = loop_of(run)
        by = loop.started_by_id if loop is not None else None
        for key, judge in self._judges.items():
            note = f"{judge.name} v{judge.version}, training run {run.pk}"
            if (meter := meter_of(judge, purpose="judging", person_id=by, note=note)) is not None:
                self._meters[key] = meter
        self._requests: Requests | None = None

    @contextmanager
    def connection(self, *, check: Callable[[], None]) -> Iterator[tuple[bytes | None, socket.socket | None]]:
        """Give the line that tells the training process whom it needs, and its end of the line to the judges' caps.

        Where judges answer, and the vLLM server that draws its steps, each with its key; None where it needs neither.
        The server is started here, and kept for the next block of steps.
        """
        told: dict[str, Any] = {}
        with ExitStack() as stack:
            for key, judge in self._judges.items():
                if judge.endpoint is not None:
                    base_url, api_key, allow = stack.enter_context(answering(judge.endpoint))
                    address = {"base_url": base_url, "api_key": api_key, "allow": allow}
                    told |= {"members": told.get("members", {}) | {key: address}} if key else address
            if _draws_by_vllm(self.run) and self.run.start is not None:
                if not EXECUTORS[settings.EXECUTOR].on_its_machine:
                    raise JobFailure(
                        FailureClass.USER_CONFIG,
                        "draws.engine=vllm inside steps needs PREFLOOP_EXECUTOR=local: the worker's vLLM server "
                        "listens on its own machine alone; with draws.engine=auto the run draws by itself",
                    )
                server = stack.enter_context(engines.vllm_for_training(self.run.start, check=check))
                told["sampler"] = {"host_port": server.host_port, "model": server.model, "key": server.key}
            elif model_cache.device() != "cpu":
                vllm_servers.stop()  # it has most of the card's memory; on a CPU the two live side by side
            theirs: socket.socket | None = None
            if self._meters:
                ours, theirs = socket.socketpair()
                stack.callback(ours.close)
                stack.callback(theirs.close)
                self._requests = Requests(ours)
                told["meter"] = theirs.fileno()
            yield json.dumps(told).encode() + b"\n" if told else None, theirs

    def wait(self, process: Process, seconds: float) -> None:
        """Wait until the process ends or asks for something, or so long."""
        if self._requests is not None and not self._requests.closed:
            self._requests.wait(seconds)
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)

    def requests(self) -> list[tuple[str, list[Most]]]:
        """What the process asks for: room under a judge's cap."""
        return self._requests.read() if self._requests is not None else []

    def answer(self, requests: Sequence[tuple[str, list[Most]]]) -> None:
        """Hold what it asks for, after what it has said before is taken in: that gives room."""
        for key, most in requests:
            try:
                said: list[Hold] | CapReached = self._meters[key].hold(most)
            except CapReached as error:
                said = error
            if self._requests is not None:
                self._requests.answer(said)

    def ingest(self, events: Sequence[Event]) -> None:
        """Take in what it said, and settle the calls that it made, in the caller's transaction."""
        if self.run.kind != ONLINE:
            return
        stream_ingest(run=self.run, events=events)
        calls: dict[str, list[Call]] = defaultdict(list)
        for event in events:
            for held, usage in event.data.get("calls", ()):
                calls[event.data.get("judge", "")].append((Hold(*held), usage))
        for key, made in calls.items():
            if key in self._meters:
                self._meters[key].settle(made)

    def tell(self) -> None:
        """Forward people's corrections since the last time."""
        if self.run.kind != ONLINE:
            return
        newest = Override.objects.filter(comparison__project=self.run.project_id).order_by("-id").first()
        at = newest.pk if newest is not None else 0
        if at != self._newest_override:
            overrides_forward(run=self.run)
            self._newest_override = at

    def ended(self) -> None:
        """Freeze the training data, in the caller's transaction."""
        if self.run.kind == ONLINE:
            used_snapshot(run=self.run)
