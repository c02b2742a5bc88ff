"""Backups: the database as it is at one moment, and the files that it names, in a directory that keeps several.

    FOLDER/backups/2026-11-30T104800Z.json   one backup: its files, their sizes and hashes, and the database's
    FOLDER/objects/ab/abcd…                  the contents, by SHA-256; what two backups share is there once

The database comes first and the files after it: every file that the database names is then there, and files that are
newer than the database are what a killed worker leaves too, which every job can go on from.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from apps.core.json import dumps
from apps.core.store import home
from prefloop.types import PrefloopError

FORM = 1
KEPT = ("store", "uploads", "imports")  # directories of PREFLOOP_VAR; the others can be made again
KEY = "secret_key"
_BLOCK = 1 << 20
_BEGUN = "partial-"  # how the name of what is not whole yet begins
Say = Callable[[str], None]


class BackupRefused(PrefloopError):
    """A backup that can't be made or restored, and why."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One file: its path below PREFLOOP_VAR, and its content's SHA-256."""

    path: str
    sha256: str
    size: int
    modified: int  # nanoseconds

    @property
    def place(self) -> str:
        return f"{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True, slots=True)
class Made:
    """What a backup did. `n_bytes` is the size of all its files, `n_new` of those that no other backup had."""

    name: str
    n_files: int
    n_bytes: int
    n_new: int


# --- making ----------------------------------------------------------------------------------------------------------


def backup_make(folder: Path, *, now: dt.datetime, keep: int = 0, say: Say = lambda text: None) -> Made:
    """Make a backup while everything runs; with `keep`, remove all but the newest so many. Raises BackupRefused."""
    for place in {settings.VAR_DIR, home()}:
        if folder.resolve().is_relative_to(place):
            raise BackupRefused(f"{folder} lies inside {place}: choose a directory on another disk")
    with _held(folder):
        _sweep(folder)
        name = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H%M%SZ")
        manifest = folder / "backups" / f"{name}.json"
        if manifest.exists():
            raise BackupRefused(f"there is a backup {name} already")
        before = _known(folder)
        sizes: list[int] = []
        say("the database")
        with tempfile.TemporaryDirectory(dir=folder, prefix=_BEGUN) as partial:
            dump = Path(partial) / "database"
            _dump(dump)
            database = _take(dump, "database", folder, {}, sizes)
        if database is None:
            raise BackupRefused("the copy of the database is gone: does something else tidy up that directory?")
        files = []
        for number, (named, path) in enumerate(_files(), start=1):
            taken = _take(path, named, folder, before, sizes)
            files += [taken] if taken is not None else []
            if number % 500 == 0:
                say(f"{number} files")
        row = {
            "form": FORM,
            "made_at": now.isoformat(),
            "vendor": connection.vendor,
            "migrations": sorted("/".join(key) for key in MigrationLoader(connection).applied_migrations),
            "key": _fingerprint(settings.SECRET_KEY),
            "store": settings.STORE_URL,
            "database": asdict(database),
            "files": [asdict(one) for one in files],
        }
        _write(manifest, dumps(row).encode())
        if keep:
            _forget(folder, keep)
    return Made(name, len(files), database.size + sum(one.size for one in files), sum(sizes))


def _files() -> Iterator[tuple[str, Path]]:
    """Files to keep, in order, by their names in a backup. A link is not followed: it may lead anywhere.

    What a store behind a URL has is not copied: it is on other machines already, and this one has a part of it.
    Raises BackupRefused, or OSError for what can't be read: a backup without it would look whole.
    """
    if (settings.VAR_DIR / KEY).is_file():
        yield KEY, settings.VAR_DIR / KEY
    for name in KEPT if not settings.STORE_URL else ():
        top = home() / name
        if top.is_symlink() and not top.exists():
            raise BackupRefused(f"{top} is a link that leads to nothing: is that disk mounted?")
        for directory, below, names in os.walk(top, onerror=_unless_gone):
            below.sort()
            paths = (Path(directory) / one for one in sorted(names))
            yield from ((str(path.relative_to(home())), path) for path in paths if not path.is_symlink())


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a directory may go away meanwhile, and not every one is there
        raise error


def _take(path: Path, name: str, folder: Path, before: dict[str, Kept], new: list[int]) -> Kept | None:
    """Copy a file's content, unless a backup has it; None for a file that went away meanwhile."""
    try:
        found = path.stat()
        known = before.get(name)
        if known and (known.size, known.modified) == (found.st_size, found.st_mtime_ns):
            return known
        source = path.open("rb")
    except FileNotFoundError:
        return None
    with source, tempfile.NamedTemporaryFile(dir=folder / "objects", prefix=_BEGUN, delete=False) as copy:
        try:
            sha256, size = _copied(source, copy)
        except BaseException:
            Path(copy.name).unlink()
            raise
    kept = Kept(name, sha256, size, found.st_mtime_ns)
    target = folder / "objects" / kept.place
    if target.exists():
        Path(copy.name).unlink()
        return kept
    target.parent.mkdir(exist_ok=True, mode=0o700)
    Path(copy.name).replace(target)
    new.append(size)
    return kept


def _copied(source: Any, target: Any) -> tuple[str, int]:
    hashed, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        hashed.update(block)
        size += target.write(block)
    target.flush()
    os.fsync(target.fileno())
    return hashed.hexdigest(), size


def _dump(target: Path) -> None:
    if connection.vendor == "sqlite":
        with (
            closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=20)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        return
    _run_postgres("pg_dump", "--format=custom", "--no-owner", "--no-acl", f"--file={target}")


def _run_postgres(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on the database; the password goes by the environment, which nobody else can read."""
    values = connection.settings_dict
    given = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    env = {**os.environ, **{key: str(values[name]) for key, name in given.items() if values.get(name)}}
    env |= {"PGSSLMODE": values["OPTIONS"]["sslmode"]} if "sslmode" in values.get("OPTIONS", {}) else {}
    try:
        done = subprocess.run([program, *arguments], env=env, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise BackupRefused(f"{program} is not installed: it comes with PostgreSQL's client") from error
    if done.returncode:
        raise BackupRefused(f"{program} failed: {done.stderr.strip()}")


def _sweep(folder: Path) -> None:
    """Remove what a backup that was killed had begun; the caller has the directory for itself."""
    for path in folder.glob(f"{_BEGUN}*"):
        shutil.rmtree(path)
    for path in (folder / "objects").glob(f"{_BEGUN}*"):
        path.unlink()


def _forget(folder: Path, keep: int) -> None:
    """Remove older backups, and contents that no backup names any more."""
    for path in sorted((folder / "backups").glob("*.json"))[:-keep]:
        path.unlink()
    named = {one.place for path in (folder / "backups").glob("*.json") for one in _everything(_read(path))}
    for path in (folder / "objects").glob("*/*"):
        if f"{path.parent.name}/{path.name}" not in named:
            path.unlink()


# --- restoring -------------------------------------------------------------------------------------------------------


def backup_names(folder: Path) -> list[str]:
    """The backups that a directory holds, oldest first."""
    return sorted(path.stem for path in (folder / "backups").glob("*.json"))


def backup_restore(folder: Path, *, name: str = "", say: Say = lambda text: None) -> str:
    """Restore a backup, the newest by default, into an empty PREFLOOP_VAR and database. Raises BackupRefused.

    Every content is compared with its hash before anything is put in its place.
    """
    names = backup_names(folder)
    if not names:
        raise BackupRefused(f"there is no backup in {folder}")
    name = name or names[-1]
    if name not in names:
        raise BackupRefused(f"there is no backup {name!r} in {folder}: there are {', '.join(names)}")
    row = _read(folder / "backups" / f"{name}.json")
    _check_place(row)
    home().mkdir(parents=True, exist_ok=True, mode=0o700)  # on a new machine nothing has been stored there yet
    with tempfile.TemporaryDirectory(dir=home(), prefix="restoring-") as directory:
        staging = Path(directory)
        files = _everything(row)
        for number, one in enumerate(files, start=1):
            _put(one, folder, staging)
            if number % 500 == 0:
                say(f"{number} of {len(files)} files")
        with _put_in_place(staging):
            # last: until it is there, nothing that was restored is in use
            say("the database")
            _load(staging / "database")
    return name


@contextmanager
def _put_in_place(staging: Path) -> Iterator[None]:
    """Move the restored files to their places; where that, or what follows, fails, they are as they were before."""
    moved: list[tuple[Path, Path]] = []
    (staging / "before").mkdir()

    def move(source: Path, target: Path) -> None:
        shutil.move(source, target)  # the key may lie on another disk
        moved.append((source, target))

    try:
        for part in (KEY, *KEPT):
            place = _place(part)
            if (staging / part).exists():
                if place.exists():
                    move(place, staging / "before" / part)
                move(staging / part, place)
        yield
    except BaseException:
        for source, target in reversed(moved):
            shutil.move(target, source)
        raise


def _place(part: str) -> Path:
    return (settings.VAR_DIR if part == KEY else home()) / part


def _check_place(row: dict[str, Any]) -> None:
    if row["vendor"] != connection.vendor:
        raise BackupRefused(f"this backup is of {row['vendor']}, and DATABASE_URL is of {connection.vendor}")
    known = {"/".join(key) for key in MigrationLoader(None, ignore_no_migrations=True).disk_migrations}
    unknown = [one for one in row["migrations"] if one not in known and "_squashed_" not in one]
    if unknown:
        raise BackupRefused(f"this backup is of a newer prefloop ({unknown[-1]}): install that version, then restore")
    if row.get("store", "") != settings.STORE_URL:
        there = row.get("store") or "in the backup itself"
        raise BackupRefused(
            f"the files of this backup are {there}: set PREFLOOP_STORE to {row.get('store') or 'file:'}"
        )
    for part in KEPT if not settings.STORE_URL else ():
        path = home() / part
        if path.is_dir() and any(path.iterdir()):
            raise BackupRefused(f"{path} is not empty: restore into an empty PREFLOOP_VAR")
    if _has_tables():
        raise BackupRefused("the database is not empty: restore into a new one (DATABASE_URL, or another PREFLOOP_VAR)")
    has_key = any(one["path"] == KEY for one in row["files"])
    if row["key"] != _fingerprint(settings.SECRET_KEY) and (os.environ.get("SECRET_KEY") or not has_key):
        raise BackupRefused("SECRET_KEY is not the one that this backup was made with: sealed keys could not be read")


def _has_tables() -> bool:
    if connection.vendor == "sqlite":
        path = Path(str(connection.settings_dict["NAME"]))
        return path.exists() and path.stat().st_size > 0 and bool(connection.introspection.table_names())
    return bool(connection.introspection.table_names())


def _put(one: Kept, folder: Path, staging: Path) -> None:
    target = (staging / one.path).resolve()
    if not target.is_relative_to(staging.resolve()):
        raise BackupRefused(f"{one.path!r} points outside of the backup")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with (folder / "objects" / one.place).open("rb") as source, target.open("xb") as copy:
            os.fchmod(copy.fileno(), 0o600)
            sha256, _ = _copied(source, copy)
    except FileNotFoundError as error:
        raise BackupRefused(f"the backup is damaged: the content of {one.path} is missing") from error
    if sha256 != one.sha256:
        raise BackupRefused(f"the backup is damaged: {one.path} is not what was stored")
    os.utime(target, ns=(one.modified, one.modified))


def _load(dump: Path) -> None:
    if connection.vendor != "sqlite":
        _run_postgres(
            "pg_restore",
            "--no-owner",
            "--no-acl",
            "--exit-on-error",
            "--single-transaction",
            f"--dbname={connection.settings_dict['NAME']}",
            str(dump),
        )
        return
    connection.close()
    target = Path(str(connection.settings_dict["NAME"]))
    for old in (target, *(target.with_name(target.name + ending) for ending in ("-wal", "-shm"))):
        old.unlink(missing_ok=True)  # empty: `_has_tables` looked
    shutil.move(dump, target)


# --- the directory ---------------------------------------------------------------------------------------------------


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Have the directory for oneself: two backups at once could each remove what the other needs."""
    for part in (folder, folder / "backups", folder / "objects"):
        part.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupRefused(f"another backup into {folder} is under way") from error
        yield


def _read(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_bytes())
        form = row["form"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackupRefused(f"{path} can't be read: {error}") from error
    if form != FORM:
        raise BackupRefused(f"{path} has form {form}, which this version does not know")
    return dict(row)


def _everything(row: dict[str, Any]) -> list[Kept]:
    return [Kept(**one) for one in (row["database"], *row["files"])]


def _known(folder: Path) -> dict[str, Kept]:
    """What the newest backup knows of each path, where its content is still there."""
    names = backup_names(folder)
    if not names:
        return {}
    rows = _everything(_read(folder / "backups" / f"{names[-1]}.json"))
    return {one.path: one for one in rows if (folder / "objects" / one.place).exists()}


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _fingerprint(key: str) -> str:
    return hashlib.sha256(b"prefloop backup\0" + key.encode()).hexdigest()[:16]
