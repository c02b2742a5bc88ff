"""A file that is read: its path, its encoding, and what was left out."""

from __future__ import annotations

import codecs
import io
from collections import Counter
from dataclasses import dataclass, field
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, cast

from typing_extensions import override

from prefloop.formats.opening import UnreadableFile, open_raw

_MARKS = (
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PIECE = 1 << 18  # characters


class Notes(Counter[str]):
    """What a reader left out of a file although it could matter, with counts: `{"drafts": 2}`."""

    @property
    def lines(self) -> list[str]:
        return [f"{what}: {n:,}" for what, n in self.items()]


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    encoding: str = ""  # "": UTF-8, or what the file's mark says
    notes: Notes = field(default_factory=Notes)

    def __post_init__(self) -> None:
        if self.encoding:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError):
                raise UnreadableFile(f"there is no encoding {self.encoding!r} (for example cp1252, utf-16)") from None


def open_utf8(source: Source) -> BinaryIO:
    """Open a file's text in UTF-8, without a byte order mark, whatever its encoding; invalid bytes are kept
    unchanged.
    """
    stream = cast(BufferedReader, open_raw(source.path))
    mark, named = next(((m, e) for m, e in _MARKS if stream.peek(4)[:4].startswith(m)), (b"", ""))
    encoding = source.encoding or named
    if not encoding:
        stream.read(len(mark))
        return cast(BinaryIO, stream)
    return cast(BinaryIO, BufferedReader(_Recoded(stream, encoding), 1 << 20))


class _Recoded(RawIOBase):
    def __init__(self, stream: BufferedReader, encoding: str) -> None:
        self._encoding = encoding
        self._text = io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")
        self._left = memoryview(b"")

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any, /) -> int:
        if not self._left:
            try:
                self._left = memoryview(self._text.read(_PIECE).encode("utf-8", "surrogateescape"))
            except UnicodeError as error:
                raise UnreadableFile(f"is not text in {self._encoding}: {str(error)[:200]}") from None
        data = self._left[: len(buffer)]
        buffer[: len(data)] = data
        self._left = self._left[len(data) :]
        return len(data)

    @override
    def close(self) -> None:
        self._text.close()
        super().close()
