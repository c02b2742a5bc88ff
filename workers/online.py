"""What a worker does beside a step-refreshed run: opens its judge, takes its answers in, sends people's words on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from apps.judging.models import Judge, JudgeKind
from apps.rankings.models import Override
from apps.training.models import TrainingRun
from apps.training.runs import loop_of
from apps.training.stream import overrides_forward, stream_ingest, used_snapshot
from prefloop.recipes.events import Event
from prefloop.recipes.runspec import ONLINE
from workers.asking import LlmSettings, Meter, answering, failures


@contextmanager
def judge_connection(run: TrainingRun) -> Iterator[bytes | None]:
    """Give the line that tells the training process where its judge answers, and its key; None where it asks nobody."""
    judge = _asked(run)
    if judge is None or judge.endpoint is None:
        yield None
        return
    with answering(judge.endpoint) as (base_url, key, allow):
        yield json.dumps({"base_url": base_url, "api_key": key, "allow": allow}).encode() + b"\n"


def _asked(run: TrainingRun) -> Judge | None:
    """The language model that the run asks inside its steps."""
    loop = loop_of(run) if run.kind == ONLINE else None
    judge = loop.judge if loop is not None else None
    return judge if judge is not None and judge.kind == JudgeKind.LLM else None


class Beside:
    """The database's side of a run; nothing to do for a run on stored rows."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self._newest_override = -1
        judge = _asked(run)
        note = f"{judge.name} v{judge.version}, training run {run.pk}" if judge else ""
        self._meter = Meter(LlmSettings.of(judge), purpose="judging", note=note) if judge else None

    def begin(self) -> None:
        """Before the process starts: say what people corrected so far, and see that its judge may be asked."""
        if self._meter is not None:
            with failures():
                self._meter.take([])
        self.tell()

    def ingest(self, events: Sequence[Event]) -> None:
        """Take in what it said, in the caller's transaction. Raises JobFailure where the judge's cap is reached.

        The process asks by itself, so the cap is looked at after each batch of calls, not before each call: it can be
        passed by what is asked between two looks, a quarter of a second.
        """
        if self.run.kind != ONLINE:
            return
        stream_ingest(run=self.run, events=events)
        asked = [event.data for event in events if event.type == "verdict" and event.data.get("seconds") is not None]
        if self._meter is not None and asked:
            with failures():
                self._meter.take([(data["usage"], (data["raw"],)) for data in asked])

    def tell(self) -> None:
        """Send on what people have corrected since the last time."""
        if self.run.kind != ONLINE:
            return
        newest = Override.objects.filter(comparison__project=self.run.project_id).order_by("-id").first()
        at = newest.pk if newest is not None else 0
        if at != self._newest_override:
            overrides_forward(run=self.run)
            self._newest_override = at

    def ended(self) -> None:
        """Freeze what it learnt from, in the caller's transaction."""
        if self.run.kind == ONLINE:
            used_snapshot(run=self.run)
