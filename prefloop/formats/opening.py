"""Opening files that may be gzipped, with a limit on the unpacked size.

The unpacked size of a compressed file is not known in advance: a few kilobytes can hold terabytes.
"""

from __future__ import annotations

import gzip
import zlib
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, cast

from typing_extensions import override

from prefloop.types import PrefloopError

GZIP = b"\x1f\x8b"
MAX_UNPACKED_BYTES = 50_000_000_000
FREE_BYTES = 64_000_000  # a small file may be as compressible as it likes
MAX_RATIO = 200  # text and logs stay under 30; deflate's limit is 1,032


class UnreadableFile(PrefloopError):
    """A file that isn't what its name or format promises."""


def suffix_of(path: Path) -> str:
    """Give the ending that says how a file is read, .gz aside."""
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


def raw_of(path: Path) -> RawIOBase:
    """Open a file's bytes, unpacked if its name ends in .gz. Raises OSError; reading raises UnreadableFile."""
    return _Unpacked(path) if path.suffix.lower() == ".gz" else cast(RawIOBase, path.open("rb", buffering=0))


def open_raw(path: Path) -> BinaryIO:
    return cast(BinaryIO, BufferedReader(raw_of(path), 1 << 20))


def unpacked_limit(path: Path) -> int:
    """Bytes that a compressed file may unpack to."""
    return min(MAX_UNPACKED_BYTES, max(FREE_BYTES, path.stat().st_size * MAX_RATIO))


class _Unpacked(RawIOBase):
    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._limit = unpacked_limit(path)
        self._file = gzip.open(path, "rb")  # noqa: SIM115 - closed by close()
        self._n_bytes = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._file.read1(len(buffer))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UnreadableFile(f"{self._name}: is not a complete gzip file: {error}") from None
        self._n_bytes += len(data)
        if self._n_bytes > self._limit:
            raise UnreadableFile(f"{self._name}: unpacks to more than {self._limit:,} bytes; unpack it yourself first")
        buffer[: len(data)] = data
        return len(data)

    @override
    def close(self) -> None:
        self._file.close()
        super().close()
