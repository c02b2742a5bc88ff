"""Writers of preferences, in the formats that trainers read. Each writer maps rows to lines of JSON; it drops what the
format can't express (a tie has no chosen answer), so counts differ between formats.

The same rows always give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from prefloop.formats import published
from prefloop.formats.rowform import PreferenceRow, Prompt
from prefloop.records import Record, RecordCompletion, RecordVerdict, choice_of, write_record


@dataclass(frozen=True, slots=True)
class FlaggedRow:
    """An answer that is compared with none, and whether it is desirable."""

    prompt: Prompt
    completion: str
    desirable: bool


Writer = Callable[[Iterable[PreferenceRow]], Iterator[bytes]]


def write_records(records: Iterable[Record]) -> Iterator[bytes]:
    """Write complete records with votes, verdicts and all other labels: the lossless export."""
    return map(write_record, records)


def _records(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """One record per row; its effective label is the verdict of a judge named after the label's source."""
    for row in rows:
        verdicts: tuple[RecordVerdict, ...] = ()
        if row.label is not None:
            judge = row.source.removeprefix("judge:") or "effective"
            choice = None if row.outcome is None else choice_of(row.outcome)
            verdicts = (RecordVerdict(judge=judge, pair=(0, 1), choice=choice, p_first=row.p_first),)
        yield write_record(
            Record(
                id=row.id,
                prompt=row.prompt,
                completions=(
                    RecordCompletion(row.first, row.first_model),
                    RecordCompletion(row.second, row.second_model),
                ),
                split=row.split,
                metadata=row.metadata,
                verdicts=verdicts,
            )
        )


def _trl(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """prompt, chosen, rejected; conversational if the prompt is."""
    for row in rows:
        if row.decided:
            chosen, rejected = (_answer(row.prompt, text) for text in row.decided)
            yield _line(prompt=_prompt(row.prompt), chosen=chosen, rejected=rejected)


def _trl_implicit(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """chosen and rejected, each beginning with the prompt."""
    for row in rows:
        if row.decided:
            chosen, rejected = (_whole(row.prompt, text) for text in row.decided)
            yield _line(chosen=chosen, rejected=rejected)


def _kto(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """prompt, completion, label: the better answer true, the worse false, both false if both are bad."""
    for row in rows:
        label = row.label
        if label is None or label == "tie":
            continue
        for text, good in ((row.first, label == "first"), (row.second, label == "second")):
            yield _line(prompt=_prompt(row.prompt), completion=_answer(row.prompt, text), label=good)


def write_flags(rows: Iterable[FlaggedRow]) -> Iterator[bytes]:
    """prompt, completion, label: the lines that follow those of comparisons in the unpaired format."""
    for row in rows:
        yield _line(prompt=_prompt(row.prompt), completion=_answer(row.prompt, row.completion), label=row.desirable)


def _prompt_only(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """Each different prompt once, in order."""
    seen: set[bytes] = set()
    for row in rows:
        line = _line(prompt=_prompt(row.prompt))
        if (digest := _digest(line)) not in seen:  # texts of a large project would not fit in memory
            seen.add(digest)
            yield line


def _sft(rows: Iterable[PreferenceRow]) -> Iterator[bytes]:
    """The prompt and the chosen completion, without repeats."""
    seen: set[bytes] = set()
    for row in rows:
        if not row.decided:
            continue
        line = _line(prompt=_prompt(row.prompt), completion=_answer(row.prompt, row.decided[0]))
        if (digest := _digest(line)) not in seen:  # texts of a large project would not fit in memory
            seen.add(digest)
            yield line


WRITERS: dict[str, Writer] = {
    "records": _records,
    "trl": _trl,
    "trl-implicit": _trl_implicit,
    "kto": _kto,
    "prompt-only": _prompt_only,
    "sft": _sft,
    "openrlhf": published.openrlhf,
    "rlhflow": published.rlhflow,
    "arena": published.arena,
    "mt-bench": published.mt_bench,
    "alpaca-eval": published.alpaca_eval,
}


def _prompt(prompt: Prompt) -> Any:
    return prompt if isinstance(prompt, str) else list(prompt)


def _answer(prompt: Prompt, text: str) -> Any:
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]


def _whole(prompt: Prompt, text: str) -> Any:
    return prompt + text if isinstance(prompt, str) else [*prompt, {"role": "assistant", "content": text}]


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _line(**values: Any) -> bytes:
    return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)
