"""Records and preferences out of a project, a few hundred prompts at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from django.db.models import Count, Exists, OuterRef

from apps.core.chunks import chunks
from apps.exchange.models import RecordSpelling
from apps.exchange.reading import written_time
from apps.exchange.writing import UNNAMED_JUDGE
from apps.judging.models import Judge, Score, Verdict
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, ready
from apps.rankings.models import Override, Preference, Ranking, Vote
from apps.rankings.preferences import labels_of
from apps.samples.models import Comparison, Completion
from prefloop.formats import PreferenceRow
from prefloop.records import (
    Gold,
    PairIndex,
    Record,
    RecordCompletion,
    RecordOverride,
    RecordRanking,
    RecordScore,
    RecordVerdict,
    RecordVote,
    choice_of,
)
from prefloop.types import OUTCOMES, Outcome

CHUNK = 200  # prompts read at a time
_ORDER: dict[str, PairIndex | None] = {"01": (0, 1), "10": (1, 0), "": None}


def judge_names(project: Project) -> dict[int, str]:
    """Name each judge of a project for the outside: by its name, and by its version too where several have spoken."""
    said = Exists(Verdict.objects.filter(judge=OuterRef("pk")))
    judges = list(Judge.objects.filter(project=project).annotate(has_spoken=said).order_by("name", "version"))
    spoken: dict[str, int] = defaultdict(int)
    for judge in judges:
        spoken[judge.name] += judge.has_spoken
    return {
        judge.pk: judge.name if spoken[judge.name] < 2 or judge.version == 1 else f"{judge.name} v{judge.version}"
        for judge in judges
    }


def import_list(project: Project) -> list[ImportBatch]:
    batches = ImportBatch.objects.filter(project=project, ready=True).select_related("created_by").order_by("-id")
    return list(batches[:50])


def batch_counts(batch: ImportBatch) -> dict[str, int]:
    """Count what an import brought."""
    return {
        "n_records": batch.n_records,
        "n_unchanged": batch.n_unchanged,
        "n_completions": Completion.objects.filter(batch=batch).count(),
        "n_comparisons": Comparison.objects.filter(batch=batch).count(),
        "n_gold": Comparison.objects.filter(batch=batch).exclude(gold="").count(),
        "n_votes": Vote.objects.filter(comparison__batch=batch).count(),
        "n_verdicts": Verdict.objects.filter(comparison__batch=batch).count(),
        "n_overrides": Override.objects.filter(comparison__batch=batch).count(),
        "n_scores": Score.objects.filter(completion__batch=batch).count(),
        "n_rankings": Ranking.objects.filter(prompt__batch=batch).count(),
    }


def record_list(project: Project) -> Iterator[Record]:
    """Yield every record of a project in the order of its prompts, with all that was said: the lossless export."""
    names = judge_names(project)
    ids = list(Prompt.objects.filter(ready(), project=project).order_by("id").values_list("id", flat=True))
    for some in chunks(ids, CHUNK):
        yield from _records(some, names)


def _records(prompt_ids: Sequence[int], names: dict[int, str]) -> Iterator[Record]:
    prompts = Prompt.objects.filter(pk__in=prompt_ids).order_by("id")
    answers: dict[int, list[RecordCompletion]] = defaultdict(list)
    place: dict[int, int] = {}  # completion -> its place in its record
    rows = Completion.objects.filter(prompt__in=prompt_ids).order_by("prompt_id", "id")
    for pk, prompt, text, model, metadata in rows.values_list("id", "prompt_id", "text", "model_name", "metadata"):
        place[pk] = len(answers[prompt])
        answers[prompt].append(RecordCompletion(text, model, metadata))
    pairs: dict[int, tuple[int, PairIndex]] = {}  # comparison -> its prompt and pair
    gold: dict[int, list[Gold]] = defaultdict(list)
    compared = Comparison.objects.filter(prompt__in=prompt_ids).order_by("id")
    for pk, prompt, first, second, truth in compared.values_list("id", "prompt_id", "first_id", "second_id", "gold"):
        pairs[pk] = (prompt, (place[first], place[second]))
        if truth:
            gold[prompt].append(Gold(pairs[pk][1], choice_of(cast(Outcome, truth))))
    votes, verdicts = _votes(pairs), _verdicts(pairs, names)
    overrides, scores = _overrides(pairs, names), _scores(prompt_ids, place, names)
    rankings = _rankings(prompt_ids, place, names)
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
            votes=tuple(votes[key]),
            rankings=tuple(rankings[key]),
            verdicts=tuple(verdicts[key]),
            overrides=tuple(overrides[key]),
            scores=tuple(scores[key]),
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


def _votes(pairs: dict[int, tuple[int, PairIndex]]) -> dict[int, list[RecordVote]]:
    """What a person took back is not said; what came after it is."""
    out: dict[int, list[RecordVote]] = defaultdict(list)
    for ids in chunks(list(pairs), 500):
        rows = list(Vote.objects.filter(comparison__in=ids).order_by("comparison__prompt_id", "id"))
        back = {row.pk: row.supersedes_id for row in rows}
        gone: set[int | None] = set()
        for row in rows:
            if row.choice == "withdrawn":
                at: int | None = row.pk
                while at is not None:
                    gone.add(at)
                    at = back.get(at)
        for row in rows:
            if row.pk in gone:
                continue
            prompt, pair = pairs[row.comparison_id]
            out[prompt].append(
                RecordVote(
                    rater=row.rater,
                    pair=pair,
                    choice="skip" if row.choice == "skip" else choice_of(cast(Outcome, row.choice)),
                    order=_ORDER[row.order],
                    at=written_time(row.at) if row.at else "",
                    seconds=row.seconds,
                    guideline=row.guideline,
                    reason=row.reason,
                )
            )
    return out


def _verdicts(pairs: dict[int, tuple[int, PairIndex]], names: dict[int, str]) -> dict[int, list[RecordVerdict]]:
    out: dict[int, list[RecordVerdict]] = defaultdict(list)
    fields = ("comparison_id", "judge_id", "order", "sample", "state", "outcome", "p_first", "raw")
    for ids in chunks(list(pairs), 500):
        rows = Verdict.objects.filter(comparison__in=ids).exclude(state__in=("skipped", "inconsistent"))
        for comparison, judge, order, sample, state, outcome, p_first, raw in rows.order_by(
            "comparison__prompt_id", "id"
        ).values_list(*fields):
            prompt, pair = pairs[comparison]
            out[prompt].append(
                RecordVerdict(
                    judge=names[judge],
                    pair=pair,
                    order=_ORDER[order] or (0, 1),
                    sample=sample,
                    state=state,
                    choice=choice_of(outcome) if outcome else None,
                    p_first=p_first,
                    raw=raw,
                )
            )
    return out


def _overrides(pairs: dict[int, tuple[int, PairIndex]], names: dict[int, str]) -> dict[int, list[RecordOverride]]:
    """Decisions that stand, or that another one replaced; not those taken back, nor an agreement with no label."""
    out: dict[int, list[RecordOverride]] = defaultdict(list)
    for ids in chunks(list(pairs), 500):
        rows = list(Override.objects.filter(comparison__in=ids).order_by("comparison__prompt_id", "id"))
        taken_back = {row.supersedes_id for row in rows if row.kind == "withdrawn"}
        for row in rows:
            if row.kind == "withdrawn" or row.pk in taken_back or not row.choice:
                continue
            prompt, pair = pairs[row.comparison_id]
            name = names[row.judge_id]
            out[prompt].append(
                RecordOverride(
                    rater=row.rater,
                    pair=pair,
                    choice=choice_of(cast(Outcome, row.choice)),
                    judge="" if name == UNNAMED_JUDGE else name,
                    reason=row.reason,
                    at=written_time(row.at) if row.at else "",
                )
            )
    return out


def _scores(prompt_ids: Sequence[int], place: dict[int, int], names: dict[int, str]) -> dict[int, list[RecordScore]]:
    out: dict[int, list[RecordScore]] = defaultdict(list)
    rows = Score.objects.filter(completion__prompt__in=prompt_ids).order_by("id")
    fields = ("completion__prompt_id", "completion_id", "judge_id", "value", "state")
    for prompt, completion, judge, value, state in rows.values_list(*fields):
        out[prompt].append(RecordScore(names[judge], place[completion], value, state))
    return out


def _rankings(
    prompt_ids: Sequence[int], place: dict[int, int], names: dict[int, str]
) -> dict[int, list[RecordRanking]]:
    out: dict[int, list[RecordRanking]] = defaultdict(list)
    rows = Ranking.objects.filter(prompt__in=prompt_ids).order_by("id")
    for prompt, rater, judge, groups in rows.values_list("prompt_id", "rater", "judge_id", "groups"):
        indices = tuple(tuple(sorted(place[pk] for pk in group)) for group in groups)
        out[prompt].append(RecordRanking(indices, rater=rater, judge=names[judge] if judge else ""))
    return out


def preference_rows(project: Project, *, labels: str = "effective") -> Iterator[PreferenceRow]:
    """Yield the labelled comparisons that may train, in order. Gold items and evaluation prompts are never among them.

    `labels`: "effective" (what stands now), or "human" (what people said blind; overrides and judges aside).
    """
    comparisons = Comparison.objects.filter(ready(), project=project, held_out=False, prompt__split="train")
    ids = list(comparisons.order_by("id").values_list("id", flat=True))
    for some in chunks(ids, CHUNK):
        found: dict[int, tuple[str, float | None, str]] = {}
        if labels == "human":
            for key, label in labels_of(comparison_ids=some, judge=None, with_overrides=False).items():
                found[key] = (label.outcome, label.p_first, label.source)
        else:
            rows = Preference.objects.filter(comparison__in=some)
            for key, outcome, p_first, source in rows.values_list("comparison_id", "outcome", "p_first", "source"):
                found[key] = (outcome, p_first, source)
        for comparison in (
            Comparison.objects.filter(pk__in=found).select_related("prompt", "first", "second").order_by("id")
        ):
            outcome, p_first, source = found[comparison.pk]
            prompt = comparison.prompt
            yield PreferenceRow(
                id=f"{prompt.external_id}-{comparison.pk}",
                prompt=prompt.text if prompt.messages is None else tuple(prompt.messages),
                first=comparison.first.text,
                second=comparison.second.text,
                outcome=outcome if outcome in OUTCOMES else None,
                p_first=p_first,
                first_model=comparison.first.model_name,
                second_model=comparison.second.model_name,
                split="train",
                source=source,
            )


def label_sources(project: Project) -> dict[str, int]:
    """Count the labels that may train by where they came from."""
    rows = Preference.objects.filter(
        ready("comparison__"),
        comparison__project=project,
        comparison__held_out=False,
        comparison__prompt__split="train",
    )
    return dict(rows.order_by("source").values_list("source").annotate(n=Count("id")))


def prompt_rows(project: Project) -> Iterator[PreferenceRow]:
    """Yield the prompts that may train, labelled or not; one with a gold comparison may not."""
    prompts = Prompt.objects.filter(ready(), project=project, split="train").exclude(comparisons__held_out=True)
    for key, text, messages in prompts.order_by("id").values_list("external_id", "text", "messages").iterator():
        yield PreferenceRow(id=key, prompt=text if messages is None else tuple(messages), first="", second="")
