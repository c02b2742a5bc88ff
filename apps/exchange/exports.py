"""Exports as lines: the available formats, and the lines of each. The same state always gives the same bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO

from django.utils.translation import gettext_noop

from apps.accounts.models import User
from apps.core.bulk import file_not_mapped
from apps.core.services import audit
from apps.exchange import selectors
from apps.exchange.files import csv_lines, data_card, kind_of, parquet_write
from apps.exchange.left_out import FLAGS_IN, LeftOut, left_out, with_repeats
from apps.exchange.ratings_out import eft_lines, rating_lines
from apps.exchange.stored import record_list
from apps.exchange.telling import PIECE, told_flags, told_records, told_rows
from apps.projects.models import Project
from apps.projects.selectors import criterion_named
from apps.samples.models import Comparison
from prefloop.formats import WRITERS, write_flags, write_records
from prefloop.types import PrefloopError


class BadExport(PrefloopError):
    """An unknown format or choice of labels."""


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    word: str
    says: str
    trainer: str = ""


SHAPES: tuple[Shape, ...] = (
    Shape(
        "records",
        gettext_noop("Records"),
        gettext_noop("Everything without loss: answers, votes, verdicts, overrides, scores, gold."),
    ),
    Shape(
        "trl",
        gettext_noop("Preferences"),
        gettext_noop("prompt, chosen, rejected: one line for each decided comparison."),
        "TRL: DPO, IPO",
    ),
    Shape(
        "trl-implicit",
        gettext_noop("Preferences, implicit prompt"),
        gettext_noop("chosen and rejected, each beginning with the prompt."),
        "TRL: reward",
    ),
    Shape(
        "kto",
        gettext_noop("Unpaired"),
        gettext_noop(
            "prompt, completion and whether it is good: two lines for each comparison, one for each flagged answer."
        ),
        "TRL: KTO",
    ),
    Shape(
        "sft", gettext_noop("Chosen answers"), gettext_noop("prompt and better answer, without repeats."), "TRL: SFT"
    ),
    Shape(
        "openrlhf",
        gettext_noop("Conversations"),
        gettext_noop("chosen and rejected as whole conversations."),
        "OpenRLHF",
    ),
    Shape(
        "rlhflow",
        gettext_noop("Scored conversations"),
        gettext_noop("The same, with the label's probability as scores."),
        "RLHFlow",
    ),
    Shape(
        "arena",
        gettext_noop("Battles"),
        gettext_noop("Two models, their conversations and the winner, ties too."),
        "Chatbot Arena",
    ),
    Shape(
        "mt-bench",
        gettext_noop("Judgements"),
        gettext_noop("A question's turn, two models and the winner."),
        "MT-Bench",
    ),
    Shape(
        "alpaca-eval",
        gettext_noop("Annotations"),
        gettext_noop("An instruction, two outputs and a preference from 1 to 2."),
        "AlpacaEval",
    ),
    Shape(
        "ratings",
        gettext_noop("Ratings"),
        gettext_noop("What people said of single answers: a line for each rating, with its rubric and values."),
    ),
    Shape(
        "eft",
        gettext_noop("Judgements to learn"),
        gettext_noop("prompt, answer, reason and score from 0 to 5: ratings as judgements that a policy can learn."),
    ),
    Shape(
        "prompt-only",
        gettext_noop("Prompts"),
        gettext_noop("All training prompts, labelled or not."),
        "TRL: GRPO, online DPO",
    ),
)
COUNTED_AT_ONCE = 20_000  # comparisons whose votes a page goes through
# of single answers: neither a choice of labels nor a criterion is theirs
OF_ANSWERS = {"ratings": rating_lines, "eft": eft_lines}
LABELS = {
    "effective": gettext_noop("The current label"),
    "human": gettext_noop("Only people's blind votes"),
}


def export_lines(
    *,
    project: Project,
    format: str,
    labels: str = "effective",
    criterion: str = "",
    reader: User | None = None,
    piece: int = PIECE,
) -> Iterator[bytes]:
    """Yield the lines of an export. Raises BadExport, NoSuchCriterion at once, before the first line is asked for.

    `criterion`: labels by this named one; "" by the unnamed one. Records have all of them. A `reader` is recorded as
    having seen every label in it, and can't vote blind there afterwards; None: a command of the operator.
    """
    if format not in WRITERS and format not in OF_ANSWERS:
        raise BadExport(f"unknown format {format!r}; known: {', '.join(shape.name for shape in SHAPES)}")
    if labels not in LABELS:
        raise BadExport(f"labels are one of {', '.join(LABELS)}, not {labels!r}")
    criterion_named(project, criterion)
    if format == "records":
        if labels != "effective" or criterion:
            raise BadExport("records contain all labels; a choice of labels is for the training formats")
        records = record_list(project)
        if reader is not None:
            records = told_records(records, project=project, reader=reader, piece=piece)
        return iter(write_records(records))
    if format in OF_ANSWERS:
        if labels != "effective" or criterion:
            raise BadExport("ratings are exported as people gave them, without a choice of labels or criterion")
        return OF_ANSWERS[format](project, reader=reader, piece=piece)
    if format == "prompt-only":
        return WRITERS[format](selectors.prompt_rows(project))
    rows = selectors.preference_rows(project, labels=labels, criterion=criterion)
    lines = WRITERS[format](rows if reader is None else told_rows(rows, reader=reader, piece=piece))
    if (format, labels, criterion) != FLAGS_IN:
        return lines
    return chain(lines, write_flags(told_flags(project, reader=reader, piece=piece)))


def export_preview(
    *, project: Project, format: str, labels: str, criterion: str = "", reader: User, n: int = 3
) -> list[str]:
    """Give the first lines as text."""
    lines = islice(
        export_lines(project=project, format=format, labels=labels, criterion=criterion, reader=reader, piece=1), n
    )
    return [line.decode("utf-8").rstrip("\n") for line in lines]


@dataclass(frozen=True, slots=True)
class Exported:
    """The content of an exported file, and what was left out."""

    n_lines: int
    n_bytes: int
    left_out: LeftOut


def export_file(
    *, project: Project, format: str, labels: str, criterion: str = "", path: Path, actor: User | None
) -> Exported:
    """Write an export to a file atomically; return how much it contains, and what was left out.

    The suffix decides the format: .csv, .parquet (with a data card, `NAME.README.md`), else JSON Lines. Raises
    BadExport.
    """
    lines = _table_lines(project, format, labels, criterion, kind_of(path))
    card = path.with_suffix(".README.md") if kind_of(path) == "parquet" else None
    with _appearing(path) as temporary, file_not_mapped():
        n_rows = _write(lines, temporary, kind_of(path))
        n_bytes = temporary.stat().st_size
        if card is not None:
            with _appearing(card) as written:
                written.write_text(_card(project, format, labels, criterion, n_rows), "utf-8")
    export_audit(project=project, format=format, labels=labels, criterion=criterion, actor=actor)
    found = left_out(project=project, format=format, labels=labels, criterion=criterion)
    return Exported(n_rows, n_bytes, with_repeats(found, format=format, n_lines=n_rows))


def export_some(
    *, project: Project, format: str, labels: str, criterion: str = "", reader: User | None = None
) -> Iterator[bytes]:
    """Yield the lines of an export that is not empty. Raises BadExport with the reason before the first line if it
    is empty.
    """
    lines = export_lines(project=project, format=format, labels=labels, criterion=criterion, reader=reader)
    first = next(lines, None)
    if first is None:
        raise BadExport(why_empty(project=project, format=format, labels=labels, criterion=criterion))
    return chain((first,), lines)


def left_out_at_once(project: Project, format: str, labels: str, criterion: str = "") -> LeftOut | None:
    """Count what is left out, for a page; None if that would take too long for a page."""
    if labels == "human" and Comparison.objects.filter(project=project).count() > COUNTED_AT_ONCE:
        return None
    return left_out(project=project, format=format, labels=labels, criterion=criterion)


def why_empty(*, project: Project, format: str, labels: str, criterion: str = "") -> str:
    """Say in one line why an export is empty."""
    found = left_out(project=project, format=format, labels=labels, criterion=criterion)
    if not found.total:
        nothing = {"records": "no record", "prompt-only": "no prompt", "ratings": "no rating", "eft": "no rating"}
        what = nothing.get(format, "no comparison")
        return f"there is nothing to export: the project has {what} yet"
    return f"there is nothing to export in the format {format}: {found.line}"


def export_zip(*, project: Project, format: str, labels: str, criterion: str = "", reader: User) -> IO[bytes]:
    """Give a data set folder as a zip: data.parquet and README.md. Raises BadExport. The caller closes it."""
    lines = _table_lines(project, format, labels, criterion, "parquet", reader)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response that sends it closes it
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            table = Path(folder) / "data.parquet"
            n_rows = _write(lines, table, "parquet")
            # a fixed time: the same state gives the same bytes
            archive.writestr(zipfile.ZipInfo("README.md"), _card(project, format, labels, criterion, n_rows))
            with (
                table.open("rb") as source,
                archive.open(zipfile.ZipInfo("data.parquet"), "w", force_zip64=True) as out,
            ):
                shutil.copyfileobj(source, out)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _table_lines(
    project: Project, format: str, labels: str, criterion: str, kind: str, reader: User | None = None
) -> Iterator[bytes]:
    if kind != "jsonl" and format == "records":
        raise BadExport("records are always JSON Lines; choose another format for CSV or Parquet")
    lines = export_some if kind == "parquet" else export_lines  # a table without a row has no columns
    return lines(project=project, format=format, labels=labels, criterion=criterion, reader=reader)


def _write(lines: Iterator[bytes], path: Path, kind: str) -> int:
    if kind == "parquet":
        return parquet_write(lines, path)
    n_rows = 0

    def counted() -> Iterator[bytes]:
        nonlocal n_rows
        for line in lines:
            n_rows += 1
            yield line

    with path.open("wb") as file:
        file.writelines(csv_lines(counted()) if kind == "csv" else counted())
    return n_rows


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to, renamed to `path` if all goes well. Raises BadExport if the disk refuses."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
        os.close(handle)
    except OSError as error:
        raise BadExport(f"{path}: {error.strerror or error}") from None
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise BadExport(f"{path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _card(project: Project, format: str, labels: str, criterion: str, n_rows: int) -> str:
    shape = next(shape for shape in SHAPES if shape.name == format)
    return data_card(
        title=project.name,
        shape=format,
        says=shape.says,
        labels=LABELS[labels] + (f", by the criterion {criterion}" if criterion else ""),
        n_rows=n_rows,
        sources=selectors.label_sources(project, criterion=criterion, flags=(format, labels, criterion) == FLAGS_IN),
    )


def export_audit(*, project: Project, format: str, labels: str, actor: User | None, criterion: str = "") -> None:
    """Record an export in the audit log."""
    data = {"format": format, "labels": labels} | ({"criterion": criterion} if criterion else {})
    audit(actor=actor, verb="data.export", target=f"project:{project.slug}", project=project, data=data)
