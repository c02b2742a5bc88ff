"""The review queue: comparisons with a judge's label, the most useful first, with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.labels.models import Judge, Verdict
from apps.labels.review_counts import n_waiting
from apps.labels.selectors import (
    CHUNK,
    decisions_among,
    label_judge,
    labels_of_verdicts,
    majorities,
    verdicts_by_judge,
)
from apps.labels.types import JudgeLabel
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.exposure import seen_among
from apps.samples.models import Comparison, comparable
from prefloop.judging.render import SUSPICIONS
from prefloop.seeds import derive_seed

NARROW = 0.25  # |p − ½| under which a label is a close call
LETTER = {"first": "A", "second": "B", "tie": "Tie", "both_bad": "Both bad"}
_QUOTED = re.compile(r"[“\"«]([^“”\"«»\n]{3,200})[”\"»]|(?<!\w)['‘]([^'‘’\n]{3,200})['’](?!\w)")


@dataclass(frozen=True, slots=True)
class Worth:
    """How useful a person's review would be (higher first), and why, in words."""

    value: float
    reason: str
    code: str  # orders | unreadable | flagged | people | judges | margin | sample


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
    """Say how much each label of the judge needs a person's review: for queues and for a loop's review gate.

    In order: the judge's two orders disagree; its reply could not be read; an answer was flagged as addressing the
    judge; people disagree; other judges disagree; a small margin |p − ½|; then the rest in an order drawn by `seed`, so
    that its head is a random share. Comparisons without a verdict of the judge are left out, and people's votes on
    those in `without_people` are ignored.
    """
    verdicts = verdicts_by_judge(comparison_ids, judge)
    blind = set(without_people)
    people = majorities([key for key in comparison_ids if key not in blind])
    worth: dict[int, Worth] = {}
    for key, labels in labels_of_verdicts(verdicts).items():
        by_judge = verdicts[key]
        if judge.pk not in by_judge:
            continue
        others = {other: label for other, label in labels.items() if other.pk != judge.pk}
        share = derive_seed(seed, "review", key) / 2**63
        worth[key] = _worth(by_judge[judge.pk], labels.get(judge), others, people.get(key), share)
    return worth


def _worth(
    verdicts: Sequence[Verdict],
    label: JudgeLabel | None,
    others: dict[Judge, JudgeLabel],
    people: str | None,
    share: float,
) -> Worth:
    if _orders_disagree(verdicts) or (label is not None and label.state == "inconsistent"):
        return Worth(5 + share, _("orders disagree"), "orders")
    if label is None or label.outcome is None:
        return Worth(4 + share, _("no readable verdict"), "unreadable")
    if any(SUSPICIONS & set(verdict.flags) for verdict in verdicts):
        return Worth(3.5 + share / 100, _("an answer addresses the judge"), "flagged")
    margin = None if label.p_first is None else abs(label.p_first - 0.5)
    doubt = 0.0 if margin is None else 0.5 - margin
    if people is not None and people != label.outcome:
        return Worth(3 + doubt + share / 100, _("people say otherwise"), "people")
    said = [(other, one.outcome) for other, one in others.items() if one.outcome is not None]
    against = [other for other, outcome in said if outcome != label.outcome]
    if against:
        n_with = 1 + len(said) - len(against)
        return Worth(2 + doubt + share / 100, _split(against, n_with), "judges")
    if margin is not None and margin < NARROW:
        return Worth(1 + doubt + share / 100, _("margin %(margin).2f") % {"margin": margin}, "margin")
    return Worth(share, _("random check"), "sample")


def _split(against: Sequence[Judge], n_with: int) -> str:
    if len(against) == 1 and n_with == 1:
        return _("%(judge)s disagrees") % {"judge": against[0].name}
    return _("judges split %(with)d:%(against)d") % {"with": n_with, "against": len(against)}


def _orders_disagree(verdicts: Sequence[Verdict]) -> bool:
    """Whether one order was decided for one answer and the other for the other, whatever the order policy."""
    sides = {v.order: v.outcome for v in verdicts if v.order and v.outcome in {"first", "second"}}
    return len(set(sides.values())) > 1


def review_judge(project: Project, name: str = "", *, comparison_ids: Sequence[int] = ()) -> Judge | None:
    """The judge under review: the one named, else the project's label judge, else the one with the most verdicts.

    `comparison_ids`: the comparisons being reviewed. Of the versions of a name the one with verdicts on them is meant;
    without a name, a judge without verdicts on them is replaced by the one with the most.
    """
    judges = Judge.objects.filter(project=project).order_by("-version")
    if comparison_ids:
        wanted = review_judge(project, name)
        if wanted is not None and _has_said(wanted, comparison_ids):
            return wanted
        return judge_on(comparison_ids, name=name) or wanted
    if name:
        return judges.filter(name=name).first()
    chosen = label_judge(project)
    if chosen is not None:
        return chosen
    spoken = judges.filter(review_count__n_verdicts__gt=0)
    return spoken.order_by("-review_count__n_verdicts", "pk").first()


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
    seed: int = 0,
    viewer: User | None = None,
    with_people: bool = True,
) -> list[QueueItem]:
    """Comparisons with a judge's label, the most useful first, without held-out ones, whose labels are never trained
    on.

    `comparison_ids` asks for just those, judged or not (a round's, for instance). `decided`: False leaves out those
    that somebody has decided, True keeps only them, None gives both. For a `viewer`, people's votes are shown only on
    those that they were shown already, and never if `with_people` is False.
    """
    if judge is None:
        judge = review_judge(project)
    if judge is None:
        return []
    rows = Comparison.objects.filter(ready(), comparable(), project=project, held_out=False)
    if comparison_ids is None:
        rows = rows.filter(pk__in=Verdict.objects.filter(judge=judge).values("comparison_id"))
    else:
        rows = rows.filter(pk__in=set(comparison_ids))
    ids = list(rows.order_by("id").values_list("id", flat=True))
    decisions = decisions_among(ids)
    if decided is not None:
        ids = [key for key in ids if (key in decisions) == decided]
    seen = set(ids) if viewer is None else seen_among(user=viewer, comparison_ids=ids)
    worth = uncertainty(ids, judge, seed, without_people=[key for key in ids if not with_people or key not in seen])
    prompts = _prompts(ids)
    items = []
    for key in ids:
        decision = decisions.get(key)
        said = ("", "") if decision is None else (decision.kind, decision.rater) if key in seen else ("decided", "")
        items.append(QueueItem(key, prompts[key], worth.get(key) or Worth(0.0, _("asked for"), "sample"), *said))
    return sorted(items, key=lambda item: (-item.worth.value, item.comparison_id))


def n_to_review(project: Project, *, judge: Judge | None = None, comparison_ids: Collection[int] | None = None) -> int:
    """How many comparisons `review_queue` has to review; for the project's own judge, the number in the rail."""
    if judge is None:
        judge = review_judge(project)
    if judge is None:
        return 0
    if comparison_ids is None:
        return n_waiting(judge)
    asked = list(set(comparison_ids))
    there = Comparison.objects.filter(ready(), comparable(), project=project, held_out=False)
    ids = [key for part in chunks(asked, CHUNK) for key in there.filter(pk__in=part).values_list("pk", flat=True)]
    return len(ids) - len(decisions_among(ids))


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
