"""How many verdicts each judge has given and how many comparisons wait for a review, kept where they change.

A comparison waits for the review of a judge's label if it has a verdict of the judge and nobody's decision, is not held
out, and its answers differ. Verdicts of an unfinished import do not count yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import transaction
from django.db.models import F

from apps.core.chunks import chunks
from apps.labels.models import Judge, ReviewCount, Verdict
from apps.labels.selectors import CHUNK, standing_decisions
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.locks import comparisons_lock
from apps.samples.models import Comparison

COUNTS = ("n_verdicts", "n_to_review")
Counts = Counter[tuple[int, str]]  # by judge and name


def tally(comparison_ids: Sequence[int]) -> Counts:
    """Count from the rows themselves; the caller has locked these comparisons."""
    found: Counts = Counter()
    for ids in chunks(comparison_ids, CHUNK):
        rows = Comparison.objects.filter(ready(), pk__in=ids).values_list("pk", "held_out", "same_answers")
        waits = {pk: not held_out and not same for pk, held_out, same in rows}
        for decided in standing_decisions().filter(comparison__in=ids).values_list("comparison_id", flat=True):
            waits[decided] = False
        said = Verdict.objects.filter(comparison__in=list(waits)).values_list("judge_id", "comparison_id")
        judged = Counter(said.order_by())
        for (judge, comparison), n in judged.items():
            found[judge, "n_verdicts"] += n
            found[judge, "n_to_review"] += waits[comparison]
    return found


@contextmanager
def reviews_counted(comparison_ids: Sequence[int]) -> Iterator[None]:
    """Lock some comparisons, and afterwards change the counts by whatever has changed of them."""
    with transaction.atomic():
        comparisons_lock(comparison_ids)
        before = tally(comparison_ids)
        yield
        after = tally(comparison_ids)
        after.subtract(before)
        counts_add(after)


def counts_add(changes: Counts) -> None:
    """Add to the counts, judge by judge in one order; the last thing that a transaction does."""
    judges = sorted({judge for (judge, _), n in changes.items() if n})
    if not judges:
        return
    ReviewCount.objects.bulk_create([ReviewCount(judge_id=judge) for judge in judges], ignore_conflicts=True)
    for judge in judges:
        change = {name: F(name) + changes[judge, name] for name in COUNTS if changes[judge, name]}
        ReviewCount.objects.filter(judge=judge).update(**change)


def n_waiting(judge: Judge) -> int:
    """How many comparisons wait for a review of this judge's label."""
    return ReviewCount.objects.filter(judge=judge).values_list("n_to_review", flat=True).first() or 0


def review_differences(project: Project) -> dict[tuple[int, str], tuple[int, int]]:
    """Return every count of the project's judges that is not what a recount says, as (kept, counted)."""
    rows = ReviewCount.objects.filter(judge__project=project).values_list("judge_id", *COUNTS)
    kept = Counter({(judge, name): n for judge, *ns in rows for name, n in zip(COUNTS, ns, strict=True)})
    there = Comparison.objects.filter(project=project).order_by("id").values_list("id", flat=True)
    counted = tally(list(there))
    return {key: (kept[key], counted[key]) for key in {*kept, *counted} if kept[key] != counted[key]}


@transaction.atomic
def review_counts_repair(project: Project) -> dict[tuple[int, str], tuple[int, int]]:
    """Replace the counts that are wrong by what a recount says; returns them."""
    wrong = review_differences(project)
    counts_add(Counter({key: counted - kept for key, (kept, counted) in wrong.items()}))
    return wrong
