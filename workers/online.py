"""What a worker does beside a step-refreshed run: opens its judge, takes its answers in, sends people's words on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings

from apps.judging.models import JudgeKind
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_key
from apps.rankings.models import Override
from apps.training.models import TrainingRun
from apps.training.stream import overrides_forward, stream_ingest, used_snapshot
from prefloop.recipes.events import Event
from prefloop.recipes.runspec import ONLINE
from prefloop.worlds.letters.judge_server import running_judge_server


@contextmanager
def judge_connection(run: TrainingRun) -> Iterator[bytes | None]:
    """Give the line that tells the training process where its judge answers, and its key; None where it asks nobody.

    A simulated judge is started here, and allowed because it is ours.
    """
    judge = run.round.loop.judge if run.kind == ONLINE and run.round is not None else None
    if judge is None or judge.kind != JudgeKind.LLM or judge.endpoint is None:
        yield None
        return
    endpoint = judge.endpoint
    if endpoint.base_url.startswith(SIMULATED_SCHEME):
        with running_judge_server(**endpoint.capabilities.get("biases", {})) as base_url:
            host_port = base_url.removeprefix("http://").split("/", 1)[0]
            yield _line(base_url, "", [host_port])
        return
    yield _line(endpoint.base_url, endpoint_key(endpoint), list(settings.ENDPOINT_ALLOW))


def _line(base_url: str, api_key: str, allow: list[str]) -> bytes:
    return json.dumps({"base_url": base_url, "api_key": api_key, "allow": allow}).encode() + b"\n"


@dataclass(slots=True)
class Beside:
    """The database's side of a run; nothing to do for a run on stored rows."""

    run: TrainingRun
    _newest_override: int = -1

    def ingest(self, events: Sequence[Event]) -> None:
        """Take in what it said, in the caller's transaction."""
        if self.run.kind == ONLINE:
            stream_ingest(run=self.run, events=events)

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
