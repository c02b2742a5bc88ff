"""A server on loopback that answers by a script, and endpoints that may call it."""

from __future__ import annotations

import json
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from prefloop.judging.client import ChatEndpoint, Limits

Behaviour = bytes | Callable[[socket.socket, threading.Event], None]


def http(
    body: bytes | str | dict[str, Any], *, status: str = "200 OK", kind: str = "application/json", **headers: str
) -> bytes:
    if isinstance(body, dict):
        body = json.dumps(body)
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def completion(text: str | None = "[[A]]", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, **message}
    return {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}], "usage": {"total_tokens": 7}}


@dataclass
class ScriptedServer:
    """Answers the n-th request by the n-th behaviour, and by the last one from then on."""

    script: list[Behaviour]
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def allow(self) -> list[str]:
        return [f"127.0.0.1:{self.port}"]

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            request = _read_request(connection)
            if not request:
                return
            with self._lock:
                behaviour = self.script[min(len(self.requests), len(self.script) - 1)]
                self.requests.append(request)
            if callable(behaviour):
                behaviour(connection, self._stop)
            else:
                connection.sendall(behaviour)
        except OSError:
            return  # the client went away, as it should from some of these
        finally:
            connection.close()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._socket.close()


def _read_request(connection: socket.socket) -> bytes:
    said = b""
    while b"\r\n\r\n" not in said:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        said += chunk
    head, _, body = said.partition(b"\r\n\r\n")
    length = next((int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            break
        body += chunk
    return head + b"\r\n\r\n" + body


QUICK = Limits(connect_seconds=2, read_seconds=2, total_seconds=10, attempts=3, max_bytes=100_000)


@dataclass
class Kit:
    """What the tests of the client use; `waits` are the seconds that it wanted to wait."""

    waits: list[float]
    _open: list[Any]

    http = staticmethod(http)
    completion = staticmethod(completion)
    QUICK = QUICK

    def serve(self, *script: Behaviour, tls: ssl.SSLContext | None = None) -> ScriptedServer:
        server = ScriptedServer(list(script), tls)
        self._open.append(server)
        return server

    def endpoint(self, server: ScriptedServer, **options: Any) -> ChatEndpoint:
        options = {
            "limits": QUICK,
            "sleep": self.waits.append,
            "jitter": random.Random(0),
            "allow": server.allow,
        } | options
        endpoint = ChatEndpoint(
            options.pop("base_url", server.url), "some-model", options.pop("api_key", "sk-canary"), **options
        )
        self._open.append(endpoint)
        return endpoint


@pytest.fixture
def kit() -> Iterator[Kit]:
    made = Kit([], [])
    yield made
    for thing in reversed(made._open):
        thing.close()
