"""Unpacking a zip of a data set's directory while it is read, within limits.

What a zip says about itself can't be trusted: members are counted as they are unpacked, and nothing is written outside
of the folder made for it. A zip of one file stands for that file.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from prefloop.formats.opening import FREE_BYTES, MAX_RATIO, UnreadableFile
from prefloop.formats.registry import DIRECTORIES

MAX_MEMBERS = 5_000
MAX_BYTES = 2_000_000_000  # of all that a zip holds
MAX_DEPTH = 16
_MAX_LIST = MAX_MEMBERS * 512  # bytes of the list of members
_END = b"PK\x05\x06"
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".xz", ".bz2", ".zst")
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error
)  # fmt: skip
_JUNK = re.compile(r"(^|/)(__MACOSX(/|$)|\.DS_Store$|Thumbs\.db$|desktop\.ini$|\._)")


def is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


@contextmanager
def unpacked(path: Path, name: str = "") -> Iterator[Path]:
    """Give the directory (or the only file) in a zip, and any other path unchanged. Raises UnreadableFile.

    `name` is what people call the file; a directory without a name of its own in the zip gets this name.
    """
    if not is_archive(path):
        yield path
        return
    called = re.sub(r"[^\w.-]+", "-", Path(name or path.name).stem)[:80].strip(".") or "archive"
    with TemporaryDirectory(prefix="prefloop-zip-") as folder:
        root = Path(folder) / called
        root.mkdir()
        try:
            _extract(path, root)
        except OSError as error:
            raise UnreadableFile(f"{path.name}: {error.strerror or error}") from None
        yield _content(root)


def _content(root: Path) -> Path:
    """Go down while there is only one folder, or to the only file."""
    inside = list(root.iterdir())
    while len(inside) == 1:
        if any(is_one(root) for is_one in DIRECTORIES.values()):
            break
        root = inside[0]
        inside = list(root.iterdir()) if root.is_dir() else []
    return root


def _extract(path: Path, root: Path) -> None:
    _refuse_long_list(path)
    left = min(MAX_BYTES, max(FREE_BYTES, path.stat().st_size * MAX_RATIO))
    n = 0
    try:
        with zipfile.ZipFile(path) as archive:
            seen: set[str] = set()
            for member in archive.infolist():
                if member.is_dir() or _JUNK.search(member.filename):
                    continue
                n += 1
                target = root / _safe(member, path, seen)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as out:
                    left -= _copy(source, out, left, path)
    except _BROKEN as error:
        raise UnreadableFile(f"{path.name}: is not a complete zip file: {str(error)[:200]}") from None
    if not n:
        raise UnreadableFile(f"{path.name}: there is no file in it")


def _refuse_long_list(path: Path) -> None:
    """Raises UnreadableFile if a zip lists too many members, before the whole list is read."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise UnreadableFile(f"{path.name}: is not a zip file")
    n_members, n_bytes = struct.unpack_from("<HI", tail, at + 10)
    if n_members > MAX_MEMBERS or n_bytes > _MAX_LIST:
        raise UnreadableFile(f"{path.name}: lists more than {MAX_MEMBERS:,} files; unpack it yourself first")


def _safe(member: zipfile.ZipInfo, path: Path, seen: set[str]) -> PurePosixPath:
    """Give a member's place within the folder. Raises UnreadableFile if it points outside or is not a plain file."""
    name = PurePosixPath(member.filename)
    shown = member.filename[:80]
    parts = name.parts
    if name.is_absolute() or not parts or ".." in parts or len(parts) > MAX_DEPTH or re.search(r"[\\:\0]", str(name)):
        raise UnreadableFile(f"{path.name}: {shown!r} in it points outside its folder, or is nested too deep")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise UnreadableFile(f"{path.name}: {shown!r} in it is a link or not a plain file")
    if member.flag_bits & 1:
        raise UnreadableFile(f"{path.name}: {shown!r} in it is encrypted")
    if name.name.lower().endswith(_ARCHIVES):
        raise UnreadableFile(f"{path.name}: {shown!r} in it is an archive itself: unpack it first")
    if str(name) in seen:
        raise UnreadableFile(f"{path.name}: {shown!r} is in it twice")
    seen.add(str(name))
    return name


def _copy(source: IO[bytes], out: IO[bytes], limit: int, path: Path) -> int:
    n = 0
    while piece := source.read(1 << 20):
        n += len(piece)
        if n > limit:
            raise UnreadableFile(f"{path.name}: unpacks to more than it may; unpack it yourself first")
        out.write(piece)
    return n
