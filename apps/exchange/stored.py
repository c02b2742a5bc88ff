"""Reading records from the database, a few hundred prompts at a time, in the exchange format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from apps.core.chunks import chunks
from apps.exchange.models import RecordSpelling
from apps.labels.as_records import said_of
from apps.labels.models import GoldItem
from apps.labels.selectors import judge_names
from apps.projects.models import Project
from apps.prompts.models import Prompt, ready
from apps.samples.models import Comparison, Completion
from prefloop.records import (
    Gold,
    GoldRating,
    PairIndex,
    Record,
    RecordCompletion,
    choice_of,
)
from prefloop.rubrics import rubric_loaded, values_checked
from prefloop.types import Outcome

CHUNK = 200  # prompts read at a time


def record_list(project: Project) -> Iterator[Record]:
    """Yield every record of a project in the order of its prompts, with all labels: the lossless export."""
    names = judge_names(project)
    ids = list(Prompt.objects.filter(ready(), project=project).order_by("id").values_list("id", flat=True))
    for some in chunks(ids, CHUNK):
        yield from records_of(some, names)


def records_of(prompt_ids: Sequence[int], names: dict[int, str], *, taken_back: bool = False) -> Iterator[Record]:
    """Yield the records of these prompts (a few hundred) in order; `names` gives the judges' names by id.

    `taken_back`: include withdrawn votes and decisions, which are not exported.
    """
    prompts = Prompt.objects.filter(pk__in=prompt_ids).order_by("id")
    answers: dict[int, list[RecordCompletion]] = defaultdict(list)
    place: dict[int, int] = {}  # completion -> its place in its record
    rows = Completion.objects.filter(prompt__in=prompt_ids).order_by("prompt_id", "id")
    fields = ("id", "prompt_id", "text", "model_name", "metadata", "parent_id", "editor")
    for pk, prompt, text, model, metadata, parent, editor in rows.values_list(*fields):
        place[pk] = len(answers[prompt])
        before = None if parent is None else place[parent]
        answers[prompt].append(RecordCompletion(text, model, metadata, before, editor))
    pairs: dict[int, tuple[int, PairIndex]] = {}  # comparison -> its prompt and pair
    gold: dict[int, list[Gold]] = defaultdict(list)
    compared = Comparison.objects.filter(prompt__in=prompt_ids).order_by("id")
    why = ("gold_item__note", "gold_item__for_practice")
    fields = ("id", "prompt_id", "first_id", "second_id", "gold", *why)
    for pk, prompt, first, second, truth, note, practice in compared.values_list(*fields):
        pairs[pk] = (prompt, (place[first], place[second]))
        if truth:
            gold[prompt].append(Gold(pairs[pk][1], choice_of(cast(Outcome, truth)), note or "", bool(practice)))
    known: dict[int, list[GoldRating]] = defaultdict(list)
    for item in GoldItem.objects.filter(completion__prompt__in=prompt_ids).order_by("completion_id"):
        values = tuple(values_checked(rubric := rubric_loaded(item.rubric), item.values).items())
        answer = item.answer
        known[answer.prompt_id].append(GoldRating(place[answer.pk], rubric, values, item.note, item.for_practice))
    said = said_of(prompt_ids, place=place, pairs=pairs, names=names, taken_back=taken_back)
    spelled = dict(RecordSpelling.objects.filter(prompt__in=prompt_ids).values_list("prompt_id", "kept"))
    for prompt_row in prompts:
        key = prompt_row.pk
        record = Record(
            id=prompt_row.external_id,
            prompt=prompt_row.text if prompt_row.messages is None else tuple(prompt_row.messages),
            completions=tuple(answers[key]),
            split="eval" if prompt_row.split == "eval" else None,
            metadata=prompt_row.metadata,
            gold=tuple(gold[key]),
            gold_ratings=tuple(known[key]),
            **said[key],
        )
        yield _as_spelled(record, spelled[key]) if key in spelled else record


def _as_spelled(record: Record, kept: dict[str, Any]) -> Record:
    soft = set(kept.get("verdicts", ()))
    votes, overrides = kept.get("votes", {}), kept.get("overrides", {})
    return replace(
        record,
        split=record.split or kept.get("split"),
        votes=tuple(replace(v, at=votes.get(str(i), v.at)) for i, v in enumerate(record.votes)),
        overrides=tuple(replace(o, at=overrides.get(str(i), o.at)) for i, o in enumerate(record.overrides)),
        verdicts=tuple(replace(v, choice=None) if i in soft else v for i, v in enumerate(record.verdicts)),
    )
