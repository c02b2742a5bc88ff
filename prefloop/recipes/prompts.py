"""The prompts of an on-policy run, as JSON Lines whose bytes depend only on the rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefloop.recipes.snapshots import SnapshotError, SnapshotInfo


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt that answers are drawn for: a text, or messages with a role and a content.

    `metadata`: its own, where the judge of the run reads it.
    """

    id: str
    prompt: str | list[dict[str, Any]]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def write_prompts(path: str | Path, rows: Iterable[PromptRow]) -> SnapshotInfo:
    """Write the rows to `path` atomically (a temporary file, then a rename). Raises SnapshotError, OSError."""
    target = Path(path)
    temporary = target.with_name(target.name + ".tmp")
    lines = []
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise SnapshotError(f"prompt {row.id!r} occurs twice")
        seen.add(row.id)
        line = {"id": row.id, "prompt": row.prompt} | ({"metadata": row.metadata} if row.metadata else {})
        lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    try:
        content = "".join(f"{line}\n" for line in lines).encode("utf-8")
    except UnicodeEncodeError:
        raise SnapshotError("a prompt holds a character that is not valid Unicode") from None
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return SnapshotInfo(sha256=hashlib.sha256(content).hexdigest(), n_rows=len(lines), n_bytes=len(content))


def read_prompts(path: str | Path, *, sha256: str = "") -> list[PromptRow]:
    """Read the prompts. Raises SnapshotError naming the line, or if the bytes do not match `sha256`."""
    name = Path(path).name
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise SnapshotError(f"the prompts {name} are missing") from None
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise SnapshotError(f"{name} is not what this run was made with (its SHA-256 differs)")
    rows = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            data = json.loads(line)
            row = PromptRow(str(data["id"]), data["prompt"], data.get("metadata", {}))
        except (ValueError, KeyError, TypeError):
            raise SnapshotError(f"{name}, line {number}: a prompt has an id and a prompt") from None
        if not isinstance(row.prompt, str | list):
            raise SnapshotError(f"{name}, line {number}: a prompt is a text or messages")
        if not isinstance(row.metadata, dict):
            raise SnapshotError(f"{name}, line {number}: a prompt's metadata is an object")
        rows.append(row)
    if not rows:
        raise SnapshotError(f"{name} has no prompts")
    if len({row.id for row in rows}) != len(rows):
        raise SnapshotError(f"{name} holds a prompt twice")
    return rows
