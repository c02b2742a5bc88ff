"""Writing a batch of checked records as rows: prompts, answers, comparisons, and all labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, cast

from apps.core.bulk import ids_reserve, rows_insert
from apps.core.chunks import chunks
from apps.exchange.merging import Addition
from apps.exchange.models import RecordSpelling
from apps.exchange.spelling import spelling_of
from apps.labels.as_records import ratings_known
from apps.labels.bulk import Annotations
from apps.labels.models import GoldItem, Judge
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, PromptSet
from apps.samples.models import EDIT, Comparison, Completion
from apps.samples.services import pairs_held_out
from prefloop.answers import same_answer
from prefloop.formats.guarded import Located
from prefloop.records import PairIndex, Record, RecordRating, comparisons_of, outcome_of, pairs_named, rated_pairs
from prefloop.rubrics import rubric_stored

_CHUNK = 200  # prompts looked up at a time


def write_batch(
    located: Sequence[Located],
    *,
    project: Project,
    batch: ImportBatch,
    prompt_set: PromptSet,
    judges: dict[str, Judge],
) -> None:
    """Write new records, in order. The caller opens the transaction and knows that no id exists yet."""
    records = [item.record for item in located]
    owners = {"project_id": project.pk, "prompt_set_id": prompt_set.pk, "batch_id": batch.pk}
    prompts = rows_insert(
        Prompt,
        (*owners, "external_id", "text", "messages", "split", "metadata", "record_sha256"),
        [(*owners.values(), *_prompt(item)) for item in located],
    )
    spelled = [(prompt, kept) for prompt, record in zip(prompts, records, strict=True) if (kept := spelling_of(record))]
    rows_insert(RecordSpelling, ("prompt_id", "kept"), spelled)
    made = _Batch(project=project.pk, batch=batch.pk, records=records, prompts=prompts)
    made.completions()
    made.comparisons([comparisons_of(record) for record in records])
    made.gold_items(batch.created_by_id)
    Annotations(records, prompts, made.answers, made.pairs, judges).write()


def write_additions(
    additions: Sequence[Addition], *, project: Project, batch: ImportBatch, judges: dict[str, Judge]
) -> list[int]:
    """Write the new labels of known records; returns the labelled comparisons.

    The caller opens the transaction in which the batch is made ready. Raises SpokenMeanwhile.
    """
    touched: set[int] = set()
    for some in chunks(additions, _CHUNK):
        made = _Batch(
            project=project.pk,
            batch=batch.pk,
            records=[one.record for one in some],
            prompts=[one.prompt for one in some],
        )
        made.what_is_there()
        rated = (
            ratings_known(made.prompts, made.answers) if any(one.record.ratings for one in some) else [()] * len(some)
        )
        named = zip(made.records, rated, strict=True)
        made.comparisons([sorted(_pairs_changed(record, known)) for record, known in named])
        said = Annotations(made.records, made.prompts, made.answers, made.pairs, judges, rated=rated)
        said.look_up()
        said.write()
        touched.update(key for pairs in made.pairs for key in pairs.values())
        for one in some:
            Prompt.objects.filter(pk=one.prompt).update(record_sha256=one.sha256)
    return sorted(touched)


def _pairs_changed(record: Record, known: Sequence[RecordRating]) -> set[PairIndex]:
    """The pairs of which a record says something new; those of earlier ratings among them, which it may replace."""
    before = rated_pairs(replace(record, ratings=tuple(known))) if known else []
    return pairs_named(record, known) | {pair for _, pair, _ in before}


def text_of(prompt: str | Sequence[dict[str, Any]]) -> str:
    """Write a conversation as text for people: one user's message as it is, more turns each under its role."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{str(turn['role']).capitalize()}: {turn['content']}" for turn in prompt)


def _prompt(item: Located) -> tuple[Any, ...]:
    record = item.record
    messages = None if isinstance(record.prompt, str) else list(record.prompt)
    return (record.id, text_of(record.prompt), messages, record.split or "train", record.metadata, item.sha256)


def _held_out_by_edits(gold: Collection[PairIndex], edited: Collection[PairIndex]) -> set[PairIndex]:
    """The pairs of an answer with its edit that are held out, as here: those whose first answer is in one that is."""
    answers = {answer for pair in gold for answer in pair}
    found = set()
    for pair in sorted(edited, key=lambda pair: pair[1]):  # an edit of an edit comes after it
        if pair[0] in answers:
            found.add(pair)
            answers.add(pair[1])
    return found


@dataclass(slots=True)
class _Batch:
    """Records being written as rows. Existing rows are looked up first; a new record has none."""

    project: int
    batch: int
    records: list[Record]
    prompts: list[int]
    answers: list[list[int]] = field(default_factory=list)  # ids, in the order of the record's answers
    pairs: list[dict[PairIndex, int]] = field(default_factory=list)  # the record's comparisons
    there: dict[tuple[int, int], int] = field(default_factory=dict)  # comparisons by their answers

    def completions(self) -> None:
        # In the order of their indices, so that ids are too: the canonical order of a pair rests on it.
        ids = ids_reserve(Completion, sum(len(record.completions) for record in self.records))
        answers = iter(ids)
        self.answers = [list(islice(answers, len(record.completions))) for record in self.records]
        names = ("project_id", "prompt_id", "batch_id", "index", "text", "model_name", "metadata")
        rows_insert(
            Completion,
            (*names, "parent_id", "editor"),
            [
                (
                    *(self.project, prompt, self.batch, i, said.text, said.model, said.metadata),
                    *(None if said.parent is None else mine[said.parent], said.editor),
                )
                for prompt, record, mine in zip(self.prompts, self.records, self.answers, strict=True)
                for i, said in enumerate(record.completions)
            ],
            ids=ids,
        )

    def what_is_there(self) -> None:
        """Look up the existing rows of records that the project has."""
        answers: dict[int, list[int]] = {prompt: [] for prompt in self.prompts}
        rows = Completion.objects.filter(prompt__in=self.prompts).order_by("prompt_id", "id")
        for prompt, pk in rows.values_list("prompt_id", "id"):
            answers[prompt].append(pk)
        self.answers = [
            answers[prompt][: len(record.completions)]
            for prompt, record in zip(self.prompts, self.records, strict=True)
        ]
        compared = Comparison.objects.filter(prompt__in=self.prompts)
        # locked: who votes meanwhile waits, so that no line of votes forks
        locked = compared.select_for_update(no_key=True).order_by("id").values_list("first_id", "second_id", "id")
        self.there = {(first, second): pk for first, second, pk in locked}

    def comparisons(self, named: Sequence[Sequence[PairIndex]]) -> None:
        """Create the comparisons of these pairs of each record, unless they exist."""
        rows = []
        for prompt, record, ids, pairs in zip(self.prompts, self.records, self.answers, named, strict=True):
            gold = {item.pair: cast(str, outcome_of(item.choice)) for item in record.gold}
            texts = [said.text for said in record.completions]
            edited = {vote.pair for vote in record.votes if vote.edit}
            kept_out = _held_out_by_edits(gold, edited)
            for i, j in pairs:
                if (ids[i], ids[j]) in self.there:
                    continue
                held_out = (i, j) in gold or (i, j) in kept_out or record.split == "eval"
                same = same_answer(texts[i], texts[j])
                is_edit = (i, j) in edited
                made_by = (EDIT if is_edit else "import", gold.get((i, j), ""), held_out, same, not is_edit)
                rows.append((self.project, prompt, self.batch, ids[i], ids[j], *made_by))
        names = ("project_id", "prompt_id", "batch_id", "first_id", "second_id", "origin", "gold", "held_out")
        made = rows_insert(Comparison, (*names, "same_answers", "for_people"), rows)
        self.there |= {(row[3], row[4]): key for row, key in zip(rows, made, strict=True)}
        self.pairs = [
            {(i, j): self.there[ids[i], ids[j]] for i, j in pairs}
            for ids, pairs in zip(self.answers, named, strict=True)
        ]

    def gold_items(self, by: int | None) -> None:
        """Write why gold pairs have their labels, and right ratings of single answers; hold out the pairs of these."""
        GoldItem.objects.bulk_create(
            GoldItem(comparison_id=pairs[one.pair], note=one.note, for_practice=one.practice, by_id=by)
            for record, pairs in zip(self.records, self.pairs, strict=True)
            for one in record.gold
            if one.note or one.practice
        )
        for prompt, record, ids in zip(self.prompts, self.records, self.answers, strict=True):
            GoldItem.objects.bulk_create(
                GoldItem(
                    completion_id=ids[one.completion],
                    rubric=rubric_stored(one.rubric),
                    values=dict(one.values),
                    note=one.note,
                    for_practice=one.practice,
                    by_id=by,
                )
                for one in record.gold_ratings
            )
            if record.gold_ratings:
                pairs_held_out(prompt)
