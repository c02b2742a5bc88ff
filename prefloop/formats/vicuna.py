"""The Vicuna blog's evaluation: a directory with question.jsonl, answer/*.jsonl and review/**/*.jsonl.

One record per question, one completion per model. Each review is one verdict, by its `reviewer_id`, on its two answers
as shown; the higher of its two scores wins, equal scores are a tie, a negative score could not be parsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefloop.formats.opening import UnreadableFile
from prefloop.formats.rows import numbered_rows
from prefloop.formats.source import Source
from prefloop.records import InvalidRecord, Record, parse_record

_Located = tuple[str, dict[str, Any]]  # where a row stands, and the row


def is_vicuna(path: Path) -> bool:
    return (path / "question.jsonl").is_file() and (path / "answer").is_dir()


def read(source: Source) -> Iterator[Record]:
    path = source.path
    questions = list(_rows(path / "question.jsonl", path))
    answers: dict[Any, dict[str, dict[str, Any]]] = {}  # question -> model -> answer
    where: dict[Any, tuple[Any, str]] = {}  # answer id -> (question, model)
    for file in sorted((path / "answer").glob("*.jsonl")):
        for at, row in _rows(file, path):
            model, question = row.get("model_id"), row.get("question_id")
            if not isinstance(model, str) or not model:
                raise UnreadableFile(f"{at}: model_id is missing")
            if model in answers.setdefault(question, {}):
                raise UnreadableFile(f"{at}: a second answer of {model} to question {question}")
            answers[question][model] = row
            where[row.get("answer_id")] = (question, model)
    reviews: dict[Any, list[_Located]] = {}
    for file in sorted((path / "review").rglob("*.jsonl")):
        for at, row in _rows(file, path):
            reviews.setdefault(row.get("question_id"), []).append((at, row))
    for at, row in questions:
        key = row.get("question_id")
        models = list(answers.get(key, {}))
        sampled: Counter[tuple[str, str, str]] = Counter()
        verdicts = [_verdict(at_review, review, models, where, sampled) for at_review, review in reviews.get(key, [])]
        try:
            yield parse_record(
                {
                    "id": f"{path.resolve().name}-{key}",
                    "prompt": row.get("text"),
                    "metadata": {"category": row["category"]} if row.get("category") else {},
                    "completions": [
                        {"text": answers[key][m].get("text"), "model": m, "metadata": _answer_metadata(answers[key][m])}
                        for m in models
                    ],
                    "verdicts": verdicts,
                }
            )
        except InvalidRecord as error:
            raise UnreadableFile(f"{at}: {error}") from None


def _rows(file: Path, root: Path) -> Iterator[_Located]:
    name = file.relative_to(root).as_posix()
    for numbered in numbered_rows(Source(file)):
        at = f"{name}: {numbered.unit} {numbered.number}"
        if isinstance(numbered.row, str):
            raise UnreadableFile(f"{at}: {numbered.row}")
        yield at, numbered.row


def _answer_metadata(answer: dict[str, Any]) -> dict[str, Any]:
    return {"answer_id": answer["answer_id"]} if answer.get("answer_id") else {}


def _verdict(
    at: str,
    review: dict[str, Any],
    models: list[str],
    where: dict[Any, tuple[Any, str]],
    sampled: Counter[tuple[str, str, str]],
) -> dict[str, Any]:
    shown = []
    for key in ("answer1_id", "answer2_id"):
        question, model = where.get(review.get(key), (None, ""))
        if question != review.get("question_id"):
            raise UnreadableFile(f"{at}: {key} is not an answer to its question")
        shown.append(model)
    judge = review.get("reviewer_id")
    if not isinstance(judge, str) or not judge:
        raise UnreadableFile(f"{at}: reviewer_id is missing")
    scores = review.get("score")
    choice: int | str | None = None
    if isinstance(scores, list) and len(scores) == 2 and all(type(s) in (int, float) and s >= 0 for s in scores):
        choice = "tie" if scores[0] == scores[1] else int(scores[1] > scores[0])
    seen = (judge, shown[0], shown[1])
    sampled[seen] += 1
    return {
        "judge": judge,
        "pair": [models.index(shown[0]), models.index(shown[1])],
        "order": [0, 1],
        "sample": sampled[seen] - 1,
        "state": "unparseable" if choice is None else "ok",
        "choice": choice,
        "raw": review.get("text") or "",
    }
