"""An httpx transport that looks up a host, checks every address, and connects to a checked address only.

The check and the connection use the same look-up, so a name that changes between them (DNS rebinding) gains nothing.
TLS still verifies the host of the URL, and the Host header names it. Also here: the deadline of a whole request, which
per-read timeouts don't provide (one byte a second never times out).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx
from typing_extensions import override

from prefloop.judging.addresses import Resolver, checked_addresses, normalise_allow, parse_base_url, resolve

MOST_AT_ONCE = 256  # calls that an endpoint can be set to get at once

_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("prefloop_judge_deadline", default=None)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit everything that the guarded transport does inside, in this thread, to `seconds` from now."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def _clip(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    """The smaller of `timeout` and the time left; raises `error` when none is left."""
    until = _deadline.get()
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise error("the request took longer than its deadline")
    return left if timeout is None else min(timeout, left)


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Read the trusted certificates once a process: it takes longer than many a request."""
    return httpx.create_ssl_context(trust_env=False)


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _clip(timeout, httpcore.ReadTimeout))

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _clip(timeout, httpcore.WriteTimeout))

    @override
    def close(self) -> None:
        self._stream.close()

    @override
    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, _clip(timeout, httpcore.ConnectTimeout))
        return _DeadlineStream(secured)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _GuardedBackend(httpcore.NetworkBackend):
    def __init__(self, *, allow: frozenset[str], resolver: Resolver) -> None:
        self._allow = allow
        self._resolver = resolver
        self._sockets = httpcore.SyncBackend()

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        last_error: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in checked_addresses(host, port, allow=self._allow, resolver=self._resolver):
            try:
                stream = self._sockets.connect_tcp(
                    address, port, _clip(timeout, httpcore.ConnectTimeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last_error = error
            else:
                return _DeadlineStream(stream)
        assert last_error is not None, "checked_addresses gives at least one address"  # noqa: S101
        raise last_error

    @override
    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise httpcore.UnsupportedProtocol("an endpoint is never a Unix socket")


_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
}


@contextlib.contextmanager
def _as_httpx_errors() -> Iterator[None]:
    try:
        yield
    except tuple(_ERRORS) as error:
        raise _ERRORS[type(error)](str(error) or type(error).__name__) from error


class _ResponseStream(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @override
    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_errors():
            yield from self._stream

    @override
    def close(self) -> None:
        self._stream.close()


class GuardedTransport(httpx.BaseTransport):
    """Sends requests to public hosts and to those in `allow` (`host:port`), never anywhere else.

    Raises EndpointForbidden for the rest. Reads no proxy variables and follows nothing. Safe to share among threads.
    """

    def __init__(
        self,
        *,
        allow: Iterable[str] = (),
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = MOST_AT_ONCE,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context or _trusted(),
            max_connections=max_connections,
            keepalive_expiry=30.0,
            network_backend=_GuardedBackend(allow=normalise_allow(allow), resolver=resolver),
        )

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        parse_base_url(str(request.url.copy_with(query=None, fragment=None)))  # the same rules at save and at use
        if not isinstance(request.stream, httpx.SyncByteStream):
            raise TypeError("the guarded transport is synchronous")
        with _as_httpx_errors():
            response = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_ResponseStream(response.stream),
            extensions=response.extensions,
        )

    @override
    def close(self) -> None:
        self._pool.close()
