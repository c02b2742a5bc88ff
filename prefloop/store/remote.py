"""Objects in a store behind a URL (`s3://bucket/prefix`, `gs://…`): whole reads and writes through fsspec, tried again
where the network or the server fails. An object is written at once or not at all, as object stores do.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from prefloop.types import PrefloopError

T = TypeVar("T")
# Seconds between two attempts: a server that restarts, or answers "slow down", is back before the last one.
WAITS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0)
_FINAL = (FileNotFoundError, PermissionError, ImportError, NotImplementedError)
# No listing is remembered, since other machines write too, and botocore does not try again by itself.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "use_listings_cache": False,
        "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 0}},
    },
}


class StoreUnavailable(PrefloopError):
    """The store does not answer, or refuses."""

    http_status = 503


class Remote:
    """The objects below a URL. Safe to use in several threads, and in a process that was forked."""

    def __init__(self, url: str, *, waits: tuple[float, ...] = WAITS) -> None:
        self.url = url.rstrip("/")
        self._waits = waits
        self._opened: tuple[int, Any, str] | None = None
        self._lock = threading.Lock()

    def get(self, key: str, *, stop: Callable[[], bool] = lambda: False) -> bytes:
        """Read an object. Raises FileNotFoundError where there is none."""
        return self._tried(lambda fs, root: bytes(fs.cat_file(f"{root}/{key}")), f"reading {key}", stop)

    def put(self, key: str, content: bytes, *, stop: Callable[[], bool] = lambda: False) -> None:
        try:
            self._tried(lambda fs, root: fs.pipe_file(f"{root}/{key}", content), f"writing {key}", stop)
        except FileNotFoundError as error:
            raise StoreUnavailable(f"{self.url} is not there: {_line(error)}") from error

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        try:
            self._tried(lambda fs, root: fs.rm_file(f"{root}/{key}"), f"removing {key}")
        except FileNotFoundError:
            return

    def seen(self, key: str) -> tuple[int, dt.datetime] | None:
        """Return an object's size and when it was written, None where there is none."""

        def look(fs: Any, root: str) -> tuple[int, dt.datetime]:
            path = f"{root}/{key}"
            size = int(fs.info(path)["size"])
            return size, fs.modified(path)

        try:
            size, when = self._tried(look, f"looking for {key}")
        except FileNotFoundError:
            return None
        return size, when if when.tzinfo is not None else when.replace(tzinfo=dt.UTC)

    def keys(self, prefix: str) -> Iterator[str]:
        """List the objects whose keys begin with a folder's name."""

        def find(fs: Any, root: str) -> list[str]:
            return [str(path).removeprefix(f"{root}/") for path in fs.find(f"{root}/{prefix}")]

        try:
            yield from self._tried(find, f"listing {prefix}")
        except FileNotFoundError:
            return

    def _tried(self, act: Callable[[Any, str], T], doing: str, stop: Callable[[], bool] = lambda: False) -> T:
        """Act, again and again while the store fails. Raises StoreUnavailable at the end, or FileNotFoundError."""
        for wait in (*self._waits, None):
            try:
                return act(*self._filesystem())
            except _FINAL as error:
                if isinstance(error, FileNotFoundError):
                    raise
                raise StoreUnavailable(f"{self.url}: {doing} is refused: {_line(error)}") from error
            except Exception as error:  # each backend has errors of its own for a network that fails
                if wait is None or stop() or type(error).__name__ == "NoCredentialsError":
                    raise StoreUnavailable(f"{self.url}: {doing} failed: {_line(error)}") from error
                time.sleep(wait)
        raise AssertionError("the last attempt has no wait")

    def _filesystem(self) -> tuple[Any, str]:
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                import fsspec

                scheme = self.url.partition("://")[0]
                filesystem, root = fsspec.core.url_to_fs(self.url, skip_instance_cache=True, **_OPTIONS.get(scheme, {}))
                if hasattr(filesystem, "retries"):
                    filesystem.retries = 1  # ours are enough
                self._opened = os.getpid(), filesystem, str(root).rstrip("/")
            return self._opened[1:]


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
