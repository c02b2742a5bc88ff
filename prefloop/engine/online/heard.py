"""People's corrections during a run: overrides, which are replayed.

A line of the inbox takes effect before a step, and the step is written to `events.jsonl`; so a resumed run applies the
same lines before the same steps.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prefloop.engine.pieces import Row
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import Answered, encode_rows
from prefloop.recipes.events import Event, EventWriter, read_inbox
from prefloop.recipes.recipe import Memory
from prefloop.seeds import shuffler_seed

OVERRIDES_A_STEP = 0.25  # of the batch: at most so many corrected pairs are added to it


class Heard:
    """The inbox, read from the beginning of the run up to its current place."""

    def __init__(
        self, inbox: Path, events: EventWriter, earlier: Iterable[Event], memory: Memory, tokenizer: Any
    ) -> None:
        self._inbox, self._events, self._tokenizer = inbox, events, tokenizer
        self._schedule = [(event.data["step"], event.data["offset"]) for event in earlier if event.type == "heard"]
        self._offset = 0
        self._pairs: dict[str, Row] = {}
        self._memory = memory

    def before(self, step: int) -> None:
        """Read what takes effect before `step` (1, 2, …), in order."""
        due = [offset for at, offset in self._schedule if at <= step]
        known = max((at for at, _ in self._schedule), default=0)
        if step > known:
            messages, end = read_inbox(self._inbox, self._offset)
            if messages:
                self._schedule.append((step, end))
                self._events.write("heard", step=step, offset=end)
        else:
            until = max(due, default=0)
            if until <= self._offset:
                return
            messages, end = read_inbox(self._inbox, self._offset, until)
        self._offset = end
        for message in messages:
            self._override(message.data)

    def rows(self, step: int, *, batch: int, seed: int) -> list[Row]:
        """Return the corrected pairs that `step` is trained on again, drawn by the seed if there are many; log them."""
        if self._memory.kind != "overrides" or not self._pairs:
            return []
        most = max(1, int(batch * OVERRIDES_A_STEP))
        keys = sorted(self._pairs)
        if len(keys) > most:
            keys = random.Random(shuffler_seed(seed, "overrides", step)).sample(keys, most)
        self._events.write("overrides", step=step, pairs=[[key, self._pairs[key].p_first] for key in keys])
        return [dataclasses.replace(self._pairs[key], weight=self._memory.weight) for key in keys]

    def _override(self, data: dict[str, Any]) -> None:
        """The latest message on a pair counts; one without p_first (withdrawn, both bad) removes the pair."""
        key = str(data["pair"])
        if data.get("p_first") is None:
            self._pairs.pop(key, None)
            return
        sides = ("first", "second")
        ids = tuple(tuple(data.get(f"{side}_ids") or ()) for side in sides)
        row = Answered(data["prompt"], tuple(data[side] for side in sides), ids)
        self._pairs[key] = Row(PackItem(*encode_rows(self._tokenizer, [row])[0]), p_first=float(data["p_first"]))
