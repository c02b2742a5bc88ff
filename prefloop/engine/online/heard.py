"""What people said while the run goes on: overrides, which are replayed, and changed settings.

A line of the inbox takes effect before a step, and which step that was is written to `events.jsonl`; so a run that is
taken up again hears the same words before the same steps.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefloop.config import ConfigError, apply_settings
from prefloop.engine.online.rows import Row
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.recipes.events import Event, EventWriter, InboxMessage, read_inbox
from prefloop.recipes.recipe import Label, Memory, Objective
from prefloop.seeds import shuffler_seed

# A change to these takes effect at the next step; the others decide what the run is.
CHANGEABLE = frozenset(
    f"objective.{name}"
    for name in (
        "alpha", "beta", "clip", "clip_range", "delta", "gamma", "jeffreys", "label_smoothing", "lambda", "lr", "tau",
        "value_coef",
    )
) | {"memory.weight", "label.noise"}  # fmt: skip
OVERRIDES_A_STEP = 0.25  # of the batch: at most so many corrected pairs are added to it


@dataclass(frozen=True, slots=True)
class Live:
    """The settings as they are now."""

    objective: Objective
    memory: Memory
    label: Label


class Heard:
    """The inbox, from the beginning of the run to where it stands."""

    def __init__(self, inbox: Path, events: EventWriter, earlier: Iterable[Event], live: Live, tokenizer: Any) -> None:
        self._inbox, self._events, self._tokenizer = inbox, events, tokenizer
        self._schedule = [(event.data["step"], event.data["offset"]) for event in earlier if event.type == "heard"]
        self._offset = 0
        self._pairs: dict[str, Row] = {}
        self.live = live

    def before(self, step: int) -> bool:
        """Take in what is due before `step` (1, 2, …), in order; say whether the settings changed."""
        due = [offset for at, offset in self._schedule if at <= step]
        known = max((at for at, _ in self._schedule), default=0)
        messages, end = read_inbox(self._inbox, self._offset)
        if step > known:
            if any(message.type in ("override", "settings") for message in messages):
                self._schedule.append((step, end))
                self._events.write("heard", step=step, offset=end)
        else:
            until = max(due, default=0)
            if until <= self._offset:
                return False
            messages, end = read_inbox(self._inbox, self._offset, until)
        self._offset = end
        return any([self._take(message) for message in messages])

    def rows(self, step: int, *, batch: int, seed: int) -> list[Row]:
        """Return the corrected pairs that `step` learns from again, drawn by the seed where there are many."""
        if self.live.memory.kind != "overrides" or not self._pairs:
            return []
        most = max(1, int(batch * OVERRIDES_A_STEP))
        keys = sorted(self._pairs)
        if len(keys) > most:
            keys = random.Random(shuffler_seed(seed, "overrides", step)).sample(keys, most)
        return [dataclasses.replace(self._pairs[key], weight=self.live.memory.weight) for key in keys]

    def _take(self, message: InboxMessage) -> bool:
        if message.type == "override":
            self._override(message.data)
        elif message.type == "settings":
            return self._change(message.data.get("set", {}))
        return False

    def _override(self, data: dict[str, Any]) -> None:
        """The latest word on a pair counts; one without p_first (withdrawn, both bad) takes the pair away."""
        key = str(data["pair"])
        if data.get("p_first") is None:
            self._pairs.pop(key, None)
            return
        first, second = (
            tuple(data.get(f"{which}_ids") or ()) or encode_completion(self._tokenizer, data[which])
            for which in ("first", "second")
        )
        item = PackItem(encode_prompt(self._tokenizer, data["prompt"]), (first, second))
        self._pairs[key] = Row(item, p_first=float(data["p_first"]))

    def _change(self, chosen: dict[str, Any]) -> bool:
        if strange := sorted(set(chosen) - CHANGEABLE):
            self._events.write("log", level="warning", message=f"{strange[0]} can't be changed while it runs")
            return False
        try:
            self.live = apply_settings(self.live, chosen)
        except ConfigError as error:
            self._events.write("log", level="warning", message=f"the change was not taken: {error}")
            return False
        return True
