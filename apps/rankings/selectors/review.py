"""What is worth a person's second look: judge-labelled comparisons, the most informative first, and why."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core.chunks import chunks
from apps.judging.models import Judge, JudgeKind, Verdict
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.rankings.models import Override, Vote
from apps.rankings.preferences import (
    CHUNK,
    Events,
    JudgeLabel,
    VoteEvent,
    derive,
    events_of,
    judge_label,
    label_judge,
    label_without_overrides,
    majority,
    standing_override,
    standing_votes,
)
from apps.samples.models import Comparison
from prefloop.judging.render import SUSPICIONS
from prefloop.seeds import derive_seed
from prefloop.types import OrderPolicy

NARROW = 0.25  # |p − ½| under which a label is a close call
LETTER = {"first": "A", "second": "B", "tie": "Tie", "both_bad": "Both bad"}
_QUOTED = re.compile(r"[“\"«]([^“”\"«»\n]{3,200})[”\"»]|(?<!\w)['‘]([^'‘’\n]{3,200})['’](?!\w)")


@dataclass(frozen=True, slots=True)
class Worth:
    """How much a person's look would tell (higher first), and why, in words."""

    value: float
    reason: str
    code: str  # orders | unreadable | flagged | people | judges | margin | sample


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One line of the review queue. Says nothing of which way a label points."""

    comparison_id: int
    prompt: str
    worth: Worth
    decision: str  # "" | agree | override
    decided_by: str = ""


def uncertainty(comparison_ids: Sequence[int], judge: Judge, seed: int = 0) -> dict[int, Worth]:
    """Say how worth a person's time the judge's label of each comparison is: for queues and for a loop's review gate.

    In order: the judge's two orders disagree; its reply could not be read; an answer was flagged as speaking to the
    judge; people said otherwise; other judges say otherwise; a small margin |p − ½|; then the rest in an order drawn by
    `seed`, which makes the head of it a random share. Comparisons without a verdict of the judge are left out.
    """
    verdicts = _verdicts_by_judge(comparison_ids, judge)
    votes = _votes(comparison_ids)
    worth: dict[int, Worth] = {}
    for key, labels in _labels(verdicts).items():
        by_judge = verdicts[key]
        if judge.pk not in by_judge:
            continue
        others = {other: label for other, label in labels.items() if other.pk != judge.pk}
        people = majority(standing_votes(votes[key]).values())
        share = derive_seed(seed, "review", key) / 2**63
        worth[key] = _worth(by_judge[judge.pk], labels.get(judge), others, people, share)
    return worth


def labels_by_judge(comparison_ids: Sequence[int], judge: Judge) -> dict[int, dict[Judge, JudgeLabel]]:
    """Return what this judge and the others say of each comparison, older versions of the same name aside."""
    return _labels(_verdicts_by_judge(comparison_ids, judge))


def _labels(verdicts: dict[int, dict[int, list[Verdict]]]) -> dict[int, dict[Judge, JudgeLabel]]:
    judges = Judge.objects.in_bulk({judge_id for rows in verdicts.values() for judge_id in rows})
    return {
        key: {judges[pk]: made for pk, rows in by_judge.items() if (made := _label(judges[pk], rows)) is not None}
        for key, by_judge in verdicts.items()
    }


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
        return Worth(3.5 + share / 100, _("an answer speaks to the judge"), "flagged")
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
        if against[0].kind == JudgeKind.REWARD_MODEL:
            return _("reward model disagrees")
        return _("%(judge)s disagrees") % {"judge": against[0].name}
    return _("judges split %(with)d:%(against)d") % {"with": n_with, "against": len(against)}


def _orders_disagree(verdicts: Sequence[Verdict]) -> bool:
    """Whatever the policy makes of it: one order was decided for one answer, the other for the other."""
    sides = {verdict.order: verdict.outcome for verdict in verdicts if verdict.outcome in {"first", "second"}}
    return len(set(sides.values())) > 1


def _label(judge: Judge, verdicts: Sequence[Verdict]) -> JudgeLabel | None:
    return judge_label(judge=judge.name, policy=cast(OrderPolicy, judge.order_policy), verdicts=verdicts)


def _verdicts_by_judge(comparison_ids: Sequence[int], judge: Judge) -> dict[int, dict[int, list[Verdict]]]:
    """Verdicts of this judge and of the other judges, older versions of the same name aside."""
    found: dict[int, dict[int, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    latest: dict[str, int] = {}
    for row in Judge.objects.filter(project_id=judge.project_id).order_by("version"):
        latest[row.name] = row.pk
    latest[judge.name] = judge.pk
    fields = ("id", "judge_id", "comparison_id", "order", "state", "outcome", "p_first", "flags")
    for ids in chunks(comparison_ids, CHUNK):
        rows = Verdict.objects.filter(comparison_id__in=ids, judge_id__in=latest.values()).only(*fields)
        for verdict in rows:
            found[verdict.comparison_id][verdict.judge_id].append(verdict)
    return found


def _votes(comparison_ids: Sequence[int]) -> dict[int, list[VoteEvent]]:
    votes: dict[int, list[VoteEvent]] = defaultdict(list)
    for ids in chunks(comparison_ids, CHUNK):
        for vote in Vote.objects.filter(comparison_id__in=ids):
            votes[vote.comparison_id].append(
                VoteEvent(vote.pk, vote.rater, vote.choice, vote.at or vote.created_at, vote.supersedes_id)
            )
    return votes


def review_judge(project: Project, name: str = "") -> Judge | None:
    """The judge under review: the one named, else the project's label judge, else the one that said most."""
    judges = Judge.objects.filter(project=project).order_by("-version")
    if name:
        return judges.filter(name=name).first()
    chosen = label_judge(project)
    if chosen is not None:
        return chosen
    counts = Counter(Verdict.objects.filter(judge__project=project).values_list("judge_id", flat=True))
    return judges.filter(pk=counts.most_common(1)[0][0]).first() if counts else None


def judge_on(comparison_ids: Sequence[int]) -> Judge | None:
    """The judge that said most about these comparisons."""
    counts: Counter[int] = Counter()
    for ids in chunks(comparison_ids, CHUNK):
        counts.update(Verdict.objects.filter(comparison_id__in=ids).values_list("judge_id", flat=True))
    return Judge.objects.get(pk=counts.most_common(1)[0][0]) if counts else None


def review_queue(
    project: Project,
    *,
    judge: Judge | None = None,
    comparison_ids: Collection[int] | None = None,
    decided: bool | None = False,
    seed: int = 0,
) -> list[QueueItem]:
    """Judge-labelled comparisons, the most informative first; held-out ones aside, whose labels are never trained on.

    `comparison_ids` asks for just those, judged or not (a round's, for instance). `decided`: False leaves out what
    somebody has decided, True keeps only that, None gives both.
    """
    if judge is None:
        judge = review_judge(project)
    if judge is None:
        return []
    rows = Comparison.objects.filter(ready(), project=project, held_out=False)
    if comparison_ids is None:
        rows = rows.filter(pk__in=Verdict.objects.filter(judge=judge).values("comparison_id"))
    else:
        rows = rows.filter(pk__in=set(comparison_ids))
    ids = list(rows.order_by("id").values_list("id", flat=True))
    decisions = {key: standing_override(events.overrides) for key, events in _decision_events(ids).items()}
    if decided is not None:
        ids = [key for key in ids if (decisions[key] is not None) == decided]
    worth = uncertainty(ids, judge, seed)
    prompts = _prompts(ids)
    items = []
    for key in ids:
        decision = decisions[key]
        said = ("", "") if decision is None else (decision.kind, decision.rater)
        items.append(QueueItem(key, prompts[key], worth.get(key) or Worth(0.0, _("asked for"), "sample"), *said))
    return sorted(items, key=lambda item: (-item.worth.value, item.comparison_id))


def n_to_review(project: Project) -> int:
    """The number beside “Review” in the rail: judge-labelled, undecided, and worth a look."""
    judge = review_judge(project)
    if judge is None:
        return 0
    said = Exists(Verdict.objects.filter(judge=judge, comparison=OuterRef("pk")))
    judged = Comparison.objects.filter(said, ready(), project=project, held_out=False)
    decisions = Override.objects.filter(superseded_by__isnull=True, kind__in=("agree", "override"))
    decided = set(decisions.filter(comparison__project=project).values_list("comparison_id", flat=True))
    n_decided = sum(judged.filter(pk__in=ids).count() for ids in chunks(sorted(decided), CHUNK))
    return judged.count() - n_decided


def _decision_events(ids: Sequence[int]) -> dict[int, Events]:
    return events_of(comparison_ids=ids, judge=None, with_votes=False)


def _prompts(ids: Sequence[int]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for part in chunks(ids, CHUNK):
        texts.update(Comparison.objects.filter(id__in=part).values_list("id", "prompt__text"))
    return texts


@dataclass(frozen=True, slots=True)
class OverrideEffect:
    """What people's corrections did to the training labels."""

    n_reviewed: int
    n_overridden: int
    n_changed: int  # labels that differ from what they would be without overrides
    n_flipped: int  # of them: from one answer to the other
    n_added: int  # of them: no pair before (inconsistent, both bad, nothing), a pair now
    n_removed: int  # of them: a pair before, none now

    @property
    def in_words(self) -> str:
        """One line: what changed."""
        parts = [
            ngettext("%d flipped", "%d flipped", self.n_flipped) % self.n_flipped if self.n_flipped else "",
            ngettext("%d added", "%d added", self.n_added) % self.n_added if self.n_added else "",
            ngettext("%d taken out", "%d taken out", self.n_removed) % self.n_removed if self.n_removed else "",
        ]
        return ", ".join(part for part in parts if part)


def override_effect(
    project: Project, *, comparison_ids: Collection[int] | None = None, judge: Judge | None = None
) -> OverrideEffect:
    """Compare the labels with and without people's corrections, for a project or for some of its comparisons."""
    rows = Comparison.objects.filter(ready(), project=project, overrides__isnull=False).distinct()
    ids = list(rows.values_list("id", flat=True))
    if comparison_ids is not None:
        ids = sorted(set(ids) & set(comparison_ids))
    events = events_of(comparison_ids=ids, judge=judge or label_judge(project) or review_judge(project))
    decided = {key: standing_override(said.overrides) for key, said in events.items()}
    counts: Counter[str] = Counter()
    for key, said in events.items():
        decision = decided[key]
        if decision is None:
            continue
        counts["reviewed"] += 1
        if decision.kind != "override":
            continue
        counts["overridden"] += 1
        with_it = derive(votes=said.votes, overrides=said.overrides, judge=said.judge)
        without = label_without_overrides(votes=said.votes, overrides=said.overrides, judge=said.judge)
        before = None if without is None else without.p_first
        after = None if with_it is None else with_it.p_first
        if without is not None and with_it is not None and without.outcome == with_it.outcome:
            continue
        counts["changed"] += 1
        if before is not None and after is not None:
            counts["flipped"] += (before - 0.5) * (after - 0.5) < 0
        counts["added"] += before is None and after is not None
        counts["removed"] += before is not None and after is None
    return OverrideEffect(
        counts["reviewed"],
        counts["overridden"],
        counts["changed"],
        counts["flipped"],
        counts["added"],
        counts["removed"],
    )


def quoted_spans(rationale: str, *texts: str) -> list[str]:
    """Give the passages that a rationale quotes and that one of the answers really contains, each once."""
    found: dict[str, None] = {}
    for match in _QUOTED.finditer(rationale):
        quote = (match[1] or match[2]).strip().rstrip(".,;:")
        if len(quote) >= 3 and any(quote.casefold() in text.casefold() for text in texts):
            found.setdefault(quote)
    return list(found)
