"""Reading imports, and preferences for exports, a few hundred prompts at a time."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Q

from apps.core.chunks import chunks
from apps.exchange.models import ImportNote
from apps.labels.flags import flags_of
from apps.labels.gold_models import prompt_measures
from apps.labels.models import Override, PairFlag, Ranking, Rating, Score, Verdict, Vote
from apps.labels.selectors import labels_of, preferences
from apps.labels.types import FLAGGED
from apps.projects.models import Project
from apps.prompts.models import ImportBatch, Prompt, ready
from apps.samples.models import Comparison, Completion, comparable
from prefloop.formats import PreferenceRow
from prefloop.types import OUTCOMES

CHUNK = 200  # prompts read at a time


def import_list(project: Project) -> list[ImportBatch]:
    batches = ImportBatch.objects.filter(project=project, ready=True).select_related("created_by").order_by("-id")
    batches = batches.prefetch_related("notes")
    return list(batches[:50])


def batch_notes(batch: ImportBatch) -> list[str]:
    """Return what an import left out although it could matter, with counts."""
    return [str(note) for note in ImportNote.objects.filter(batch=batch).order_by("id")]


def batch_counts(batch: ImportBatch) -> dict[str, int]:
    """Count what an import added. What follows from rankings and ratings is not counted."""
    comparisons = Comparison.objects.filter(batch=batch)
    # What was said of records that were there was counted as it was added. The prompts are read only where there is
    # such: their texts lie in the same pages, and mapped pages count as this process's memory.
    of = "comparison__prompt__batch" if batch.added else "comparison__batch"
    votes = Vote.objects.filter(ranking__isnull=True, **{of: batch})
    verdicts = Verdict.objects.filter(**{of: batch}).exclude(order="")
    said = {
        "votes": votes.count(),
        "verdicts": verdicts.count(),
        "overrides": Override.objects.filter(**{of: batch}).count(),
        "scores": Score.objects.filter(completion__batch=batch).count(),
        "flags": PairFlag.objects.filter(Q(**{of: batch}) | Q(completion__batch=batch)).count(),
        "rankings": Ranking.objects.filter(prompt__batch=batch, rating__isnull=True).count(),
        "ratings": Rating.objects.filter(completion__batch=batch).count(),
    }
    return {
        "n_records": batch.n_records,
        "n_added": batch.added.get("records", 0),
        "n_unchanged": batch.n_unchanged,
        "n_completions": Completion.objects.filter(batch=batch).count(),
        "n_comparisons": comparisons.count(),
        "n_same_answers": comparisons.filter(same_answers=True).count(),
        "n_gold": comparisons.exclude(gold="").count(),
    } | {f"n_{kind}": n + batch.added.get(kind, 0) for kind, n in said.items()}


def preference_rows(project: Project, *, labels: str = "effective", criterion: str = "") -> Iterator[PreferenceRow]:
    """Yield the comparisons that have a label by a criterion, for training, in order. Gold items and evaluation prompts
    are never among them.

    `labels`: "effective" (the current label), or "human" (only blind votes, without overrides and judges).
    """
    comparisons = Comparison.objects.filter(
        ready(), comparable(), project=project, held_out=False, prompt__split="train"
    )
    ids = list(comparisons.order_by("id").values_list("id", flat=True))
    for some in chunks(ids, CHUNK):
        found: dict[int, tuple[str, float | None, str]] = {}
        if labels == "human":
            for key, label in labels_of(
                comparison_ids=some, judge=None, with_overrides=False, criterion=criterion
            ).items():
                found[key] = (label.outcome, label.p_first, label.source)
        else:
            rows = preferences(criterion).filter(comparison__in=some)
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


def label_sources(project: Project, *, criterion: str = "", flags: bool = False) -> dict[str, int]:
    """Count the labels for training by a criterion, by source, with or without flags of single answers."""
    rows = preferences(criterion).filter(
        ready("comparison__"),
        comparison__project=project,
        comparison__held_out=False,
        comparison__prompt__split="train",
    )
    found = dict(rows.order_by("source").values_list("source").annotate(n=Count("id")))
    for name, n in flags_of(project).order_by().values_list("judge__name").annotate(n=Count("id")) if flags else ():
        found[f"{FLAGGED}{name}"] = n
    return found


def prompt_rows(project: Project) -> Iterator[PreferenceRow]:
    """Yield the prompts for training, labelled or not, except those with a gold item."""
    prompts = Prompt.objects.filter(ready(), ~prompt_measures("pk"), project=project, split="train")
    for key, text, messages in prompts.order_by("id").values_list("external_id", "text", "messages").iterator():
        yield PreferenceRow(id=key, prompt=text if messages is None else tuple(messages), first="", second="")
