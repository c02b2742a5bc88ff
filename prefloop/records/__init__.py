"""The Record: the lossless exchange format of a project (JSON Lines, one item a line).

Everything read here is canonical: a pair has its lower completion index first, and `choice`, `order` and `p_first` are
mapped with it. A missing `pair` means [0, 1] if there are exactly two completions; a verdict without `order` was shown
in the order of its pair; unknown keys are refused, since a mistyped `votes` would be lost.
"""

from __future__ import annotations

from prefloop.records.check import parse_record
from prefloop.records.form import (
    FLAG_REASONS,
    Choice,
    Gold,
    GoldRating,
    InvalidRecord,
    LineError,
    Metadata,
    PairIndex,
    RatingChoice,
    Record,
    RecordCompletion,
    RecordFlag,
    RecordOverride,
    RecordRanking,
    RecordRating,
    RecordScore,
    RecordsError,
    RecordState,
    RecordVerdict,
    RecordVote,
    VoteChoice,
    choice_of,
    comparisons_of,
    n_comparisons,
    n_ranked,
    outcome_of,
    pairs_named,
    ranked_pairs,
    rated_pairs,
)
from prefloop.records.read import parse_line, read_records, read_written
from prefloop.records.times import time_of, written_time
from prefloop.records.write import content_hash, hash_of, record_to_dict, write_record

__all__ = [
    "FLAG_REASONS",
    "Choice",
    "Gold",
    "GoldRating",
    "InvalidRecord",
    "LineError",
    "Metadata",
    "PairIndex",
    "RatingChoice",
    "Record",
    "RecordCompletion",
    "RecordFlag",
    "RecordOverride",
    "RecordRanking",
    "RecordRating",
    "RecordScore",
    "RecordState",
    "RecordVerdict",
    "RecordVote",
    "RecordsError",
    "VoteChoice",
    "choice_of",
    "comparisons_of",
    "content_hash",
    "hash_of",
    "n_comparisons",
    "n_ranked",
    "outcome_of",
    "pairs_named",
    "parse_line",
    "parse_record",
    "ranked_pairs",
    "rated_pairs",
    "read_records",
    "read_written",
    "record_to_dict",
    "time_of",
    "write_record",
    "written_time",
]
