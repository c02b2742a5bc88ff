"""Records as files, and the ways in and out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.utils import timezone

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def own_var(settings, tmp_path):
    """Locks and uploads of a test lie in its own folder."""
    settings.VAR_DIR = tmp_path / "var"
    settings.VAR_DIR.mkdir()
    return settings.VAR_DIR


@pytest.fixture
def write_lines(tmp_path):
    """write_lines([record, …]) -> path of a JSON Lines file; text lines are written as they are."""

    def write(rows, name="records.jsonl"):
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def bring(project):
    """bring(path, project=…, **options): import a file as the command does."""
    from apps.exchange.services import import_file

    def run(path, *, project=project, **options):
        return import_file(
            project=project, path=path, name=Path(path).name, created_by=None, now=timezone.now(), **options
        )

    return run


@pytest.fixture
def take():
    """take(project, format, labels) -> the bytes of an export."""
    from apps.exchange.exports import export_lines

    def run(project, format="records", labels="effective"):
        return b"".join(export_lines(project=project, format=format, labels=labels))

    return run


@pytest.fixture
def full_record():
    """A record with every key, in its canonical spelling."""
    return {
        "id": "q17",
        "split": "train",
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Thank Maria\u202e."}],
        "metadata": {"topic": "letters", "weights": [1, 0.5]},
        "completions": [
            {"text": "Dear Maria, thank you.", "model": "m-1", "metadata": {"t": 0.7}},
            {"text": ""},
            {"text": '=HYPERLINK("http://example.invalid")', "model": "m-2"},
        ],
        "gold": [{"pair": [0, 2], "choice": 0}],
        "votes": [
            {
                "rater": "annotator1",
                "pair": [0, 1],
                "choice": 1,
                "order": [1, 0],
                "at": "2026-01-02T03:04:05+02:00",
                "seconds": 4.2,
                "guideline": "v3",
                "reason": "shorter",
            },
            {"rater": "annotator1", "pair": [0, 1], "choice": 0, "at": "2026-01-02T03:05:05Z"},
            {"rater": "annotator2", "pair": [0, 1], "choice": "both_bad"},
            {"rater": "annotator2", "pair": [1, 2], "choice": "skip"},
        ],
        "rankings": [
            {"rater": "annotator2", "groups": [[2], [0, 1]]},
            {"judge": "gpt-4", "groups": [[0], [2]]},
        ],
        "verdicts": [
            {
                "judge": "gpt-4",
                "pair": [0, 1],
                "order": [0, 1],
                "sample": 0,
                "state": "ok",
                "choice": 1,
                "raw": "[[B]]",
            },
            {"judge": "gpt-4", "pair": [0, 1], "order": [1, 0], "sample": 0, "state": "ok", "choice": 1},
            {
                "judge": "soft",
                "pair": [0, 2],
                "order": [0, 1],
                "sample": 0,
                "state": "ok",
                "choice": None,
                "p_first": 0.8,
            },
            {"judge": "soft", "pair": [1, 2], "order": [0, 1], "sample": 0, "state": "unparseable", "choice": None},
        ],
        "overrides": [
            {"rater": "lead1", "pair": [0, 1], "judge": "gpt-4", "choice": 0, "reason": "kinder", "at": "2026-02-01"},
            {"rater": "lead1", "pair": [1, 2], "choice": "tie"},
        ],
        "scores": [
            {"judge": "gpt-4", "completion": 0, "value": 7.5, "state": "ok"},
            {"judge": "gpt-4", "completion": 0, "value": 8.0, "state": "ok"},
            {"judge": "gpt-4", "completion": 1, "value": None, "state": "error"},
        ],
    }
