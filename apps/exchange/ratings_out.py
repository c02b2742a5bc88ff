"""Ratings of single answers as rows: as people gave them, and as judgements that a policy can learn to write (EFT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
from django.db.models import QuerySet

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.labels.models import Rating
from apps.labels.ratings import ratings_given, ratings_to_learn
from apps.projects.models import Project
from apps.samples import exposure
from prefloop.judging.rated import judgement_of, reasons_of, score_of_total
from prefloop.records import written_time
from prefloop.rubrics import rubric_as_objects, rubric_loaded


def rating_lines(project: Project, *, reader: User | None, piece: int) -> Iterator[bytes]:
    """One line for each rating."""
    return _lines(ratings_given(project), _rating, reader=reader, piece=piece)


def eft_lines(project: Project, *, reader: User | None, piece: int) -> Iterator[bytes]:
    """One judgement for each rating: prompt, answer, reason, score from 0 to 5, and the text with both."""
    return _lines(ratings_to_learn(project), _eft, reader=reader, piece=piece)


def _lines(
    rows: QuerySet[Rating], line: Callable[[Rating], dict[str, Any]], *, reader: User | None, piece: int
) -> Iterator[bytes]:
    """Yield the lines, those of so many prompts at once, after recording that the reader is shown them."""
    prompts = sorted(set(rows.order_by().values_list("completion__prompt_id", flat=True)))
    for some in chunks(prompts, piece):
        of_some = rows.filter(completion__prompt__in=some).order_by("completion__prompt_id", "completion_id", "id")
        found = list(of_some.select_related("completion__prompt").defer("completion__token_ids"))
        _told(found, reader)
        for rating in found:
            yield orjson.dumps(line(rating), option=orjson.OPT_APPEND_NEWLINE)


def _told(ratings: Sequence[Rating], reader: User | None) -> None:
    """Two ratings show which of two answers is better, as two scores do; one shows what somebody thinks of one."""
    if reader is None:
        return
    others = {one.completion_id for one in ratings if one.user_id != reader.pk}
    ids = exposure.comparisons_between(others)
    exposure.shown(user_id=reader.pk, comparison_ids=ids, where="exchange:export")
    exposure.answers_shown(user_id=reader.pk, answer_ids=others, where="exchange:export")


def _rating(rating: Rating) -> dict[str, Any]:
    answer = rating.completion
    return {
        "id": answer.prompt.external_id,
        "split": answer.prompt.split,
        "prompt": _prompt(rating),
        "answer": answer.text,
        "model": answer.model_name,
        "rater": rating.rater,
        "rubric": rubric_as_objects(rubric_loaded(rating.rubric)),
        "values": rating.values,
        "total": rating.total,
        "reason": rating.reason,
        "guideline": rating.guideline,
        "seconds": rating.seconds,
        "at": written_time(rating.at) if rating.at else None,
    }


def _eft(rating: Rating) -> dict[str, Any]:
    score = score_of_total(rating.total or 0.0)
    reasons = reasons_of(rubric_loaded(rating.rubric), rating.values, rating.reason)
    return {
        "id": rating.completion.prompt.external_id,
        "prompt": _prompt(rating),
        "answer": rating.completion.text,
        "reason": reasons,
        "score": score,
        "text": judgement_of(reasons, score),
    }


def _prompt(rating: Rating) -> Any:
    prompt = rating.completion.prompt
    return prompt.text if prompt.messages is None else prompt.messages
