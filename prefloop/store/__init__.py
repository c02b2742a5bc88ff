"""Artifacts that several machines share: checkpoints, training sets, run directories, uploads.

An artifact is a file or a directory with a relative name, below a directory of this machine. Where the store is that
directory itself, nothing is moved and every call returns at once. Behind a URL it holds

    chunks/ab/abcd…             contents by SHA-256 (`transfer.py`)
    names/NAME@VERSION.json     one artifact: its files, with their sizes and chunks; written last

so that an artifact is there whole or not at all. The directory of this machine is then a cache (`cache.py`): what is
fetched arrives elsewhere and is renamed when it is whole, and what has not been used longest is removed when the cache
is full, unless somebody uses it (`holding`), it changes, or it was not stored.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath

from prefloop.store.cache import Cache, Mark, files_of, holding, write_whole
from prefloop.store.remote import Remote, StoreUnavailable
from prefloop.store.transfer import DamagedArtifact, FileEntry, Known, fetch_file, push_file, read_chunk
from prefloop.types import PrefloopError

__all__ = ["DamagedArtifact", "NotStored", "Remote", "Store", "StoreUnavailable", "holding"]

FORM = 1
WEIGHTS = ".safetensors"
OLD = dt.timedelta(days=1)  # what nothing needs is removed then: younger, it may be about to be needed (transfer.FRESH)
_VERSIONS = 4  # of a directory that changes: the last ones that this machine has stored
_READ_AT_ONCE = 8
Skip = Callable[[str], bool]


class NotStored(PrefloopError):
    """The store has no artifact of this name and version."""


class Store:
    """Artifacts below `root`. `remote`: where they are shared, None where `root` is shared itself.

    `prefix` names this kind of artifacts in the remote. `cache`: a directory on the same disk as `root`, and how many
    bytes may lie below `root`.
    """

    def __init__(
        self, root: Path, *, remote: Remote | None = None, prefix: str = "", cache: tuple[Path, int] | None = None
    ) -> None:
        self.root = root.resolve()
        self.remote = remote
        self._prefix = prefix
        folder, most_bytes = cache or (root.with_name(f"{root.name}-cache"), 0)
        self._cache = Cache(folder.resolve(), self.root, most_bytes)
        self._known = Known()

    def path(self, name: str) -> Path:
        """Return where an artifact lies on this machine, whether it is there or not. Raises NotStored outside."""
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root):
            raise NotStored(f"{name!r} points outside the store")
        return path

    # --- writing ------------------------------------------------------------------------------------------------------

    def push(self, name: str, version: str = "", *, skip: Skip = lambda file: False, changes: bool = False) -> set[str]:
        """Store an artifact of this machine and name its files. Without a version, another one of the name replaces it.

        `changes`: a directory that is being written to: it is stored as it is now, and stays on this machine until
        `settle`. Raises StoreUnavailable.
        """
        if self.remote is None:
            return set()
        place = self.path(name)
        with self._cache.as_it_is(place, skip) as files:
            self._known.forget_old()
            entries = [push_file(self.remote, path, file, self._known) for file, path in files]
        told = {"form": FORM, "name": name, "version": version, "files": entries}
        body = json.dumps(told, sort_keys=True).encode()
        self.remote.put(self._names_key(name, version), body)
        version = version or _key(body)
        before = self._cache.mark(place).versions if changes else ()
        n_bytes = sum(entry["size"] for entry in entries)
        self._cache.remark(place, versions=(*before, version)[-_VERSIONS:], n_bytes=n_bytes, changes=changes)
        if not changes:
            self._cache.evict()
        return {entry["name"] for entry in entries}

    def settle(self, name: str) -> None:
        """Say that a directory does not change any more here: the cache may give it up."""
        place = self.path(name)
        if self.remote is not None and self._cache.mark(place).changes:
            self._cache.remark(place, changes=False)
            self._cache.evict()

    def changing(self) -> list[str]:
        """Name the directories that change on this machine."""
        if self.remote is None:
            return []
        places = [Path(mark.place) for mark in self._cache.marks() if mark.changes]
        return [place.relative_to(self.root).as_posix() for place in places if place.is_relative_to(self.root)]

    def drop(self, name: str, version: str = "") -> None:
        """Forget an artifact; what only it contains is removed from the store by `sweep`."""
        if self.remote is not None:
            self.remote.delete(self._names_key(name, version))

    # --- reading ------------------------------------------------------------------------------------------------------

    def fetch(self, name: str, version: str = "", *, changes: bool = False) -> Path:
        """Return the artifact's path on this machine, where it lies whole; it is brought here if need be.

        `changes`: it will be written to. Raises NotStored, StoreUnavailable, DamagedArtifact.
        """
        return self._brought(name, version, self.path(name), changes=changes)

    def outline(self, name: str, version: str = "") -> Path:
        """Return a directory with everything of the artifact but its weights. Raises as `fetch`."""
        if self.remote is None or self.has(name, version):
            return self.fetch(name, version)
        place = self._cache.folder / "outlines" / f"{name}@{version}"
        return self._brought(name, version, place, skip=lambda file: file.endswith(WEIGHTS))

    def has(self, name: str, version: str = "") -> bool:
        """Whether this machine has the artifact, or a newer state of a directory that changes here."""
        place = self.path(name)
        return place.exists() if self.remote is None else self._cache.has(place, version)

    def gone(self, name: str) -> bool:
        """Whether an artifact without versions was stored from this machine or fetched, and has been dropped since."""
        if self.remote is None or not self._cache.mark(self.path(name)).versions:
            return False
        return self.remote.seen(self._names_key(name, "")) is None

    def files(self, name: str, version: str = "") -> dict[str, int]:
        """List the files of an artifact with their sizes; none if it does not exist."""
        if self.has(name, version):
            return {file: path.stat().st_size for file, path in files_of(self.path(name))}
        if self.remote is not None:
            with suppress(NotStored):
                return {entry["name"]: entry["size"] for entry in self._entries(self.remote, name, version)}
        return {}

    def read(self, name: str, version: str, file: str, *, last: int | None = None) -> bytes:
        """Read one file of an artifact, or its last so many bytes, without bringing the rest here.

        Raises FileNotFoundError, StoreUnavailable, DamagedArtifact.
        """
        if self.remote is None or self.has(name, version):
            with (self.path(name) / file).open("rb") as stream:
                if last is not None:
                    stream.seek(max(0, stream.seek(0, os.SEEK_END) - last))
                return stream.read()
        try:
            entry = next(entry for entry in self._entries(self.remote, name, version) if entry["name"] == file)
        except (NotStored, StopIteration):
            raise FileNotFoundError(f"{name} has no {file}") from None
        content = b""
        for chunk in reversed(entry["chunks"]):
            if last is not None and len(content) >= last:
                break
            content = read_chunk(self.remote, chunk) + content
        return content if last is None else content[max(0, len(content) - last) :]

    def _brought(
        self, name: str, version: str, place: Path, *, skip: Skip = lambda file: False, changes: bool = False
    ) -> Path:
        if self.remote is None:
            return place
        self._cache.hold(place)
        body = b"" if version else self._body(self.remote, name, "")
        version_here = version or _key(body)
        if not self._cache.has(place, version_here):
            with self._cache.alone(place) as arriving:
                if not self._cache.has(place, version_here):
                    everything = self._entries(self.remote, name, version) if version else _parsed(body)
                    entries = [one for one in everything if not skip(one["name"])]
                    content = arriving / _key(version_here.encode())
                    if not entries or entries[0]["name"]:
                        content.mkdir(parents=True, exist_ok=True, mode=0o700)
                    for entry in entries:
                        fetch_file(self.remote, entry, content / entry["name"] if entry["name"] else content)
                    n_bytes = sum(entry["size"] for entry in entries)
                    self._cache.put(content, place, version=version_here, n_bytes=n_bytes, changes=changes)
                    shutil.rmtree(arriving, ignore_errors=True)
            self._cache.evict()
        elif changes:
            self._cache.remark(place, changes=True)
        return place

    # --- names --------------------------------------------------------------------------------------------------------

    def _names_key(self, name: str, version: str) -> str:
        return f"names/{self._prefix}/{name}@{version}.json"

    def _entries(self, remote: Remote, name: str, version: str) -> list[FileEntry]:
        """Read an artifact's files; what was read once is kept. Raises NotStored, StoreUnavailable, DamagedArtifact."""
        path = self._cache.folder / "names" / f"{_key(f'{name}@{version}'.encode())}.json"
        with suppress(FileNotFoundError, DamagedArtifact):
            return _parsed(path.read_bytes())
        body = self._body(remote, name, version)
        entries = _parsed(body)
        write_whole(path, body)
        return entries

    def _body(self, remote: Remote, name: str, version: str) -> bytes:
        try:
            return remote.get(self._names_key(name, version))
        except FileNotFoundError:
            raise NotStored(f"{name} is not in {remote.url}: was it made while PREFLOOP_STORE was another?") from None

    def names(self, below: str = "") -> Iterator[tuple[str, str]]:
        """List the artifacts of this kind that the store has, all or those below a folder, each with its version."""
        if self.remote is None:
            return
        everything = f"names/{self._prefix}"
        for key in self.remote.keys(f"{everything}/{below}".rstrip("/")):
            name, _, version = key.removeprefix(f"{everything}/").removesuffix(".json").rpartition("@")
            yield name, version

    def named_at(self, name: str, version: str) -> dt.datetime | None:
        """Return when an artifact was stored, None where it is not."""
        seen = self.remote.seen(self._names_key(name, version)) if self.remote is not None else None
        return None if seen is None else seen[1]

    # --- this machine -------------------------------------------------------------------------------------------------

    def clear(self) -> int:
        """Remove from this machine what the store has no name for any more, unless it is in use; return how many.

        Raises StoreUnavailable.
        """
        if self.remote is None:
            return 0
        n = 0
        for mark in self._cache.marks():
            is_here = Path(mark.place).exists() and not mark.changes
            if is_here and not self._is_named(self.remote, mark):
                n += self._cache.give_up(Path(mark.place))
        for path in (self._cache.folder / "names").glob("*.json"):
            with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                told = json.loads(path.read_bytes())
                if self.named_at(told["name"], told["version"]) is None:
                    path.unlink()
        return n

    def _is_named(self, remote: Remote, mark: Mark) -> bool:
        place, outlines = Path(mark.place), self._cache.folder / "outlines"
        if place.is_relative_to(outlines):
            return remote.seen(f"names/{self._prefix}/{place.relative_to(outlines).as_posix()}.json") is not None
        if not place.is_relative_to(self.root):
            return True
        name = place.relative_to(self.root).as_posix()
        return any(remote.seen(self._names_key(name, version)) for version in (*reversed(mark.versions), ""))

    # --- the whole store ----------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """Write an object, read it back and remove it. Raises StoreUnavailable, DamagedArtifact."""
        if self.remote is None:
            return
        key, content = f"probes/{uuid.uuid4().hex}", uuid.uuid4().bytes
        self.remote.put(key, content)
        try:
            if self.remote.get(key) != content:
                raise DamagedArtifact(f"{self.remote.url} does not give what was written")
        except FileNotFoundError:
            raise DamagedArtifact(f"{self.remote.url} does not have what was written") from None
        finally:
            self.remote.delete(key)

    def sweep(self, *, older_than: dt.timedelta | None = None) -> tuple[int, int]:
        """Remove contents that no name of any kind needs; return how many, and their bytes.

        Those younger than OLD stay, since their name may be about to be written. Raises StoreUnavailable, and
        DamagedArtifact where a name can't be read, and has removed nothing then.
        """
        if self.remote is None:
            return 0, 0
        remote, age = self.remote, OLD if older_than is None else older_than
        chunks = list(remote.keys("chunks"))
        named: set[str] = set()
        with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="store") as pool:
            for found in pool.map(lambda key: _chunks_of(remote, key), remote.keys("names")):
                named |= found
        n_removed = n_bytes = 0
        for key in chunks:
            # looked at last, so that one that was stored again meanwhile stays
            seen = remote.seen(key) if key.rpartition("/")[2] not in named else None
            if seen is not None and seen[1] <= dt.datetime.now(dt.UTC) - age:
                remote.delete(key)
                n_removed, n_bytes = n_removed + 1, n_bytes + seen[0]
        return n_removed, n_bytes


def _chunks_of(remote: Remote, key: str) -> set[str]:
    try:
        return {chunk[0] for entry in _parsed(remote.get(key)) for chunk in entry["chunks"]}
    except FileNotFoundError:  # dropped since it was listed
        return set()


def _parsed(body: bytes) -> list[FileEntry]:
    """Read what a name stands for; a file's name may not lead out of the artifact. Raises DamagedArtifact."""
    try:
        data = json.loads(body)
        entries: list[FileEntry] = data["files"]
        for entry in entries:
            parts = PurePosixPath(entry["name"]).parts
            fits = sum(n_bytes for _, n_bytes in entry["chunks"]) == entry["size"]
            plain = all(len(name) == 64 and name.isalnum() for name, _ in entry["chunks"])
            if ".." in parts or "/" in parts[:1] or not fits or not plain or data["form"] != FORM:
                raise DamagedArtifact(f"{data['name']!r} is described in a form that this version does not read")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArtifact("what the store says of an artifact can't be read") from error
    return entries


def _key(content: bytes) -> str:
    return sha256(content).hexdigest()
