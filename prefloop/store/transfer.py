"""Moving files to and from a store in chunks that are named by their SHA-256.

A file is a list of chunks, so that a transfer that was ended goes on with the next chunk, a chunk that several files or
versions share is stored once, and each one is compared with its hash when it arrives.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from prefloop import interrupting
from prefloop.store.remote import Remote
from prefloop.types import PrefloopError

CHUNK_BYTES = 32 << 20
GROWING_BYTES = 1 << 20  # of a log: only the last chunk changes as it grows
GROWING = (".jsonl", ".log")
AT_ONCE = 4  # chunks on their way; as many are in memory
# A chunk that is this old is stored again, so that what removes old chunks that nothing names never meets it.
FRESH = dt.timedelta(hours=12)
_TRIES = 5

T = TypeVar("T")
R = TypeVar("R")


class DamagedArtifact(PrefloopError):
    """What the store gives is not what was stored."""


class FileEntry(TypedDict):
    """A file of an artifact: its chunks are [SHA-256, bytes]."""

    name: str
    size: int
    chunks: list[list[Any]]


def chunk_key(sha256: str) -> str:
    return f"chunks/{sha256[:2]}/{sha256}"


class Known:
    """What this process has stored lately, so that neither the store is asked again nor a file read again."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.chunks: set[str] = set()
        self.files: dict[tuple[int, ...], list[list[Any]]] = {}  # by what tells one state of a file from others

    def forget_old(self) -> None:
        """Forget all of it before it could have been removed from the store."""
        if time.monotonic() - self._since > FRESH.total_seconds() / 2:
            self._since = time.monotonic()
            self.chunks, self.files = set(), {}


def push_file(remote: Remote, path: Path, name: str, known: Known) -> FileEntry:
    """Store a file as it is now, chunk by chunk, and return its entry. Raises StoreUnavailable, and OSError."""
    found = path.stat()
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    step = GROWING_BYTES if path.suffix in GROWING else CHUNK_BYTES

    def read() -> Iterator[bytes]:
        with path.open("rb") as stream:
            left = found.st_size
            while left > 0:
                content = stream.read(min(step, left))
                if not content:
                    raise DamagedArtifact(f"{name} became shorter while it was stored")
                left -= len(content)
                yield content

    def put(content: bytes, stop: Callable[[], bool]) -> list[Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 not in known.chunks:
            there = remote.seen(chunk_key(sha256))
            if there is None or there[0] != len(content) or dt.datetime.now(dt.UTC) - there[1] > FRESH:
                remote.put(chunk_key(sha256), content, stop=stop)
            known.chunks.add(sha256)
        return [sha256, len(content)]

    if state not in known.files:
        known.files[state] = list(_in_order(read(), put))
    return {"name": name, "size": found.st_size, "chunks": known.files[state]}


def fetch_file(remote: Remote, entry: FileEntry, target: Path) -> None:
    """Write a file's content to `target`, after the chunks that an earlier attempt has left there.

    Raises StoreUnavailable, and DamagedArtifact for a chunk that is missing or never arrives as it was stored.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("r+b" if target.exists() else "w+b") as stream:
        n_there, place = _arrived(stream, entry)
        stream.seek(place)
        stream.truncate()
        for content in _in_order(entry["chunks"][n_there:], lambda chunk, stop: read_chunk(remote, chunk, stop=stop)):
            stream.write(content)
            stream.flush()


def read_chunk(remote: Remote, chunk: list[Any], *, stop: Callable[[], bool] = lambda: False) -> bytes:
    """Read a chunk and compare it with its hash. Raises DamagedArtifact."""
    sha256, n_bytes = chunk
    for _ in range(_TRIES):
        try:
            content = remote.get(chunk_key(sha256), stop=stop)
        except FileNotFoundError as error:
            raise DamagedArtifact(f"{remote.url} has lost the content {sha256[:12]}…") from error
        if len(content) == n_bytes and hashlib.sha256(content).hexdigest() == sha256:
            return content
        if stop():
            break
    raise DamagedArtifact(f"{remote.url} gives another content than the {n_bytes} bytes of {sha256[:12]}…")


def _arrived(stream: Any, entry: FileEntry) -> tuple[int, int]:
    """Count the whole chunks that are there already, and their bytes."""
    place = 0
    for number, (sha256, n_bytes) in enumerate(entry["chunks"]):
        content = stream.read(n_bytes)
        interrupting.ask()
        if len(content) != n_bytes or hashlib.sha256(content).hexdigest() != sha256:
            return number, place
        place += n_bytes
    return len(entry["chunks"]), place


def _in_order(items: Iterable[T], act: Callable[[T, Callable[[], bool]], R]) -> Iterator[R]:
    """Act on some items at once and give the results in order; no more than AT_ONCE are held."""
    with _threads() as (pool, stop):
        under_way: deque[Future[R]] = deque()
        for item in items:
            under_way.append(pool.submit(act, item, stop))
            if len(under_way) == AT_ONCE:
                yield under_way.popleft().result()
            interrupting.ask()
        while under_way:
            yield under_way.popleft().result()
            interrupting.ask()


@contextmanager
def _threads() -> Iterator[tuple[ThreadPoolExecutor, Callable[[], bool]]]:
    """Threads that are told to stop where the block ends early; nobody waits for them then."""
    ended = threading.Event()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store")
    try:
        yield pool, ended.is_set
    finally:
        ended.set()
        pool.shutdown(wait=False, cancel_futures=True)
