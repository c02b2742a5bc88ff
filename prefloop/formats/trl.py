"""TRL's data set types: preference (explicit or implicit prompt), unpaired, prompt-completion, prompt-only, messages.

Standard (text) or conversational, in JSON, JSON Lines, CSV or Parquet. The question may be in any column that `asking`
knows, as in the files of axolotl, LLaMA-Factory and OpenRLHF; so may Alpaca's `output`. Without one, the two answers
begin with it, unless another column might hold it: then a person has to decide. Source: TRL's documentation, "Dataset
formats", and `extract_prompt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from prefloop.formats.asking import Asked, asked_in, prompt_around, prompt_in
from prefloop.formats.columns import id_column, id_in, whole_pair
from prefloop.formats.items import preference, rated, rows_to_records
from prefloop.formats.messages import answer_of, label_of, messages_of, shared_prefix, split_answer, unpacked
from prefloop.formats.rows import Row, rest
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record

_COMPLETIONS = ("completion", "output", "response", "answer")
_LABELS = ("label", "kto_tag")
# Columns of texts that are about the pair and are not its question.
_ABOUT = (
    "source", "reason", "rationale", "explanation", "comment", "feedback", "critique", "category", "topic", "title",
    "subset", "dataset", "model", "license", "url", "guideline", "principle", "criterion", "language", "split", "date",
    "created", "time", "name", "author", "id", "tag", "type", "margin", "score", "domain", "path", "file",
)  # fmt: skip


def matches_answers(row: Row) -> bool:
    """Everything except prompts alone, since any table may have a column of prompts."""
    if any(row.get(key) is not None for key in ("chosen", "rejected", "completion", "messages")):
        return True
    return bool(asked_in(row, weak=False).question) and isinstance(row.get("output"), str | list)


def read(source: Source) -> Iterator[Record]:
    return rows_to_records(source, convert, prefix="trl", key=lambda row: id_in(row, id_column(row)))


def convert(row: Row) -> Row:
    output = row.get("output")
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return _preference(row)
    if isinstance(output, list) and len(output) == 2 and all(isinstance(one, str) for one in output):
        # as LLaMA-Factory had it: the better answer, then the worse
        two = {key: value for key, value in row.items() if key != "output"}
        return _preference(two | {"chosen": output[0], "rejected": output[1]})
    if row.get("messages") is not None and not asked_in(row, weak=False).question:
        prompt, answer = split_answer(messages_of(row["messages"], "messages"), "messages")
        asked = asked_in(row, weak=False)
        metadata = rest(row, "messages", *asked.columns)
        return rated(prompt_around(prompt, row, asked), answer, None, metadata=metadata)
    asked = asked_in(row)
    completion = next((name for name in _COMPLETIONS if row.get(name) is not None and name != asked.question), None)
    if completion is not None:
        label = next((name for name in _LABELS if row.get(name) is not None), None)
        return rated(
            prompt_in(row, asked),
            answer_of(row[completion], completion),
            None if label is None else label_of(row[label], label),
            metadata=rest(row, *asked.columns, completion, *_LABELS),
        )
    if asked.question and row.get(asked.question) is not None:
        return {"prompt": prompt_in(row, asked), "completions": [], "metadata": rest(row, *asked.columns)}
    raise InvalidRecord("has none of chosen and rejected, completion, messages, prompt")


def _preference(row: Row) -> Row:
    asked = _asked(row)
    metadata = rest(row, *asked.columns, "chosen", "rejected")
    return preference(*whole_pair(row, asked, "chosen", "rejected"), metadata=metadata)


def _asked(row: Row) -> Asked:
    """Find the question of a pair; without a column for it, the two answers begin with it. Raises InvalidRecord if
    that would be a guess.
    """
    known = asked_in(row, weak=False)
    if known.question and row.get(known.question) is not None:
        return known
    implicit = replace(known, question="", extra="")
    perhaps = asked_in(row)
    if isinstance(row.get(perhaps.question), list):
        return perhaps
    chosen, rejected = (unpacked(row.get(name), name) for name in ("chosen", "rejected"))
    if not isinstance(chosen, str) or not isinstance(rejected, str) or chosen == rejected:
        return implicit
    prefix = shared_prefix(chosen, rejected)[0].strip()
    others = [name for name in row if name not in ("chosen", "rejected", *implicit.columns) and _may_ask(name, row)]
    if prefix and all(row[name].strip() in prefix for name in others):
        return implicit
    if not prefix and others == [perhaps.question]:
        return perhaps
    found = f"{', '.join(others[:5])} might be" if others else "chosen and rejected have no common beginning"
    raise InvalidRecord(
        f"no column is known to contain the question ({found}): say which does, with prompt, chosen and rejected mapped"
    )


def _may_ask(name: str, row: Row) -> bool:
    """Whether a column with another name might be the question: it holds a text of several words."""
    value = row[name]
    about = any(word in name.lower() for word in _ABOUT)
    return isinstance(value, str) and len(value.split()) > 1 and not about
