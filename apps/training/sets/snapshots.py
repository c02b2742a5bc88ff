"""Snapshots: the training set, frozen, hashed, and linked to its labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from apps.core.chunks import chunks
from apps.core.store import weights
from apps.labels.flags import source_of
from apps.labels.models import Score
from apps.labels.ratings import RatedAnswer
from apps.labels.types import BLIND, RATED_ANSWER
from apps.policies.models import Checkpoint
from apps.policies.store import store_path
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.samples.ids import StoredIds
from apps.samples.models import Comparison, Completion
from apps.training.models import Snapshot, SnapshotItem
from apps.training.sets.directories import snapshot_here
from apps.training.sets.overrides import split_overrides
from prefloop.recipes.snapshots import Demonstration, Row, write_snapshot
from prefloop.types import PrefloopError, PromptContent, TrainingPair


class NothingToTrainOn(PrefloopError):
    """No label makes a pair."""


class HeldOutInTraining(PrefloopError):
    """A gold item or an evaluation prompt was about to enter a training set."""


@dataclass(frozen=True, slots=True)
class LabelledComparison:
    """A comparison with the label it is trained on. `p_without_overrides`: None where no label would be left.

    Where both answers are bad, p is a half: only what learns from single answers takes such a label. `parts`: the
    sources of the labels that a mean is of.
    """

    comparison_id: int
    p_first: float
    source: str
    label_ids: tuple[str, ...] = ()
    weight: float = 1.0
    p_without_overrides: float | None = None
    both_bad: bool = False
    both_bad_without_overrides: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()


def count_sources(labels: Iterable[LabelledComparison]) -> Counter[str]:
    """Count labels by source; a mean counts once for each source that it has, so that no judge behind it is missed."""
    return Counter(source for label in labels for source in label.parts or {label.source})


def training_pairs(
    labels: Sequence[LabelledComparison], start: Checkpoint, *, targets: Mapping[int, Completion] | None = None
) -> list[TrainingPair]:
    """Return the rows of a snapshot, in the order of the labels, with texts and token ids. Raises HeldOutInTraining.

    Ids are only those made with the tokenizer of `start`, which is to be trained. `targets`: by prompt, an answer to
    keep likely in addition to its pairs.
    """
    rows: dict[int, Comparison] = {}
    for chunk in chunks([label.comparison_id for label in labels], 500):
        found = Comparison.objects.filter(pk__in=chunk).select_related("prompt", "first", "second")
        rows |= {comparison.pk: comparison for comparison in found}
    ids = StoredIds(start)
    pairs = []
    for label in labels:
        comparison = rows[label.comparison_id]
        if comparison.held_out or comparison.prompt.split == "eval":
            raise HeldOutInTraining(f"comparison {comparison.pk} is held out: it must not enter a training set")
        target = (targets or {}).get(comparison.prompt_id)
        pairs.append(
            TrainingPair(
                id=f"comparison:{comparison.pk}",
                prompt=prompt_content(comparison.prompt),
                first=comparison.first.text,
                second=comparison.second.text,
                p_first=label.p_first,
                weight=label.weight,
                first_ids=ids(comparison.first),
                second_ids=ids(comparison.second),
                source=label.source,
                label_ids=label.label_ids,
                target=target.text if target else None,
                target_ids=ids(target) if target else (),
                first_cut=ids.hides_cut(comparison.first),
                second_cut=ids.hides_cut(comparison.second),
                target_cut=target is not None and ids.hides_cut(target),
            )
        )
    return pairs


def prompt_content(prompt: Prompt) -> PromptContent:
    """Return a prompt as the policy gets it: a conversation as its messages, for the chat template to render."""
    return tuple(prompt.messages) if prompt.messages else prompt.text


def demonstrations(labels: Sequence[LabelledComparison], start: Checkpoint) -> list[Demonstration]:
    """Return the chosen answers as rows to imitate; a tie chooses none, and repeated answers occur once."""
    chosen: dict[str, Demonstration] = {}
    for pair in training_pairs(labels, start):
        if pair.p_first == 0.5:
            continue
        first = pair.p_first > 0.5
        text, ids = (pair.first, pair.first_ids) if first else (pair.second, pair.second_ids)
        cut = pair.first_cut if first else pair.second_cut
        key = hashlib.sha256(f"{pair.prompt}\0{text}".encode()).hexdigest()
        chosen.setdefault(
            key,
            Demonstration(
                id=pair.id,
                prompt=pair.prompt,
                completion=text,
                weight=pair.weight,
                completion_ids=ids,
                source=pair.source,
                label_ids=pair.label_ids,
                cut=cut,
            ),
        )
    return list(chosen.values())


def single_answers(labels: Sequence[LabelledComparison], start: Checkpoint) -> list[Demonstration]:
    """Return both answers of each comparison as rows: the better one is desirable, the worse one or two bad ones not.

    A tie says nothing of either. An answer that several comparisons name stands once for each.
    """
    rows = []
    for label, pair in zip(labels, training_pairs(labels, start), strict=True):
        if pair.p_first == 0.5 and not label.both_bad:
            continue
        for side, text, ids, cut, p in (
            ("first", pair.first, pair.first_ids, pair.first_cut, pair.p_first),
            ("second", pair.second, pair.second_ids, pair.second_cut, 1 - pair.p_first),
        ):
            rows.append(
                Demonstration(
                    id=f"{pair.id}:{side}",
                    prompt=pair.prompt,
                    completion=text,
                    weight=pair.weight,
                    completion_ids=ids,
                    source=pair.source,
                    label_ids=pair.label_ids,
                    desirable=p > 0.5,
                    cut=cut,
                )
            )
    return rows


def flagged_answers(flags: Sequence[Score], start: Checkpoint) -> list[Demonstration]:
    """Return flagged answers as rows, each once for every judge that flagged it."""
    ids = StoredIds(start)
    return [
        Demonstration(
            id=f"score:{flag.pk}",
            prompt=prompt_content(flag.completion.prompt),
            completion=flag.completion.text,
            completion_ids=ids(flag.completion),
            source=source_of(flag),
            label_ids=(f"score:{flag.pk}",),
            desirable=flag.value == 1,
            cut=ids.hides_cut(flag.completion),
        )
        for flag in flags
    ]


def rated_rows(rated: Sequence[RatedAnswer], start: Checkpoint) -> list[Demonstration]:
    """Return answers that people rated as rows: desirable above the middle of the scale, and not below."""
    ids = StoredIds(start)
    return [
        Demonstration(
            id=f"rated:{one.answer.pk}",
            prompt=prompt_content(one.answer.prompt),
            completion=one.answer.text,
            completion_ids=ids(one.answer),
            source=RATED_ANSWER,
            label_ids=tuple(f"rating:{key}" for key in one.rating_ids),
            desirable=bool(one.desirable),
            cut=ids.hides_cut(one.answer),
        )
        for one in rated
    ]


def snapshot_create(
    *,
    project: Project,
    name: str,
    labels: Sequence[LabelledComparison],
    start: Checkpoint,
    label_policy: dict[str, Any],
    before: Collection[str] = (),
    rows: Sequence[Row] | None = None,
    sources: Mapping[str, int] | None = None,
) -> Snapshot:
    """Freeze a training set: the file first, then its rows. Raises NothingToTrainOn, HeldOutInTraining.

    `before`: the overrides that earlier rounds of the loop used (overrides.py).

    `rows` (with their counts by source) where they are not simply the labels' pairs: single answers, groups.
    """
    if not labels and rows is None:
        raise NothingToTrainOn("there is nothing to train on: no comparison has a label that makes a pair")
    rows = list(training_pairs(labels, start) if rows is None else rows)
    if not rows:
        raise NothingToTrainOn("there is nothing to train on: every label is a tie")
    relative = f"{project.slug}/snapshots/{name}.jsonl"
    path = store_path(relative)
    path.parent.mkdir(parents=True, exist_ok=True)
    info = write_snapshot(path, rows)
    weights().push(relative, info.sha256)
    by_kind = Counter(_kind(label.source) for label in labels)
    with transaction.atomic():
        snapshot = Snapshot.objects.create(
            project=project,
            name=name,
            path=relative,
            sha256=info.sha256,
            n_pairs=info.n_rows,
            n_overrides=len(split_overrides(labels, before=before)[0]),
            n_human=sum(by_kind[kind] for kind in BLIND),
            sources=dict(sources if sources is not None else count_sources(labels)),
            label_policy=label_policy,
        )
        SnapshotItem.objects.bulk_create(
            [
                SnapshotItem(
                    snapshot=snapshot,
                    comparison_id=label.comparison_id,
                    p_first=label.p_first,
                    weight=label.weight,
                    source=label.source,
                    label_ids=list(label.label_ids),
                    p_first_without_overrides=label.p_without_overrides,
                    both_bad=label.both_bad,
                    both_bad_without_overrides=label.both_bad_without_overrides,
                )
                for label in labels
            ],
            batch_size=200,
        )
    return snapshot


def snapshot_export(snapshot: Snapshot) -> bytes:
    """Return the bytes, always the same. Raises NothingToTrainOn if the file no longer matches its hash."""
    content = snapshot_here(snapshot).read_bytes()
    if hashlib.sha256(content).hexdigest() != snapshot.sha256:
        raise NothingToTrainOn(f"the file of snapshot {snapshot.name} is not what was frozen (its SHA-256 differs)")
    return content


def merged(labels: Sequence[LabelledComparison], remembered: Sequence[LabelledComparison]) -> list[LabelledComparison]:
    """Return the labels followed by the remembered ones that are not among them; of duplicates, this round's is
    kept.
    """
    own = {label.comparison_id for label in labels}
    return [*labels, *(label for label in remembered if label.comparison_id not in own)]


def _kind(source: str) -> str:
    return source.split(":", 1)[0]
