"""Exports as lines: which shapes there are, and the lines of each. The same state always gives the same bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from apps.accounts.models import User
from apps.core.services import audit
from apps.exchange import selectors
from apps.projects.models import Project
from prefloop.formats import WRITERS, write_records
from prefloop.types import PrefloopError


class BadExport(PrefloopError):
    """A shape or a choice of labels that there isn't."""


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    word: str
    says: str
    trainer: str = ""


SHAPES: tuple[Shape, ...] = (
    Shape("records", "Records", "Everything, nothing lost: answers, votes, verdicts, overrides, scores, gold."),
    Shape("trl", "Preferences", "prompt, chosen, rejected: one line a decided comparison.", "TRL: DPO, IPO"),
    Shape("trl-implicit", "Preferences, implicit prompt", "chosen and rejected, the prompt in each.", "TRL: reward"),
    Shape("kto", "Unpaired", "prompt, completion and whether it is good: two lines a comparison.", "TRL: KTO"),
    Shape("sft", "Chosen answers", "prompt and the better answer, each once.", "TRL: SFT"),
    Shape("prompt-only", "Prompts", "The prompts that may train, labelled or not.", "TRL: GRPO, online DPO"),
)
LABELS = {"effective": "The label that stands now", "human": "Only what people said blind"}


def export_lines(*, project: Project, format: str, labels: str = "effective") -> Iterator[bytes]:
    """Yield the lines of an export. Raises BadExport at once, before the first line is asked for."""
    if format not in WRITERS:
        raise BadExport(f"unknown format {format!r}; known: {', '.join(shape.name for shape in SHAPES)}")
    if labels not in LABELS:
        raise BadExport(f"labels are one of {', '.join(LABELS)}, not {labels!r}")
    if format == "records":
        if labels != "effective":
            raise BadExport("records hold every label, whoever gave it; choose labels for the shapes that train")
        return iter(write_records(selectors.record_list(project)))
    if format == "prompt-only":
        return WRITERS[format](selectors.prompt_rows(project))
    return WRITERS[format](selectors.preference_rows(project, labels=labels))


def export_preview(*, project: Project, format: str, labels: str, n: int = 3) -> list[str]:
    """Give the first lines as text."""
    lines = islice(export_lines(project=project, format=format, labels=labels), n)
    return [line.decode("utf-8").rstrip("\n") for line in lines]


def export_file(*, project: Project, format: str, labels: str, path: Path, actor: User | None) -> tuple[int, int]:
    """Write an export to a file that is there whole or not at all; returns lines and bytes."""
    lines = export_lines(project=project, format=format, labels=labels)
    n_lines = n_bytes = 0
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
    except OSError as error:
        raise BadExport(f"{path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            for line in lines:
                file.write(line)
                n_lines += 1
                n_bytes += len(line)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o600)
        os.replace(temporary, path)
    except OSError as error:
        raise BadExport(f"{path}: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    export_audit(project=project, format=format, labels=labels, actor=actor)
    return n_lines, n_bytes


def export_audit(*, project: Project, format: str, labels: str, actor: User | None) -> None:
    """Say in the audit log that data went out."""
    data = {"format": format, "labels": labels}
    audit(actor=actor, verb="data.export", target=f"project:{project.slug}", project=project, data=data)
