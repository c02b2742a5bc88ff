"""How many verdicts each judge has given, how many comparisons wait for a review, and what decisions changed: kept
where they change.

A comparison waits for the review of a judge's label if it has a verdict of the judge and nobody's decision, is not held
out, and its answers differ. Verdicts of an unfinished import do not count yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import transaction
from django.db.models import Exists, F, OuterRef

from apps.core.chunks import chunks
from apps.labels.effect import EFFECTS
from apps.labels.models import Judge, ReviewCount, ReviewItem, Verdict
from apps.labels.review_items import Counts, counts_of, rows_computed, rows_differing, rows_settle
from apps.labels.selectors import CHUNK
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.locks import comparisons_lock
from apps.samples.models import Comparison

COUNTS = ("n_verdicts", "n_to_review", "n_decided", *EFFECTS)


@contextmanager
def reviews_counted(comparison_ids: Sequence[int]) -> Iterator[None]:
    """Lock some comparisons, and afterwards bring what Review reads of them to whatever has changed."""
    with transaction.atomic():
        comparisons_lock(comparison_ids)
        yield
        reviews_settle(comparison_ids)


def reviews_settle(comparison_ids: Sequence[int]) -> None:
    """Bring rows and counts to what the labels of these comparisons say; the caller has locked them.

    It locks the counts, so it comes after what else a transaction does, but before people's places in the queue.
    """
    counts_add(rows_settle(comparison_ids))


def reviews_refresh(comparison_ids: Sequence[int]) -> None:
    """Bring what Review reads of some comparisons to what their labels say, in a transaction of its own."""
    with reviews_counted(comparison_ids):
        pass


def reviews_complete(*, project: Project) -> None:
    """Settle the comparisons that have verdicts and no rows: of an import, and of one that was killed before this."""
    judged = Exists(Verdict.objects.filter(comparison=OuterRef("pk")))
    known = Exists(ReviewItem.objects.filter(comparison=OuterRef("pk")))
    new = Comparison.objects.filter(ready(), judged, ~known, project=project).order_by("id")
    for ids in chunks(list(new.values_list("id", flat=True)), CHUNK):
        reviews_refresh(ids)


def counts_add(changes: Counts) -> None:
    """Add to the counts, judge by judge in one order."""
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
    """Return every count of the project's judges that is not what a recount says, as (kept, counted); and how many of
    the rows that Review reads say something else than the labels.
    """
    ids = _comparisons(project)
    wrong = Counter(judge for _, judge in rows_differing(ids))
    return _miscounted(project, ids) | {(judge, "rows that are wrong"): (n, 0) for judge, n in wrong.items()}


def review_counts_repair(project: Project) -> dict[tuple[int, str], tuple[int, int]]:
    """Replace rows and counts that are wrong by what the labels say; returns them."""
    wrong, ids = review_differences(project), _comparisons(project)
    for part in chunks(ids, CHUNK):
        reviews_refresh(part)
    with transaction.atomic():
        counts_add(Counter({key: counted - kept for key, (kept, counted) in _miscounted(project, ids).items()}))
    return wrong


def _miscounted(project: Project, ids: Sequence[int]) -> dict[tuple[int, str], tuple[int, int]]:
    rows = ReviewCount.objects.filter(judge__project=project).values_list("judge_id", *COUNTS)
    kept = Counter({(judge, name): n for judge, *ns in rows for name, n in zip(COUNTS, ns, strict=True)})
    counted: Counts = Counter()
    for part in chunks(ids, CHUNK):
        counted.update(counts_of(rows_computed(part).items()))
    return {key: (kept[key], counted[key]) for key in {*kept, *counted} if kept[key] != counted[key]}


def _comparisons(project: Project) -> list[int]:
    return list(Comparison.objects.filter(project=project).order_by("id").values_list("id", flat=True))
