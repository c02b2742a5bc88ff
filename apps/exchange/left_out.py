"""What an export leaves out, and why: every comparison that is not in the file is counted under one reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_noop as _
from django.utils.translation import ngettext

from apps.core.chunks import chunks
from apps.labels.flags import flags_of
from apps.labels.gold_models import prompt_measures
from apps.labels.models import Score, Verdict
from apps.labels.ratings import ratings_given, ratings_to_learn
from apps.labels.selectors import counting_votes, label_judge, labels_of, preferences, unlabelled
from apps.projects.models import Project
from apps.prompts.models import Prompt, ready
from apps.samples.models import Comparison, comparable
from prefloop.types import OUTCOMES

# In the order in which they are told. What is counted is comparisons but for flags and the last two; of ratings these.
REASONS: Mapping[str, str] = {
    "held_out": _("held out: gold items and evaluation prompts are never trained on"),
    "same_answers": _("both answers are the same text, so neither is better"),
    "tie": _("a tie: neither answer is better"),
    "both_bad": _("both answers are bad: none is chosen"),
    "inconsistent": _("the judge's two orders disagree"),
    "split": _("people's votes are split, and there is no judge's label"),
    "no_label_judge": _("there are verdicts but no label judge: choose the judge whose verdicts are labels"),
    "judge_silent": _("the label judge has no clear verdict"),
    "only_scores": _("the answers have scores but no comparison: scores alone are not a preference"),
    "flags": _("flags of single answers: the unpaired format holds them, with the current labels"),
    "no_vote": _("no person has voted on them"),
    "no_label": _("nobody has compared them yet"),
    "repeated": _("the same line is in the file already"),
    "prompt_held_out": _("held-out prompts: evaluation prompts and those with gold items are never trained on"),
}
FLAGS_IN = ("kto", "effective", "")  # the format, the labels and the criterion of an export that holds flags
# what a format can't say, where that is not ties and both bad; in kto both bad answers are two lines of their own
_NO_CHOICE = {"kto": ("tie",), "arena": (), "mt-bench": ("both_bad",), "alpaca-eval": ("both_bad",)}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many comparisons, flags or prompts are left out by reason, and how many are in the file."""

    counts: Mapping[str, int]
    n_kept: int

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def reasons(self) -> list[tuple[int, str]]:
        """The counts and reasons in words."""
        return [(self.counts[code], why) for code, why in REASONS.items() if self.counts.get(code)]

    @property
    def line(self) -> str:
        """All of it in one line; empty if nothing is left out."""
        if not self.total:
            return ""
        total = ngettext("%(n)s is left out", "%(n)s are left out", self.total) % {"n": f"{self.total:,}"}
        return f"{total}: " + "; ".join(f"{n:,} ({why})" for n, why in self.reasons)


def left_out(*, project: Project, format: str, labels: str = "effective", criterion: str = "") -> LeftOut:
    """Count what an export in this format leaves out; repeated lines are only known when it is written
    (`with_repeats`).
    """
    if format == "records":
        return LeftOut({}, Prompt.objects.filter(ready(), project=project).count())
    if format == "prompt-only":
        prompts = Prompt.objects.filter(ready(), project=project)
        n_kept = prompts.filter(~prompt_measures("pk"), split="train").count()
        return LeftOut({"prompt_held_out": prompts.count() - n_kept}, n_kept)
    if format in ("ratings", "eft"):
        given = ratings_given(project).count()
        n_kept = given if format == "ratings" else ratings_to_learn(project).count()
        return LeftOut({"prompt_held_out": given - n_kept} if given > n_kept else {}, n_kept)
    rows = Comparison.objects.filter(ready(), project=project)
    measuring = Q(held_out=True) | Q(prompt__split="eval")
    may_train = rows.exclude(measuring)
    wanted = may_train.filter(comparable())
    counts: Counter[str] = Counter(
        held_out=rows.filter(measuring).count(), same_answers=may_train.count() - wanted.count()
    )
    said = _human(wanted, criterion) if labels == "human" else _effective(project, wanted, criterion)
    n_kept, n_flags = 0, flags_of(project).count()
    if (format, labels, criterion) == FLAGS_IN:
        n_kept = n_flags
    else:
        counts["flags"] = n_flags
    for outcome, n in said.items():
        if outcome in ("first", "second") or (outcome in OUTCOMES and outcome not in _not_chosen(format)):
            n_kept += n
        else:
            counts[outcome] += n
    return LeftOut({code: n for code, n in counts.items() if n}, n_kept)


def with_repeats(found: LeftOut, *, format: str, n_lines: int) -> LeftOut:
    """Add the lines that an export of `n_lines` did not repeat."""
    n = found.n_kept - n_lines if format in ("sft", "prompt-only") else 0
    return LeftOut({**found.counts, "repeated": n}, n_lines) if n > 0 else found


def _not_chosen(format: str) -> tuple[str, ...]:
    return _NO_CHOICE.get(format, ("tie", "both_bad"))


def _effective(project: Project, wanted: QuerySet[Comparison], criterion: str) -> dict[str, int]:
    """Count comparisons by their label, those without one by what is missing."""
    labelled = preferences(criterion).filter(comparison__in=wanted.values("pk")).order_by()
    said = dict(labelled.values_list("outcome").annotate(n=Count("id")))
    without = wanted.filter(unlabelled(criterion))
    if not without.exists():
        return said
    here = OuterRef("pk")
    voted = counting_votes(criterion).filter(comparison=here, choice__in=OUTCOMES)
    judged = Verdict.objects.filter(comparison=here, judge__criterion_name=criterion)
    either = Q(completion=OuterRef("first_id")) | Q(completion=OuterRef("second_id"))
    scored = Score.objects.filter(either, judge__criterion_name=criterion)
    judge = label_judge(project, criterion)
    for code, spoke in (
        ("split", voted),
        ("judge_silent" if judge is not None else "no_label_judge", judged),
        ("only_scores", scored),
    ):
        said[code] = without.filter(Exists(spoke)).count()
        without = without.filter(~Exists(spoke))
    return said | {"no_label": without.count()}


def _human(wanted: QuerySet[Comparison], criterion: str) -> dict[str, int]:
    """Count comparisons by people's blind votes."""
    said: Counter[str] = Counter()
    ids = list(wanted.order_by("id").values_list("id", flat=True))
    for some in chunks(ids, 1_000):
        found = labels_of(comparison_ids=some, judge=None, with_overrides=False, criterion=criterion)
        said.update(label.outcome for label in found.values())
        voted = counting_votes(criterion).filter(comparison__in=set(some) - found.keys())
        n_split = voted.filter(choice__in=OUTCOMES).order_by().values("comparison").distinct().count()
        said.update(split=n_split, no_vote=len(some) - len(found) - n_split)
    return dict(said)
