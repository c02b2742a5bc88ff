"""The Record: the lossless interchange form of the project (JSON Lines, one item a line).

Everything read here is canonical: a pair has its lower completion index first, and `choice`, `order` and
`p_first` are mapped along. A missing `pair` means [0, 1] where there are exactly two completions; a verdict
without `order` was shown as its pair lists it; unknown keys are refused, since a mistyped `votes` would be lost.
"""

from __future__ import annotations

from prefloop.records.check import parse_record
from prefloop.records.form import (
    Choice,
    Gold,
    InvalidRecord,
    LineError,
    Metadata,
    PairIndex,
    Record,
    RecordCompletion,
    RecordOverride,
    RecordRanking,
    RecordScore,
    RecordsError,
    RecordState,
    RecordVerdict,
    RecordVote,
    VoteChoice,
    choice_of,
    comparisons_of,
    outcome_of,
)
from prefloop.records.read import parse_line, read_again, read_hashed, read_records
from prefloop.records.write import content_hash, record_to_dict, write_record

__all__ = [
    "Choice",
    "Gold",
    "InvalidRecord",
    "LineError",
    "Metadata",
    "PairIndex",
    "Record",
    "RecordCompletion",
    "RecordOverride",
    "RecordRanking",
    "RecordScore",
    "RecordState",
    "RecordVerdict",
    "RecordVote",
    "RecordsError",
    "VoteChoice",
    "choice_of",
    "comparisons_of",
    "content_hash",
    "outcome_of",
    "parse_line",
    "parse_record",
    "read_again",
    "read_hashed",
    "read_records",
    "record_to_dict",
    "write_record",
]
