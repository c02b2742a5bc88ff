"""What this machine has of a store: a mark for each artifact says which version lies at its place and how large it is.

A mark has a lock beside it: who uses the artifact shares the lock, who removes the artifact has it alone. The time of
the lock is that of the last use. An artifact within another one (a run's result) goes together with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO

GRACE_SECONDS = 600.0  # what was used so lately is not removed, held or not
LEFT_SECONDS = 86_400.0  # after which what an ended transfer left is not gone on with
_holds: ContextVar[dict[Path, IO[bytes]] | None] = ContextVar("holds", default=None)


@contextmanager
def holding() -> Iterator[None]:
    """Keep what is fetched within the block in the cache until the block ends."""
    held: dict[Path, IO[bytes]] = {}
    token = _holds.set(held)
    try:
        yield
    finally:
        _holds.reset(token)
        for stream in held.values():
            stream.close()


@dataclass(frozen=True, slots=True)
class Mark:
    """What lies at a place. `changes`: it is being written to here, so that `versions` are those it has grown from."""

    place: str = ""
    versions: tuple[str, ...] = ()
    n_bytes: int = 0
    changes: bool = False


class Cache:
    """Marks of artifacts below `root`, kept in `folder` on the same disk; `most_bytes` is what they may take."""

    def __init__(self, folder: Path, root: Path, most_bytes: int) -> None:
        self.folder, self._root, self._most_bytes = folder, root, most_bytes

    # --- marks --------------------------------------------------------------------------------------------------------

    def mark(self, place: Path) -> Mark:
        return _read(self._mark_path(place))

    def marks(self) -> list[Mark]:
        return [mark for path in (self.folder / "marks").glob("*.json") if (mark := _read(path)).versions]

    def has(self, place: Path, version: str) -> bool:
        return place.exists() and version in self.mark(place).versions

    def remark(self, place: Path, **values: object) -> None:
        """Change a mark, or make one."""
        path = self._mark_path(place)
        made = replace(_read(path), place=str(place), **values)  # type: ignore[arg-type] # as a Mark's fields are
        write_whole(path, json.dumps(asdict(made)).encode())
        path.with_suffix(".lock").touch()

    def hold(self, place: Path) -> None:
        """Keep an artifact from being removed, until the end of the block that holds; without one, for a while."""
        places = [
            place,
            *(above for above in place.parents if above != self._root and above.is_relative_to(self._root)),
        ]
        for number, one in enumerate(places):
            path = self._mark_path(one).with_suffix(".lock")
            if number and not path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            held = _holds.get()
            if held is None or path not in held:
                stream = path.open("ab")
                fcntl.flock(stream, fcntl.LOCK_SH)
                if held is None:
                    stream.close()
                else:
                    held[path] = stream
            os.utime(path)

    @contextmanager
    def alone(self, place: Path) -> Iterator[Path]:
        """Be the only one on this machine that brings an artifact; gives a directory that earlier attempts used too."""
        path = self.folder / "arriving" / _key(place)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_suffix(".lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield path

    def _mark_path(self, place: Path) -> Path:
        return self.folder / "marks" / f"{_key(place)}.json"

    # --- files --------------------------------------------------------------------------------------------------------

    def put(self, arrived: Path, place: Path, *, version: str, n_bytes: int, changes: bool) -> None:
        """Move what has arrived whole to its place; what lay there, of another version or never stored, is removed."""
        if place.exists():
            self._remove(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        self.remark(place, versions=(version,), n_bytes=n_bytes, changes=changes)
        arrived.replace(place)

    @contextmanager
    def as_it_is(self, path: Path, skip: Callable[[str], bool]) -> Iterator[list[tuple[str, Path]]]:
        """Give the files of an artifact as they are now: others may remove them meanwhile, or write on."""
        links = self.folder / "leaving" / uuid.uuid4().hex
        links.mkdir(parents=True, mode=0o700)
        found = []
        try:
            for number, (name, file) in enumerate(files_of(path)):
                if skip(name):
                    continue
                link = links / f"{number}{file.suffix}"
                try:
                    os.link(file, link)
                except FileNotFoundError:
                    continue  # removed since it was listed
                except OSError:
                    link = file  # a disk that can't link
                found.append((name, link))
            yield found
        finally:
            _remove_tree(links)

    def evict(self) -> None:
        """Remove what was not used longest until the cache is within its bound, and what ended transfers left."""
        now = time.time()
        for left in (self.folder / "going").glob("*"):
            _remove_tree(left)
        ended = [path for kind in ("arriving", "leaving") for path in (self.folder / kind).glob("*")]
        for left in ended:
            if left.suffix == ".lock":
                continue
            with suppress(FileNotFoundError):
                if now - max(path.stat().st_mtime for path in (left, *left.rglob("*"))) > LEFT_SECONDS:
                    _remove_tree(left)
        there = {Path(mark.place): mark for mark in self.marks() if Path(mark.place).exists()}
        groups: dict[Path, list[Path]] = {}
        for place in sorted(there):  # an artifact before those within it
            groups.setdefault(next((above for above in place.parents if above in groups), place), []).append(place)
        total = sum(there[top].n_bytes for top in groups)
        used = {top: max(map(self._used_at, places)) for top, places in groups.items()}
        for top in sorted(groups, key=lambda one: used[one]):
            if total <= self._most_bytes:
                return
            changes = any(there[place].changes for place in groups[top])
            if not changes and now - used[top] >= GRACE_SECONDS and self._give_up(groups[top], grace=GRACE_SECONDS):
                total -= there[top].n_bytes

    def give_up(self, place: Path) -> bool:
        """Remove an artifact, with those within it, and what ended transfers of it left, unless it is in use."""
        within = [Path(mark.place) for mark in self.marks()]
        given_up = self._give_up([place, *(one for one in within if place in one.parents)], grace=0.0)
        if given_up:
            _remove_tree(self.folder / "arriving" / _key(place))
        return given_up

    def _used_at(self, place: Path) -> float:
        lock = self._mark_path(place).with_suffix(".lock")
        return lock.stat().st_mtime if lock.exists() else self._mark_path(place).stat().st_mtime

    def _give_up(self, places: list[Path], *, grace: float) -> bool:
        """Remove an artifact, with those within it, unless one of them is in use or was within so many seconds."""
        with ExitStack() as locks:
            for one in places:
                stream = locks.enter_context(self._mark_path(one).with_suffix(".lock").open("ab"))
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            if time.time() - max(map(self._used_at, places)) < grace:
                return False
            if places[0].exists():  # else another process has given it up meanwhile
                self._mark_path(places[0]).unlink(missing_ok=True)
                self._remove(places[0])
        return True

    def _remove(self, place: Path) -> None:
        """Remove a path in two steps: nobody meets half of it."""
        going = self.folder / "going" / uuid.uuid4().hex
        going.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.replace(going)
        _remove_tree(going)


def files_of(path: Path) -> Iterator[tuple[str, Path]]:
    """List an artifact's files by their names in it; a file that is an artifact itself has the name "". No links."""
    if path.is_file():
        yield "", path
        return
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if not file.is_symlink():
                yield file.relative_to(path).as_posix(), file


def write_whole(path: Path, body: bytes) -> None:
    """Write a file at once: who reads it meanwhile reads the one before."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(body)
    temporary.replace(path)


def _read(path: Path) -> Mark:
    try:
        found = json.loads(path.read_bytes())
        return Mark(**{**found, "versions": tuple(found["versions"])})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Mark()


def _remove_tree(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _key(place: Path) -> str:
    return sha256(str(place).encode()).hexdigest()
