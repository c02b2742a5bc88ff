"""Files in and out: one small reader a format, each `(path) -> Iterator[Record]`, and the writers for export.

A data set that says which answer is better, but not who said so, is a judge named `dataset`: its labels can be
trained on, reviewed and overridden, and are never held-out truth.
"""

from __future__ import annotations

from prefloop.formats.columns import Mapping
from prefloop.formats.registry import READERS, UnknownFormat, detect_format, read_file
from prefloop.formats.source import Notes
from prefloop.formats.writers import WRITERS, PreferenceRow, write_records

__all__ = [
    "READERS",
    "WRITERS",
    "Mapping",
    "Notes",
    "PreferenceRow",
    "UnknownFormat",
    "detect_format",
    "read_file",
    "write_records",
]
