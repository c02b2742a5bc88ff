"""Times in records: read with their zone, written in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from prefloop.records.form import InvalidRecord


def time_of(text: str) -> datetime:
    """Read an ISO 8601 time; one without a zone is taken as UTC. Raises InvalidRecord outside of the years 1–9999."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRecord(f"{text!r} is not a time that can be kept") from None


def written_time(moment: datetime) -> str:
    """Write a time as the export does: UTC, ending in Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
