"""The row that every writer of preferences writes in its own form."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefloop.preference import outcome_at
from prefloop.records import Metadata
from prefloop.types import Outcome, Split

Prompt = str | tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A comparison and its effective label. `outcome` decides if given, else the side of ½ that `p_first` is on."""

    id: str
    prompt: Prompt
    first: str
    second: str
    outcome: Outcome | None = None
    p_first: float | None = None
    first_model: str = ""
    second_model: str = ""
    split: Split | None = None
    source: str = ""  # override | adjudication | human | judge:NAME | scores | data
    metadata: Metadata = field(default_factory=dict)

    @property
    def label(self) -> Outcome | None:
        if self.outcome is not None:
            return self.outcome
        return None if self.p_first is None else outcome_at(self.p_first)

    @property
    def decided(self) -> tuple[str, str] | None:
        """Chosen and rejected answer; None if neither is better."""
        if self.label == "first":
            return self.first, self.second
        return (self.second, self.first) if self.label == "second" else None
