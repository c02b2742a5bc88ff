"""What can go wrong between us and a judge, each with one clear line.

`per_item` says whether the trouble may be this item's alone (the next may fare better); else it is the endpoint's, and
a batch pauses until somebody has put it right. `may_have_cost` says whether the request may have been charged although
nothing came of it.
"""

from __future__ import annotations

from prefloop.types import PrefloopError


class JudgeError(PrefloopError):
    """Any error of a judge's endpoint."""

    per_item = False
    may_have_cost = False


class CapReached(JudgeError):
    """The next request could take more than what is left under a cap."""


class EndpointForbidden(JudgeError):
    """This installation may not call the address."""


class JudgeUnreachable(JudgeError):
    """No response, or only server errors after all retries. `retry_after` in seconds, if known."""

    def __init__(self, message: str, *, retry_after: float | None = None, per_item: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.per_item = per_item


class JudgeRefused(JudgeError):
    """The endpoint refuses us: the key is missing or wrong, or its credit is used up."""


class JudgeBadAnswer(JudgeError):
    """The endpoint's response is not a chat completion. `excerpt` is its beginning."""

    def __init__(self, message: str, *, excerpt: str = "", per_item: bool = True) -> None:
        super().__init__(message)
        self.excerpt = excerpt
        self.per_item = per_item


class JudgeRejectedItem(JudgeBadAnswer):
    """The endpoint can't process this request (400, 413, 422): too long for its context, for instance."""


class JudgeAnswerTooLong(JudgeBadAnswer):
    """The response exceeded the byte limit; its beginning is in `excerpt`."""
