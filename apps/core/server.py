"""A gunicorn worker whose threads answer people, and do not wait for clients who are slow to ask.

gunicorn's threaded worker gives a connection to a thread as soon as its first byte is there; a client who then sends
half a header holds that thread. Here the main loop gathers the head and a small body itself, for as many clients as
there are, and hands over what is complete. Where a body is large, a thread has to read it: half of the threads may, and
a body that comes too slowly is ended. Closing politely is done by the main loop too. TLS is for the proxy in front.

    gunicorn --worker-class apps.core.server.PatientWorker --threads 8 …
"""

from __future__ import annotations

import errno
import re
import socket
import struct
import time
from collections import deque
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_BYTES = 64 * 1024  # gunicorn's own limits are lower; whatever is longer goes to it and is refused
SMALL_BODY = 64 * 1024
GATHER_SECONDS = 20.0  # for a head with a small body, from its first byte
WAIT_SECONDS = 60.0  # for a large body's turn
STILL_SECONDS = 20  # that a thread waits for one more byte, in either direction
SLOW_BYTES = 20_000  # a second, below which a large body is ended
_PIECE = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)


class TooSlow(OSError):
    """A body that comes so slowly that a thread shall not wait for it."""


class _Paced:
    """A socket for gunicorn's parser that gives up on a client who sends a trickle."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seconds = 0.0  # waited
        self._n_bytes = 0

    def recv(self, n: int) -> bytes:
        began = time.monotonic()
        try:
            data = self._sock.recv(n)
        except BlockingIOError:  # SO_RCVTIMEO
            raise TooSlow(errno.ECONNRESET, "a body stopped coming") from None
        self._seconds += time.monotonic() - began
        self._n_bytes += len(data)
        if self._seconds > STILL_SECONDS + self._n_bytes / SLOW_BYTES:
            raise TooSlow(errno.ECONNRESET, f"a body came at less than {SLOW_BYTES:,} bytes a second")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, with the waiting for clients taken out of its threads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gathering: dict[Any, float] = {}  # connection -> until when, oldest first
        self._closing: dict[Any, float] = {}
        self._waiting: deque[tuple[Any, float]] = deque()  # large bodies whose turn it is not yet
        self._n_large = 0
        self._most_large = max(1, self.cfg.threads // 2)

    def accept(self, listener: Any) -> None:
        """Take a connection in; a thread sees it when it has asked something."""
        if self.cfg.is_ssl:
            super().accept(listener)
            return
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, sock, client, listener.getsockname())
        still = struct.pack("@ll", STILL_SECONDS, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, still)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, still)
        self._gather(conn)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Gather the next request of a connection that was kept."""
        if self.cfg.is_ssl:
            super().on_client_socket_readable(conn, client)
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._gather(conn)

    def _gather(self, conn: Any, already: bytes = b"") -> None:
        conn.gathered = bytearray(already)
        conn.is_large = False
        conn.n_wanted = 0  # bytes, once the head is there
        if already and _is_complete(conn):
            self._hand_over_in_turn(conn)
            return
        conn.sock.setblocking(False)
        self._gathering[conn] = time.monotonic() + GATHER_SECONDS
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_bytes, conn))

    def _on_bytes(self, conn: Any, sock: Any) -> None:
        try:
            piece = sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        conn.gathered += piece
        if piece and not _is_complete(conn):
            return
        self._gathering.pop(conn, None)
        self.poller.unregister(sock)
        if not piece and not conn.gathered:
            self._forget(conn)
        else:
            self._hand_over_in_turn(conn)

    def _hand_over_in_turn(self, conn: Any) -> None:
        if conn.is_large and self._n_large >= self._most_large:
            self._waiting.append((conn, time.monotonic() + WAIT_SECONDS))
        else:
            self._hand_over(conn)

    def _hand_over(self, conn: Any) -> None:
        self._n_large += conn.is_large
        conn.data_ready = True
        self.enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        """In a thread: give the parser what was gathered, then go on as gunicorn does."""
        if not self.cfg.is_ssl:
            try:
                conn.sock.setblocking(True)
                conn.init()
                if not conn.is_http2:
                    unreader = conn.parser.unreader
                    unreader.sock = _Paced(conn.sock)
                    unreader.unread(bytes(conn.gathered))
                    conn.gathered = bytearray()
            except OSError:
                return False
        return super().handle(conn)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """In a thread: what is left of a large body is not waited for."""
        return not getattr(conn, "is_large", False) and bool(super()._keepalive_after(conn, keepalive))

    def finish_request(self, conn: Any, fs: Any) -> None:
        """In the main loop: keep the connection, or close it without waiting for the client."""
        if getattr(conn, "is_large", False):
            conn.is_large = False
            self._n_large -= 1
            self._next_large()
        if self.cfg.is_ssl:
            super().finish_request(conn, fs)
            return
        try:
            keeps = bool(fs.result()) if not fs.cancelled() else False
        except Exception:  # noqa: BLE001 - as gunicorn: whatever it was, the connection ends
            keeps = False
        if keeps and (already := conn.parser.unreader.take_buffered()):
            self._gather(conn, already)
        elif keeps:
            super().finish_request(conn, fs)
        else:
            self._close(conn)

    def _next_large(self) -> None:
        while self._waiting and self._n_large < self._most_large:
            conn, _ = self._waiting.popleft()
            self._hand_over(conn)

    def _close(self, conn: Any) -> None:
        """Say that no more comes, and read on for a moment: an answer is lost where bytes are left unread."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._on_rest, conn))
        except (OSError, ValueError, KeyError):
            self._forget(conn)
            return
        conn.n_rest = 0
        self._closing[conn] = time.monotonic() + 2.0

    def _on_rest(self, conn: Any, sock: Any) -> None:
        try:
            piece = sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        conn.n_rest += len(piece)
        if not piece or conn.n_rest > 16 * _PIECE:
            self._closing.pop(conn, None)
            self.poller.unregister(sock)
            self._forget(conn)

    def _forget(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """End what has had its time."""
        super().murder_pending()
        now = time.monotonic()
        for held in (self._gathering, self._closing):
            while held and (conn := next(iter(held))) and (held[conn] < now or not self.alive):
                del held[conn]
                self.poller.unregister(conn.sock)
                self._forget(conn)
        while self._waiting and (self._waiting[0][1] < now or not self.alive):
            self._forget(self._waiting.popleft()[0])


def _is_complete(conn: Any) -> bool:
    """Whether a thread can go on with what was gathered; notes whether it has to read a large body."""
    if not conn.n_wanted:
        end = conn.gathered.find(b"\r\n\r\n")
        if end < 0:
            return len(conn.gathered) > HEAD_BYTES
        head = bytes(conn.gathered[: end + 2])
        found = _LENGTH.search(head)
        n_bytes = int(found[1]) if found else 0
        conn.n_wanted = end + 4 + n_bytes
        conn.is_large = n_bytes > SMALL_BODY or _CHUNKED.search(head) is not None
    return bool(conn.is_large) or len(conn.gathered) >= conn.n_wanted
