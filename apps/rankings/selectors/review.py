"""The review queue: comparisons with a judge's label, the most useful first, with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.labels.models import Judge, ReviewCount, ReviewItem, Verdict
from apps.labels.review_counts import n_waiting
from apps.labels.review_items import share_of
from apps.labels.review_models import DECIDED, TODO
from apps.labels.selectors import (
    CHUNK,
    decisions_among,
    label_judge,
    labels_beside,
    labels_of_verdicts,
    majorities,
    verdicts_by_judge,
)
from apps.labels.worth import ASKED, Worth, worth_against_people, worth_of
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.exposure import seen_among
from apps.samples.models import Comparison, comparable

LETTER = {"first": "A", "second": "B", "tie": "Tie", "both_bad": "Both bad"}
SHOWN = 50  # lines of the queue at once; the page goes on to the next ones by itself
MOST_CONTESTED = 100
_STATES = {False: (TODO,), True: (DECIDED,), None: (TODO, DECIDED)}
_ITEM = ("comparison_id", "value", "code", "detail", "contested")
_QUOTED = re.compile(r"[“\"«]([^“”\"«»\n]{3,200})[”\"»]|(?<!\w)['‘]([^'‘’\n]{3,200})['’](?!\w)")


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One line of the review queue. It does not reveal the label.

    Nor, for a comparison that the person was not shown yet, people's votes: they may still vote on it.
    """

    comparison_id: int
    prompt: str
    worth: Worth
    decision: str  # "" | agree | override | decided (one or the other)
    decided_by: str = ""


def uncertainty(
    comparison_ids: Sequence[int], judge: Judge, seed: int = 0, *, without_people: Collection[int] = ()
) -> dict[int, Worth]:
    """Say how much each label of the judge needs a person's review: for a loop's review gate and for one comparison.

    `seed` draws the order of those that nobody doubts, so that its head is a random share. Comparisons without a
    verdict of the judge are left out, and people's votes on those in `without_people` are ignored.
    """
    verdicts = verdicts_by_judge(comparison_ids)
    blind = set(without_people)
    people = majorities([key for key in comparison_ids if key not in blind], judge.criterion_name)
    worth: dict[int, Worth] = {}
    for key, labels in labels_of_verdicts(verdicts).items():
        if judge.pk in verdicts[key]:
            label, share = labels.get(judge), share_of(key, seed)
            weighed = worth_of(verdicts[key][judge.pk], label, labels_beside(judge, labels), share)
            contested = key in people and label is not None and people[key] != label.outcome
            worth[key] = worth_against_people(weighed, label, share) if contested else weighed
    return worth


def review_judge(
    project: Project, name: str = "", *, comparison_ids: Sequence[int] = (), criterion: str | None = None
) -> Judge | None:
    """The judge under review: the one named, else the project's label judge, else the one with the most verdicts.

    `comparison_ids`: the comparisons being reviewed. Of the versions of a name the one with verdicts on them is meant;
    without a name, a judge without verdicts on them is replaced by the one with the most. `criterion`: without a name
    and comparisons, only a judge by it; None: the label judge by the unnamed criterion, else any.
    """
    judges = Judge.objects.filter(project=project).order_by("-version")
    if comparison_ids:
        wanted = review_judge(project, name)
        if wanted is not None and _has_said(wanted, comparison_ids):
            return wanted
        return judge_on(comparison_ids, name=name) or wanted
    if name:
        return judges.filter(name=name).first()
    chosen = label_judge(project, criterion or "")
    if chosen is not None:
        return chosen
    spoken = judges.filter(review_count__n_verdicts__gt=0)
    if criterion is not None:
        spoken = spoken.filter(criterion_name=criterion)
    return spoken.order_by("-review_count__n_verdicts", "pk").first()


def judges_to_review(project: Project) -> list[str]:
    """Name the judges that have given verdicts."""
    spoken = Judge.objects.filter(project=project, review_count__n_verdicts__gt=0)
    return sorted(set(spoken.values_list("name", flat=True)))


def _has_said(judge: Judge, comparison_ids: Sequence[int]) -> bool:
    return any(
        Verdict.objects.filter(judge=judge, comparison_id__in=ids).exists() for ids in chunks(comparison_ids, CHUNK)
    )


def judge_on(comparison_ids: Sequence[int], *, name: str = "") -> Judge | None:
    """The judge (with this name, if given) with the most verdicts on these comparisons."""
    counts: Counter[int] = Counter()
    said = Verdict.objects.filter(judge__name=name) if name else Verdict.objects.all()
    for ids in chunks(comparison_ids, CHUNK):
        counts.update(said.filter(comparison_id__in=ids).values_list("judge_id", flat=True))
    return Judge.objects.get(pk=counts.most_common(1)[0][0]) if counts else None


def review_queue(
    project: Project,
    *,
    judge: Judge | None = None,
    comparison_ids: Collection[int] | None = None,
    decided: bool | None = False,
    viewer: User | None = None,
    with_people: bool = True,
    limit: int = SHOWN,
) -> list[QueueItem]:
    """Comparisons with a judge's label, the most useful first, without held-out ones, whose labels are never trained
    on; at most `limit` of them.

    `comparison_ids` asks for just those, judged or not (a round's, for instance). `decided`: False leaves out those
    that somebody has decided, True keeps only them, None gives both. For a `viewer`, people's votes are shown only on
    those that they were shown already, and never if `with_people` is False: of the `MOST_CONTESTED` that people
    contradict and that are doubted most, those that they were shown come by that.
    """
    if judge is None:
        judge = review_judge(project)
    if judge is None:
        return []
    if comparison_ids is None:
        worth = _worth_of_all(judge, decided, viewer, with_people=with_people, limit=limit)
    else:
        worth = _worth_of_some(project, judge, comparison_ids, decided, viewer, with_people=with_people)
    first = sorted(worth, key=lambda key: (-worth[key].value, key))[:limit]
    decisions, prompts = decisions_among(first, judge.criterion_name), _prompts(first)
    seen = set(first) if viewer is None else seen_among(user=viewer, comparison_ids=first)
    items = []
    for key in first:
        decision = decisions.get(key)
        said = ("", "") if decision is None else (decision.kind, decision.rater) if key in seen else ("decided", "")
        items.append(QueueItem(key, prompts[key], worth[key], *said))
    return items


def _worth_of_all(
    judge: Judge, decided: bool | None, viewer: User | None, *, with_people: bool, limit: int
) -> dict[int, Worth]:
    """The worth of the first `limit` of a judge's labels, each state read in the order of its index."""
    worth: dict[int, Worth] = {}
    for state in _STATES[decided]:
        rows = ReviewItem.objects.filter(judge=judge, state=state)
        lifted: dict[int, Worth] = {}
        if with_people:
            contested = rows.filter(contested__isnull=False).order_by("-contested")
            lifted = _lifted(contested.values_list("comparison_id", "contested")[:MOST_CONTESTED], viewer)
        plain = rows.order_by("-value", "comparison").values_list(*_ITEM)[: limit + len(lifted)]
        worth |= {key: Worth(value, code, detail) for key, value, code, detail, _ in plain} | lifted
    return worth


def _worth_of_some(
    project: Project,
    judge: Judge,
    comparison_ids: Collection[int],
    decided: bool | None,
    viewer: User | None,
    *,
    with_people: bool,
) -> dict[int, Worth]:
    worth: dict[int, Worth] = {}
    for ids in chunks(_reviewable(project, comparison_ids), CHUNK):
        wanted = set(ids)
        if decided is not None:
            decisions = decisions_among(ids, judge.criterion_name)
            wanted = {key for key in ids if (key in decisions) == decided}
        rows: QuerySet[ReviewItem] = ReviewItem.objects.filter(judge=judge, comparison__in=wanted)
        found = list(rows.values_list(*_ITEM))
        worth |= dict.fromkeys(wanted, ASKED)
        worth |= {key: Worth(value, code, detail) for key, value, code, detail, _ in found}
        if with_people:
            worth |= _lifted(((row[0], row[-1]) for row in found), viewer)
    return worth


def _lifted(contested: Iterable[tuple[int, float | None]], viewer: User | None) -> dict[int, Worth]:
    """The worth of labels that people contradict, as far as the viewer was shown what they said."""
    worth = {key: Worth(value, "people") for key, value in contested if value is not None}
    seen = set(worth) if viewer is None else seen_among(user=viewer, comparison_ids=worth)
    return {key: worth[key] for key in seen}


def least_doubted(judge: Judge, *, viewer: User, with_people: bool, limit: int) -> list[tuple[int, Worth]]:
    """The labels that wait for a review and need it least, without those that people contradict, as
    far as the viewer was shown what they said.
    """
    rows = ReviewItem.objects.filter(judge=judge, state=TODO).exclude(outcome="")
    found = list(rows.order_by("value", "-comparison").values_list(*_ITEM)[: 2 * limit])
    lifted = _lifted(((row[0], row[-1]) for row in found), viewer) if with_people else {}
    sure = [(key, Worth(value, code, detail)) for key, value, code, detail, _ in found if key not in lifted]
    return sure[:limit]


def n_to_review(
    project: Project,
    *,
    judge: Judge | None = None,
    comparison_ids: Collection[int] | None = None,
    decided: bool | None = False,
) -> int:
    """How many comparisons `review_queue` has in all; for the project's own judge, the number in the rail."""
    if judge is None:
        judge = review_judge(project)
    if judge is None:
        return 0
    if comparison_ids is None:
        if decided is False:
            return n_waiting(judge)
        kept = ReviewCount.objects.filter(judge=judge).values_list("n_to_review", "n_decided").first() or (0, 0)
        return kept[1] if decided else sum(kept)
    ids = _reviewable(project, comparison_ids)
    n_decided = 0 if decided is None else len(decisions_among(ids, judge.criterion_name))
    return n_decided if decided else len(ids) - n_decided


def _reviewable(project: Project, comparison_ids: Collection[int]) -> list[int]:
    """Those of the comparisons that can be reviewed at all."""
    asked = sorted(set(comparison_ids))
    there = Comparison.objects.filter(ready(), comparable(), project=project, held_out=False)
    return [key for part in chunks(asked, CHUNK) for key in there.filter(pk__in=part).values_list("pk", flat=True)]


def _prompts(ids: Sequence[int]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for part in chunks(ids, CHUNK):
        texts.update(Comparison.objects.filter(id__in=part).values_list("id", "prompt__text"))
    return texts


def quoted_spans(rationale: str, *texts: str) -> list[str]:
    """Return the passages that a rationale quotes and that one of the answers really contains, each once."""
    found: dict[str, None] = {}
    for match in _QUOTED.finditer(rationale):
        quote = (match[1] or match[2]).strip().rstrip(".,;:")
        if len(quote) >= 3 and any(quote.casefold() in text.casefold() for text in texts):
            found.setdefault(quote)
    return list(found)
