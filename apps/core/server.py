"""A gunicorn worker whose threads serve requests without waiting for slow clients.

gunicorn's threaded worker gives a connection to a thread as soon as its first byte arrives; a client that then sends
half a header blocks that thread. Here the main loop itself collects the head and a small body, for any number of
clients, and hands over complete requests. A large body has to be read by a thread: at most half of the threads may do
so, and a body that comes too slowly is cut off. The main loop also closes connections cleanly. TLS is left to the
proxy.

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
    """A body that arrives too slowly for a thread to wait for it."""


class _Paced:
    """A socket for gunicorn's parser that gives up on a client that sends too slowly."""

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
    """gunicorn's threaded worker, with the waiting for clients moved out of its threads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gathering: dict[Any, float] = {}  # connection -> until when, oldest first
        self._closing: dict[Any, float] = {}
        self._waiting: deque[tuple[Any, float]] = deque()  # large bodies whose turn it is not yet
        self._n_large = 0
        self._most_large = max(1, self.cfg.threads // 2)

    def accept(self, listener: Any) -> None:
        """Accept a connection; a thread sees it only after a request has arrived."""
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
        """Collect the next request of a kept connection."""
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
        """In a thread: give the parser what was collected, then continue as gunicorn does."""
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
        """In a thread: don't wait for the rest of a large body."""
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
        """Announce the end, and keep reading for a moment: a response is lost if unread bytes are left."""
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
        """Close connections whose time is over."""
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
    """Whether a thread can continue with what was collected; notes whether it has to read a large body."""
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
