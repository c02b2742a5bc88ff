"""How a record spelled what the database keeps otherwise."""

from __future__ import annotations

from typing import Any

from prefloop.records import Record, time_of, written_time


def spelling_of(record: Record) -> dict[str, Any]:
    """Keep what the columns lose of a record's spelling; empty for most records."""
    kept: dict[str, Any] = {}
    if record.split == "train":
        kept["split"] = "train"
    for name, times in (("votes", [v.at for v in record.votes]), ("overrides", [o.at for o in record.overrides])):
        spelled = {str(i): at for i, at in enumerate(times) if at and written_time(time_of(at)) != at}
        if spelled:
            kept[name] = spelled
    soft = [i for i, verdict in enumerate(record.verdicts) if verdict.choice is None and verdict.state == "ok"]
    if soft:
        kept["verdicts"] = soft
    return kept
