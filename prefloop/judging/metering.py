"""What each request to a judge may cost: held under the cap before it is sent, settled by what was told after it.

A request is held at the most that it can take. One that may have been charged and brought nothing (no answer in time,
half an answer) counts as that most, and asking again takes a hold of its own. So what was spent can't pass a cap, not
by one request, whoever asks: a job, a trial or a training step.
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
    """The most tokens that one request can take."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Hold:
    """What was added for a request to the committed tokens and money of its endpoint."""

    prompt_tokens: int
    completion_tokens: int
    nanos: int
    n_calls: int = 1  # requests that belong together

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


# a request's hold and its usage: {} where it was not told, None where nothing was taken
Call = tuple[Hold, Mapping[str, int] | None]


class Meter(Protocol):
    """Whoever keeps a cap."""

    def hold(self, most: Sequence[Most]) -> list[Hold]:
        """Hold what these requests can take, all or none. Raises CapReached where that is more than is left."""
        ...


def tokens_at_most(*texts: str) -> int:
    """More tokens than these texts are with any tokenizer: each stands for a byte or more; and some for the form."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + _FORM_TOKENS


class Account:
    """The requests made for one question, in whatever thread makes them: each takes a hold, and is settled.

    `more` is asked where another request is needed than those that were held; it blocks until there is a hold.
    """

    def __init__(self, held: list[Hold], more: Callable[[], Hold]) -> None:
        self._held, self._more = held, more
        self._calls: list[Call] = []

    def begin(self) -> None:
        """Before a request is sent. Raises CapReached."""
        if not self._held:
            self._held.append(self._more())

    def end(self, usage: Mapping[str, int] | None) -> None:
        """Settle the request; None: nothing was taken, and its hold is the next one's."""
        if usage is not None:
            self._calls.append((self._held.pop(0), dict(usage)))

    def close(self) -> list[Call]:
        """Give all that was held, and what became of it."""
        return [*self._calls, *((hold, None) for hold in self._held)]


_account: ContextVar[Account | None] = ContextVar("prefloop_judge_account", default=None)


@contextmanager
def on_account(account: Account | None) -> Iterator[None]:
    """Count the requests that this thread makes within; None: they cost nothing."""
    token = _account.set(account)
    try:
        yield
    finally:
        _account.reset(token)


def request_begins() -> None:
    """Called before each request that may cost. Raises CapReached."""
    if (account := _account.get()) is not None:
        account.begin()


def request_ended(usage: Mapping[str, int] | None) -> None:
    """Called after each: with what it took, {} where that is not known, None where it was nothing."""
    if (account := _account.get()) is not None:
        account.end(usage)


# --- a cap that another process keeps ---------------------------------------------------------------------------------


class RemoteMeter:
    """Asks the process that started this one, by a socket, to hold what each request to a judge can take."""

    def __init__(self, link: socket.socket, judge: str, *, check: Callable[[], None] = lambda: None) -> None:
        self._link, self._judge, self._check = link, judge, check

    def hold(self, most: Sequence[Most]) -> list[Hold]:
        """Wait for the other side's word. Raises CapReached, JudgeUnreachable where nobody is there any more."""
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
    """The other side of a `RemoteMeter`: what is asked for, and the answers."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._begun = b""
        self.closed = False
        link.setblocking(False)

    def wait(self, seconds: float) -> None:
        """Wait until something is asked for, the process is gone, or so long."""
        select.select([self._link], [], [], seconds)

    def read(self) -> list[tuple[str, list[Most]]]:
        """Give what has been asked for since the last time, each with its judge."""
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
