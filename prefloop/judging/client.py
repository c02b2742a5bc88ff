"""A client of OpenAI-compatible endpoints: bounded in time, bytes and retries, and careful where it connects.

Used for judges, and for models that answer prompts. Synchronous and safe to share among the threads of a batch.
Responses are untrusted data: no redirect is followed, no proxy variable read, no more than `Limits.max_bytes` kept, and
a key never appears in an error.
"""

from __future__ import annotations

import email.utils
import json
import math
import random
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import orjson
from typing_extensions import override

from prefloop.answers import storable
from prefloop.judging.addresses import Resolver, parse_base_url, resolve
from prefloop.judging.breaker import CircuitBreaker
from prefloop.judging.errors import (
    JudgeAnswerTooLong,
    JudgeBadAnswer,
    JudgeError,
    JudgeRefused,
    JudgeRejectedItem,
    JudgeUnreachable,
)
from prefloop.judging.metering import request_begins, request_ended
from prefloop.judging.render import Message
from prefloop.judging.replies import EXCERPT_CHARS, ChatReply, TextReply, chat_reply, model_names, text_reply
from prefloop.judging.transport import GuardedTransport, deadline

T = TypeVar("T")
E = TypeVar("E", bound=JudgeError)

ERROR_BODY_BYTES = 64_000
_RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REJECTED_STATUS = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one `chat`: seconds, bytes after decompression, and attempts (the first included)."""

    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    total_seconds: float = 180.0  # retries and waits included
    max_bytes: int = 4_000_000
    attempts: int = 4
    backoff_seconds: float = 0.5  # doubled each time, jittered
    longest_wait_seconds: float = 60.0  # a Retry-After beyond this is left to the caller


class ChatEndpoint:
    """One model at one base URL. Raises the errors of `prefloop.judging.errors`, and nothing else, for what it meets.

    `base_url` ends before `/chat/completions` (usually in `/v1`). `allow`: the `host:port` that may be private.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str = "",
        allow: Iterable[str] = (),
        *,
        limits: Limits | None = None,
        breaker: CircuitBreaker | None = None,
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: random.Random | None = None,
    ) -> None:
        address = parse_base_url(base_url)
        if not (api_key.isascii() and (api_key.isprintable() or not api_key)):
            raise JudgeRefused("the API key has characters that no key has (a line break from pasting?)")
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.limits = limits or Limits()
        self.breaker = breaker or CircuitBreaker()
        self._name = f"the endpoint {address.host_port}"
        self._api_key = api_key
        self._sleep = sleep
        self._jitter = jitter or random.Random()
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "prefloop"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx.Client(
            transport=GuardedTransport(allow=allow, resolver=resolver, ssl_context=ssl_context),
            headers=headers,
            timeout=httpx.Timeout(self.limits.read_seconds, connect=self.limits.connect_seconds),
            follow_redirects=False,
            trust_env=False,
        )

    @override
    def __repr__(self) -> str:
        return f"ChatEndpoint({self.base_url!r}, {self.model!r})"  # never the key

    def __enter__(self) -> ChatEndpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        top_p: float | None = None,
        max_tokens: int = 1024,
        seed: int | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
        response_format: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """Ask for one chat completion."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        if top_p is not None:
            body["top_p"] = top_p
        if seed is not None:
            body["seed"] = seed
        if logprobs:
            body |= {"logprobs": True, "top_logprobs": top_logprobs}
        if response_format is not None:
            body["response_format"] = dict(response_format)
        return self._ask("POST", "/chat/completions", body, chat_reply)

    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int,
        seed: int | None = None,
        logprobs: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> TextReply:
        """Ask how a text (or its token ids) continues. `more`: settings of this server beyond the protocol."""
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            **(more or {}),
        }
        if seed is not None:
            body["seed"] = seed
        if logprobs is not None:
            body["logprobs"] = logprobs
        return self._ask("POST", "/completions", body, text_reply)

    def models(self) -> list[str]:
        """Return the names of the models that the endpoint serves, for a "test this endpoint" button."""
        return self._ask("GET", "/models", None, model_names)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, read: Callable[[Any], T]) -> T:
        self.breaker.check(self._name)
        answered = False
        try:
            result = self._attempts(method, path, body, read)
            answered = True
        except JudgeError as error:
            answered = not isinstance(error, JudgeUnreachable)
            raise
        finally:
            if answered:
                self.breaker.succeeded()
            else:
                self.breaker.failed()
        return result

    def _attempts(self, method: str, path: str, body: dict[str, Any] | None, read: Callable[[Any], T]) -> T:
        give_up_at = time.monotonic() + self.limits.total_seconds
        for attempt in range(1, self.limits.attempts + 1):
            if body is not None:
                request_begins()
            told: Mapping[str, int] | None = None
            try:
                with deadline(give_up_at - time.monotonic()):
                    result = read(self._once(method, path, body))
                told = getattr(result, "usage", {})
                return result
            except JudgeError as error:
                told = {} if error.may_have_cost else None
                raise
            except _Again as again:
                told = {} if again.error.may_have_cost else None
                wait = self._wait(attempt, again.retry_after)
                too_long = wait > self.limits.longest_wait_seconds or time.monotonic() + wait > give_up_at
                if attempt == self.limits.attempts or too_long:
                    raise again.error from None
            finally:
                if body is not None:
                    request_ended(told)
            self._sleep(wait)
        raise AssertionError("limits.attempts is at least 1")

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        """Doubling, jittered so that threads don't come back together; never before Retry-After."""
        backoff = self.limits.backoff_seconds * 2.0 ** (attempt - 1) * self._jitter.uniform(0.5, 1.0)
        return max(retry_after or 0.0, min(backoff, self.limits.longest_wait_seconds))

    def _once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """Make one request and return its JSON. Raises JudgeError, or _Again around it if a retry may help."""
        content = None if body is None else json.dumps(body).encode()  # unlike orjson it takes lone surrogates
        headers = {"Content-Type": "application/json"} if content else {}
        try:
            with self._client.stream(method, self.base_url + path, content=content, headers=headers) as response:
                cap = self.limits.max_bytes if response.status_code == 200 else ERROR_BODY_BYTES
                status, kind = response.status_code, response.headers.get("content-type", "")
                retry_after = _retry_after(response.headers)
                said = self._read(response, cap, cut=status != 200)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Again(JudgeUnreachable(f"{self._name} cannot be reached: {_line(str(error))}")) from None
        except httpx.TimeoutException:
            raise _Again(_paid(JudgeUnreachable(f"{self._name} did not answer in time", per_item=True))) from None
        except httpx.TransportError as error:
            message = f"{self._name} broke off: {_line(str(error))}"
            raise _Again(_paid(JudgeUnreachable(message, per_item=True))) from None
        if status != 200:
            raise self._status_error(status, said, kind, retry_after)
        return self._parsed(said, kind)

    def _read(self, response: httpx.Response, cap: int, *, cut: bool) -> bytes:
        """The body, decompressed, at most `cap` bytes of it; past the cap it is cut, or JudgeAnswerTooLong raised."""
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise JudgeBadAnswer(f"{self._name} answered in an encoding it was not asked for ({_line(encoding)})")
        inflate = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)
        body = bytearray()
        for chunk in response.iter_raw():
            try:
                body += chunk if inflate is None else inflate.decompress(chunk, cap + 1 - len(body))
            except zlib.error as error:
                raise _paid(JudgeBadAnswer(f"{self._name} answered with broken compression: {error}")) from None
            if len(body) > cap:
                if cut:
                    return bytes(body[:cap])
                message = f"{self._name} answered with more than {cap:,} bytes"
                raise _paid(JudgeAnswerTooLong(message, excerpt=self._excerpt(bytes(body[:cap]))))
        return bytes(body)

    def _parsed(self, said: bytes, kind: str) -> Any:
        excerpt = self._excerpt(said)
        if "html" in kind.lower() or said.lstrip()[:1] == b"<":
            raise JudgeBadAnswer(
                f"{self._name} answered HTML, not JSON: is {self.base_url} an OpenAI-compatible /v1 base URL?",
                excerpt=excerpt,
            )
        try:
            parsed = orjson.loads(said)
        except orjson.JSONDecodeError:
            what = "half a JSON text" if said.lstrip()[:1] in (b"{", b"[") else "no JSON"
            message = f"{self._name} answered with {what}: {_line(excerpt)[:80]!r}"
            raise _Again(_paid(JudgeBadAnswer(message, excerpt=excerpt))) from None
        if isinstance(parsed, dict) and parsed.get("error"):
            raise JudgeBadAnswer(f"{self._name} answered with an error: {_error_text(parsed)}", excerpt=excerpt)
        return parsed

    def _status_error(self, status: int, said: bytes, kind: str, retry_after: float | None) -> Exception:
        excerpt = self._excerpt(said)
        detail = "" if "html" in kind.lower() or said.lstrip()[:1] == b"<" else _line(_detail(excerpt))[:200]
        told = f"{self._name} answered {status}" + (f": {detail}" if detail else "")
        if status in (401, 403):
            return JudgeRefused(f"{told} (is the API key right for {self.base_url}?)")
        if status == 429 and "insufficient_quota" in excerpt:
            return JudgeRefused(told)
        if status in _RETRIED_STATUS:
            message = f"{told}, however often asked"
            return _Again(JudgeUnreachable(message, retry_after=retry_after, per_item=status == 500), retry_after)
        if status in _REJECTED_STATUS:
            return JudgeRejectedItem(told, excerpt=excerpt)
        if 300 <= status < 400:
            return JudgeBadAnswer(
                f"{told}: redirects are not followed; give the final base URL", excerpt=excerpt, per_item=False
            )
        if status == 404:
            return JudgeBadAnswer(
                f"{told} (does {self.base_url} end in /v1, and does it serve the model {self.model!r}?)",
                excerpt=excerpt,
                per_item=False,
            )
        return JudgeBadAnswer(told, excerpt=excerpt, per_item=False)

    def _excerpt(self, said: bytes) -> str:
        text = said.decode("utf-8", "replace")
        if self._api_key:
            text = text.replace(self._api_key, "…")
        return storable(text[:EXCERPT_CHARS])


class _Again(Exception):
    """A retry may help; `error` is raised if it doesn't."""

    def __init__(self, error: JudgeError, retry_after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


def _paid(error: E) -> E:
    """Say that the request may have been charged."""
    error.may_have_cost = True
    return error


def _line(text: str) -> str:
    """`text` on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:300]


def _detail(excerpt: str) -> str:
    try:
        parsed = orjson.loads(excerpt)
    except orjson.JSONDecodeError:
        return excerpt
    return _error_text(parsed) if isinstance(parsed, dict) else excerpt


def _error_text(parsed: Mapping[str, Any]) -> str:
    error = parsed.get("error", parsed.get("message", parsed.get("detail", "")))
    if isinstance(error, Mapping):
        error = error.get("message", error)
    return _line(str(error))


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None where the header is absent or nonsense."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
