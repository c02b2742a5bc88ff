"""Downloading a checkpoint: its verified files, the model card as README.md, and a manifest of all of them.

The result is a model directory like the imported one: transformers loads it, `import_checkpoint` imports it, and
`prefloop.checkpoints.verify_manifest` accepts it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apps.policies.models import Checkpoint
from apps.policies.store import checkpoint_here
from prefloop.checkpoints import MANIFEST, DamagedCheckpoint, check_checkpoint_dir, verify_manifest
from prefloop.types import PrefloopError

CARD = "README.md"
CARD_OF_SOURCE = "README.source.md"  # where an imported model brought a card of its own, with its licence
PIECE = 1 << 20


class ExportRefused(PrefloopError):
    """The weights can't be written there."""


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file of a download: `content` is its bytes, or its path with its SHA-256."""

    name: str
    content: bytes | Path
    sha256: str

    def pieces(self) -> Iterator[bytes]:
        """Give the bytes in pieces; raises DamagedCheckpoint at the end if they do not match the manifest."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        digest = hashlib.sha256()
        with self.content.open("rb") as stream:
            while piece := stream.read(PIECE):
                digest.update(piece)
                yield piece
        if digest.hexdigest() != self.sha256:
            raise DamagedCheckpoint(f"{self.name} changed while it was read")


def checkpoint_files(checkpoint: Checkpoint, *, card: str) -> list[TakenFile]:
    """Check a checkpoint's directory against its manifest and list the files to download, the card first.

    Raises DamagedCheckpoint, UnsafeCheckpoint, also if the weights are not those that the row was made for.
    """
    root = checkpoint_here(checkpoint)
    if not root.is_dir():
        raise DamagedCheckpoint(f"the files of {checkpoint.name} are gone from the store")
    check_checkpoint_dir(root)
    manifest = verify_manifest(root)
    if manifest.get("fingerprint") != checkpoint.fingerprint:
        raise DamagedCheckpoint(
            f"the files of {checkpoint.name} have changed: their fingerprint differs from the recorded one"
        )
    written = card.encode()
    files = [TakenFile(CARD, written, hashlib.sha256(written).hexdigest())]
    entries = [{"name": CARD, "size": len(written), "sha256": files[0].sha256}]
    for entry in manifest["files"]:
        name = CARD_OF_SOURCE if entry["name"] == CARD else entry["name"]
        files.append(TakenFile(name, root / entry["name"], entry["sha256"]))
        entries.append({**entry, "name": name})
    closing = json.dumps(
        {**manifest, "files": sorted(entries, key=lambda one: str(one["name"]))}, indent=1, sort_keys=True
    )
    content = (closing + "\n").encode()
    return [*files, TakenFile(MANIFEST, content, hashlib.sha256(content).hexdigest())]


class _Pipe:
    """What zipfile writes to and a response reads from; it can't seek, so the archive is written in one pass."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> bytes:
        held, self._held = b"".join(self._held), []
        return held


def checkpoint_zip(checkpoint: Checkpoint, files: list[TakenFile]) -> Iterator[bytes]:
    """Give the files as a zip in pieces, under a folder of the checkpoint's name; weights don't compress.

    A file that changes meanwhile aborts the archive: it then has no directory, and no program opens it.
    """
    pipe = _Pipe()
    stamp = checkpoint.created_at.timetuple()[:6]
    archive = zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED)
    for file in files:
        checkpoint_here(checkpoint)  # in use again: a slow download may take longer than files stay unused
        entry = zipfile.ZipInfo(f"{checkpoint.name}/{file.name}", date_time=stamp)
        entry.external_attr = 0o644 << 16
        with archive.open(entry, "w", force_zip64=True) as out:
            for piece in file.pieces():
                out.write(piece)
                yield pipe.take()
    archive.close()
    yield pipe.take()


def checkpoint_write(checkpoint: Checkpoint, files: list[TakenFile], folder: Path) -> Path:
    """Write the files to `folder`/NAME atomically and return the path. Raises ExportRefused."""
    final = folder / checkpoint.name
    staging = folder / f".{checkpoint.name}.{uuid.uuid4().hex}"
    if final.exists():
        raise ExportRefused(f"{final} already exists and is not overwritten")
    try:
        for file in files:
            target = staging / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                for piece in file.pieces():
                    out.write(piece)
        os.rename(staging, final)
    except OSError as error:
        raise ExportRefused(f"{final} could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final
