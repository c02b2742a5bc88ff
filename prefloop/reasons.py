"""The short reasons that annotators can choose with an answer: what a list of them may be, and one to begin with."""

from __future__ import annotations

from collections.abc import Sequence

from prefloop.types import PrefloopError

LONGEST, MOST = 40, 12
PRESETS: dict[str, tuple[str, ...]] = {
    "usual reasons": (
        "more accurate",
        "follows the instruction",
        "more complete",
        "better style",
        "safer",
        "too long",
        "too short",
    ),
}


class BadReason(PrefloopError):
    """A list of short reasons that cannot be used."""


def reasons_checked(reasons: Sequence[str]) -> tuple[str, ...]:
    """Return short reasons without blanks around them. Raises BadReason if one is empty, long, or there twice."""
    found = tuple(reason.strip() for reason in reasons)
    for reason in found:
        if not reason or len(reason) > LONGEST or not reason.isprintable():
            raise BadReason(f"a short reason is one line of 1 to {LONGEST} characters, not {reason[:60]!r}")
        if found.count(reason) > 1:
            raise BadReason(f"the reason {reason!r} stands there twice")
    if len(found) > MOST:
        raise BadReason(f"there are at most {MOST} short reasons, not {len(found)}")
    return found


def reasons_read(text: str) -> tuple[str, ...]:
    """Read one short reason a line. Raises BadReason."""
    return reasons_checked([line for line in text.splitlines() if line.strip()])


def reasons_written(reasons: Sequence[str]) -> str:
    """Write short reasons as `reasons_read` reads them."""
    return "\n".join(reasons)
