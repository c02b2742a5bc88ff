"""Reading and writing files: one small reader per format, each `(path) -> Iterator[Record]`, and the writers for
export.

If a data set says which answer is better but not who said so, its labels are verdicts of a judge named `dataset`: they
can be trained on, reviewed and overridden, and are never held-out truth.
"""

from __future__ import annotations

from prefloop.formats.columns import Mapping
from prefloop.formats.registry import READERS, UnknownFormat, detect_format, read_file
from prefloop.formats.rowform import PreferenceRow
from prefloop.formats.source import Notes
from prefloop.formats.writers import WRITERS, FlaggedRow, write_flags, write_records

__all__ = [
    "READERS",
    "WRITERS",
    "FlaggedRow",
    "Mapping",
    "Notes",
    "PreferenceRow",
    "UnknownFormat",
    "detect_format",
    "read_file",
    "write_flags",
    "write_records",
]
