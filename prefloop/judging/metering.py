"""Reserve what a request to an endpoint can cost before it is sent, and settle it with the actual usage afterwards.

A reservation (`Hold`) is the most that the request can use. A request that may have been charged without a usable reply
(a timeout, half an answer) counts as that most, and a retry needs a new reservation. So spending never exceeds the cap,
whether a job, a trial or a training step asks.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import astuple, dataclass
from typing import Protocol

from prefloop.judging.errors import CapReached, JudgeUnreachable

LOOK_SECONDS = 0.5  # between two looks whether to go on
_FORM_TOKENS = 64  # what a chat's form may add to a request


@dataclass(frozen=True, slots=True)
class Most:
    """The most tokens that one request can use."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation: the tokens and money that were added to what is committed at an endpoint."""

    prompt_tokens: int
    completion_tokens: int
    nanos: int
    n_calls: int = 1  # requests that belong together
    month: str = ""  # in which it was made, where whoever keeps the cap counts by months: its first day

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


# a reservation and the request's usage: {} if the endpoint did not report it, None if the request was not sent
Call = tuple[Hold, Mapping[str, int] | None]


class Meter(Protocol):
    """Keeps the cap of an endpoint."""

    def hold(self, most: Sequence[Most]) -> list[Hold]:
        """Reserve all these requests, or none. Raises CapReached if that is more than is left."""
        ...


def tokens_at_most(*texts: str) -> int:
    """Return an upper bound of these texts' tokens under any tokenizer: one for each byte, and some for the form."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + _FORM_TOKENS


class Account:
    """The requests that are made for one item, in any thread: each uses a reservation and is settled.

    `more` is called if more requests are needed than were reserved; it blocks until one is reserved.
    """

    def __init__(self, held: list[Hold], more: Callable[[], Hold]) -> None:
        self._held, self._more = held, more
        self._calls: list[Call] = []

    def begin(self) -> None:
        """Use a reservation, before a request is sent. Raises CapReached."""
        if not self._held:
            self._held.append(self._more())

    def end(self, usage: Mapping[str, int] | None) -> None:
        """Settle the request. None: it was not sent, and its reservation is kept for the next one."""
        if usage is not None:
            self._calls.append((self._held.pop(0), dict(usage)))

    def close(self) -> list[Call]:
        """Return every reservation with its usage."""
        return [*self._calls, *((hold, None) for hold in self._held)]


_account: ContextVar[Account | None] = ContextVar("prefloop_judge_account", default=None)


@contextmanager
def on_account(account: Account | None) -> Iterator[None]:
    """Count the requests that this thread makes inside the context; None: they are not counted."""
    token = _account.set(account)
    try:
        yield
    finally:
        _account.reset(token)


def request_begins() -> None:
    """Called before each request that may be charged. Raises CapReached."""
    if (account := _account.get()) is not None:
        account.begin()


def request_ended(usage: Mapping[str, int] | None) -> None:
    """Called after each request with its usage: {} if it is not known, None if the request was not sent."""
    if (account := _account.get()) is not None:
        account.end(usage)


# --- a cap that another process keeps ---------------------------------------------------------------------------------


class RemoteMeter:
    """Reserves requests with the process that started this one, through a socket."""

    def __init__(self, link: socket.socket, judge: str, *, check: Callable[[], None] = lambda: None) -> None:
        self._link, self._judge, self._check = link, judge, check

    def hold(self, most: Sequence[Most]) -> list[Hold]:
        """Wait for the other side's reply. Raises CapReached, or JudgeUnreachable if the other process has ended."""
        try:
            asked = {"judge": self._judge, "most": [[one.prompt_tokens, one.completion_tokens] for one in most]}
            self._link.sendall(json.dumps(asked).encode() + b"\n")
            said = json.loads(self._line())
        except OSError as error:
            raise JudgeUnreachable(f"the worker that keeps the judge's cap is gone: {error}") from None
        if "reached" in said:
            raise CapReached(str(said["reached"]))
        return [Hold(*one) for one in said["held"]]

    def _line(self) -> bytes:
        self._link.settimeout(LOOK_SECONDS)
        got = b""
        while not got.endswith(b"\n"):
            try:
                part = self._link.recv(65_536)
            except TimeoutError:
                self._check()
                continue
            if not part:
                raise OSError("it closed the connection")
            got += part
        return got


class Requests:
    """The other side of a `RemoteMeter`: reads its requests and answers them."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._begun = b""
        self.closed = False
        link.setblocking(False)

    def wait(self, seconds: float) -> None:
        """Wait until there is a request or the process has ended, for at most so many seconds."""
        select.select([self._link], [], [], seconds)

    def read(self) -> list[tuple[str, list[Most]]]:
        """Return the requests since the last call, each with its judge."""
        with suppress(OSError):
            while part := self._link.recv(65_536):
                self._begun += part
            self.closed = True
        *lines, self._begun = self._begun.split(b"\n")
        return [(one["judge"], [Most(*most) for most in one["most"]]) for one in map(json.loads, lines)]

    def answer(self, said: Sequence[Hold] | CapReached) -> None:
        line = (
            {"reached": str(said)} if isinstance(said, CapReached) else {"held": [list(astuple(one)) for one in said]}
        )
        with suppress(OSError):  # it may have ended meanwhile: nothing was sent then
            self._link.sendall(json.dumps(line).encode() + b"\n")
