"""A model that arrives from a browser in pieces, and goes on where it stopped after a lost connection or a closed tab.

Its files lie beside the directories that the operator gave the project for imports, so that a whole upload is imported
by its path like any other model. What has arrived is the size of the file: no row has to agree with the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import transaction

from apps.core.store import models
from apps.policies.store import UPLOADS, check_name, upload_name
from apps.projects.models import Project
from apps.quotas.services import ask
from prefloop.checkpoints import (
    CODE_SUFFIXES,
    PICKLE_SUFFIXES,
    UnsafeCheckpoint,
    check_checkpoint_dir,
    check_json,
    check_safetensors,
)
from prefloop.formats.archives import unpacked
from prefloop.model_sources import GGUF_SUFFIX
from prefloop.types import PrefloopError

PIECE_BYTES = 8 * 2**20
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
_WANTED = {".safetensors", ".json", ".txt", ".model", ".jinja", ".md", ".zip", GGUF_SUFFIX, ""}
_PLAN = "plan.json"
_MAX_FILES = 500
_STALE_SECONDS = 7 * 86_400
_FREE_BYTES = 2**30  # of the disk, left to everything else


class UploadRefused(PrefloopError):
    """An upload that is not taken, or a piece of one."""


class PieceMisplaced(PrefloopError):
    """A piece that does not follow what has arrived; `have` bytes have."""

    http_status = 409

    def __init__(self, have: int) -> None:
        self.have = have
        super().__init__(f"{have:,} bytes of this file have arrived: send what follows them")


@dataclass(frozen=True, slots=True)
class Arriving:
    """One file of an upload: its size, and how many bytes have arrived."""

    name: str
    n_bytes: int
    have: int


@dataclass(frozen=True, slots=True)
class ModelUpload:
    """A model that is being uploaded, or was. `left_out`: files that no model needs, or that could run code.

    `path` is what the import form takes, once the upload was finished and checked; "" before.
    """

    name: str
    files: tuple[Arriving, ...]
    left_out: tuple[str, ...] = ()
    path: str = ""


def upload_start(*, project: Project, name: str, sizes: dict[str, int]) -> ModelUpload:
    """Begin an upload of these files with their sizes in bytes, or go on with one of the same name and files.

    Raises UploadRefused: no model among the files, a name that is taken, or a full disk; and QuotaReached.
    """
    check_name(name)
    if (_folder(project) / name).exists():
        raise UploadRefused(f"a model {name!r} has been uploaded already: import it, remove it, or choose another name")
    if not 0 < len(sizes) <= _MAX_FILES or any(size < 0 for size in sizes.values()):
        raise UploadRefused(f"an upload has from 1 to {_MAX_FILES} files")
    wanted = {file: size for file, size in sizes.items() if _is_wanted(file)}
    left_out = tuple(sorted(sizes.keys() - wanted.keys()))
    _check_kinds(wanted, left_out)
    _remove_stale(project)
    part = _part(project, name)
    known = _planned(part)
    if known is not None and known != wanted:
        raise UploadRefused(f"other files are on their way as {name!r}: remove them, or choose another name")
    if known is None:
        with transaction.atomic():  # until the plan is there, which is counted
            _check_room(project, sum(wanted.values()))
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file in wanted:
                (part / file).touch()
            whole = part / f".{_PLAN}"
            whole.write_text(json.dumps(wanted), "utf-8")
            whole.replace(part / _PLAN)
    return ModelUpload(name, _arriving(part, wanted), left_out)


def upload_piece(*, project: Project, name: str, file: str, offset: int, piece: bytes) -> Arriving:
    """Add a piece that begins at `offset` of a file; the file is checked as far as it has arrived.

    Raises PieceMisplaced, and UploadRefused if the file can't be part of a model: what has arrived of it is removed.
    """
    part, sizes = _found(project, name)
    if file not in sizes:
        raise UploadRefused(f"{file!r} is not one of the files of this upload")
    path = part / file
    with _held(path) as stream:
        have = stream.seek(0, os.SEEK_END)
        if offset != have:
            raise PieceMisplaced(have)
        if have + len(piece) > sizes[file]:
            raise UploadRefused(f"{file} is larger than the {sizes[file]:,} bytes that were announced")
        stream.write(piece)
        stream.flush()
        try:
            _check_arrived(path, sizes[file], before=have, have=have + len(piece))
        except UnsafeCheckpoint as error:
            stream.truncate(0)
            raise UploadRefused(str(error)) from error
    return Arriving(file, sizes[file], have + len(piece))


def upload_finish(*, project: Project, name: str) -> str:
    """Check a whole upload and give the path by which it is imported.

    Raises UploadRefused if a file is missing, and UnsafeCheckpoint or UnreadableFile as an import would.
    """
    final = _folder(project) / check_name(name)
    if final.is_dir() and _planned(_part(project, name)) is None:  # finished before, but it could not be stored
        return _shared(project, final)
    part, sizes = _found(project, name)
    upload = ModelUpload(name, _arriving(part, sizes))
    missing = [file.name for file in upload.files if file.have < file.n_bytes]
    if missing:
        raise UploadRefused(f"not all of it has arrived: {', '.join(missing[:5])}")
    only = part / next(iter(sizes))
    if only.suffix.lower() == GGUF_SUFFIX:
        final.mkdir()
        only.replace(final / only.name)
        shutil.rmtree(part)
        return _shared(project, final)
    if only.suffix.lower() == ".zip":
        with unpacked(only, name) as inside:
            check_checkpoint_dir(inside)
            shutil.copytree(inside, part / "unpacked", symlinks=True)
        (part / "unpacked").replace(final)
        shutil.rmtree(part)
        return _shared(project, final)
    check_checkpoint_dir(part)
    (part / _PLAN).unlink()
    part.replace(final)
    return _shared(project, final)


def _shared(project: Project, final: Path) -> str:
    """Store a whole upload, so that a worker on another machine can import it; give its path."""
    models().push(upload_name(project, final.name))
    return _import_path(final)


def upload_drop(*, project: Project, name: str) -> None:
    """Remove an upload, whole or not."""
    check_name(name)
    for path in (_part(project, name), _folder(project) / name):
        shutil.rmtree(path, ignore_errors=True)
    models().drop(upload_name(project, name))


def upload_imported(path: Path) -> None:
    """Remove a whole upload after its import; any other path is left alone."""
    home = path.parent if path.suffix.lower() == GGUF_SUFFIX else path
    if any(home.parent == folder / "projects" / home.parent.parent.name / UPLOADS for folder in _roots()):
        shutil.rmtree(home, ignore_errors=True)
        if home.is_relative_to(models().root):
            models().drop(home.relative_to(models().root).as_posix())


def upload_list(project: Project) -> list[ModelUpload]:
    """List the uploads of a project that are not imported yet, whole ones too, by name."""
    folder = _folder(project)
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            sizes = _planned(path)
            if sizes is not None:
                found.append(ModelUpload(path.name.removeprefix(".").removesuffix(".part"), _arriving(path, sizes)))
        elif path.is_dir():
            if models().gone(upload_name(project, path.name)):  # imported by another machine
                shutil.rmtree(path, ignore_errors=True)
                continue
            sizes = {file.name: file.stat().st_size for file in path.iterdir() if file.is_file()}
            files = tuple(Arriving(name, n, n) for name, n in sorted(sizes.items()))
            found.append(ModelUpload(path.name, files, path=_import_path(path)))
    return found


def _import_path(final: Path) -> str:
    """Name a finished upload as the import form takes it: its directory, or its GGUF file."""
    file = next((file for file in final.iterdir() if file.suffix.lower() == GGUF_SUFFIX), None)
    return f"{UPLOADS}/{final.name}" + (f"/{file.name}" if file is not None else "")


def _is_wanted(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    unsafe = suffix in PICKLE_SUFFIXES | CODE_SUFFIXES
    return bool(_FILE.fullmatch(name)) and suffix in _WANTED and not unsafe and name != _PLAN


def _check_kinds(wanted: dict[str, int], left_out: tuple[str, ...]) -> None:
    """Raises UploadRefused unless the files are a GGUF file, a zip, or a model directory's."""
    suffixes = [Path(name).suffix.lower() for name in wanted]
    alone = next((suffix for suffix in (GGUF_SUFFIX, ".zip") if suffix in suffixes), "")
    if alone:
        if len(wanted) > 1:
            raise UploadRefused(f"a {alone} file is a model by itself: choose it alone")
        return
    if ".safetensors" in suffixes and wanted.keys() & {"config.json", "adapter_config.json"}:
        return
    hint = f"; {', '.join(left_out[:3])} can't be used" if left_out else ""
    what = "a model's files (config.json, safetensors, tokenizer), a zip of them, or a GGUF file"
    raise UploadRefused(f"choose {what}{hint}")


def _check_arrived(path: Path, n_bytes: int, *, before: int, have: int) -> None:
    """Check what can be checked now: a file's head as soon as it is there, JSON when it is whole."""
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            head = 8 + int.from_bytes(stream.read(8), "little")
        if have == n_bytes or (have >= 8 and (before < head <= have or head > n_bytes)):
            check_safetensors(path, n_bytes=n_bytes)
    elif have == n_bytes and path.suffix == ".json":
        check_json(path, path.name)
    elif before < 4 <= have and path.suffix.lower() in _MAGIC:
        with path.open("rb") as stream:
            if stream.read(4) != _MAGIC[path.suffix.lower()]:
                raise UnsafeCheckpoint(f"{path.name} is not what its name says: it does not begin like such a file")


_MAGIC = {".zip": b"PK\x03\x04", GGUF_SUFFIX: b"GGUF"}


def _roots() -> list[Path]:
    return [Path(folder).resolve() for folder in settings.IMPORT_DIRS]


def _folder(project: Project) -> Path:
    return _roots()[0] / "projects" / project.slug / UPLOADS


def _part(project: Project, name: str) -> Path:
    return _folder(project) / f".{check_name(name)}.part"


def _planned(part: Path) -> dict[str, int] | None:
    try:
        found: dict[str, int] = json.loads((part / _PLAN).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found


def _found(project: Project, name: str) -> tuple[Path, dict[str, int]]:
    part = _part(project, name)
    sizes = _planned(part)
    if sizes is None:
        raise UploadRefused(f"no upload {name!r} is on its way: choose its files again")
    return part, sizes


def _arriving(part: Path, sizes: dict[str, int]) -> tuple[Arriving, ...]:
    return tuple(Arriving(name, n_bytes, (part / name).stat().st_size) for name, n_bytes in sorted(sizes.items()))


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """Open a file for adding to it, by one request at a time. Raises UploadRefused if another one holds it."""
    with path.open("r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UploadRefused("another window is sending this file") from None
        yield stream


def bytes_arriving(project: Project) -> int:
    """Count what the uploads of a project take until they are imported, with what is still to arrive."""
    return sum(file.n_bytes for upload in upload_list(project) for file in upload.files)


def _check_room(project: Project, n_bytes: int) -> None:
    folder = _folder(project)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ask(project_id=project.pk, models=n_bytes)
    on_its_way = sum(file.n_bytes - file.have for upload in upload_list(project) for file in upload.files)
    if n_bytes + on_its_way + _FREE_BYTES > shutil.disk_usage(folder).free:
        raise UploadRefused("the disk of the server has no room for it")


def _remove_stale(project: Project) -> None:
    """Remove uploads of which nothing has arrived for a week."""
    folder = _folder(project)
    for part in folder.glob(".*.part") if folder.is_dir() else []:
        with contextlib.suppress(OSError):
            newest = max(file.stat().st_mtime for file in part.iterdir())
            if time.time() - newest > _STALE_SECONDS:
                shutil.rmtree(part, ignore_errors=True)
