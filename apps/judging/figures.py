"""How far each judge can be trusted, for its card: agreement with truth, with itself, and its biases.

Truth is gold if a comparison has it, else the human majority. The unit of agreement is the comparison: a judge's
verdicts in both orders of one pair count as one (half right if the orders differ), so that counting a pair twice does
not make the interval too narrow. If a judge's orders are averaged, the average is its label and is compared with the
truth too: it can be right although one order was wrong. An aligned judge is measured only on prompts that it may not
have been shown (`apps.labels.measured`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from django.db.models import Count, Max, Sum
from django.db.models.functions import Length

from apps.core.kept_figures import cache
from apps.judging.prices import costs_per_1000
from apps.labels.measured import unmeasured
from apps.labels.models import Verdict
from apps.labels.selectors import counting_votes
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.samples.models import Comparison, comparable
from prefloop.judging.verdicts import ORDER_OF_CODE, OrderedVerdict, combine
from prefloop.stats.intervals import share_interval, wilson_interval
from prefloop.types import OUTCOME_CODES, OUTCOMES, LabelledVerdict

KEEP_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Share:
    """A share of `n` with its 95 % interval over the comparisons they are of; all None where n is 0."""

    n: int
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    n_comparisons: int = 0
    n_verdicts: int = 0

    @property
    def dial(self) -> dict[str, str] | None:
        """Positions on a line of 0 to 100, as SVG attributes, and the share in whole percent."""
        if self.rate is None or self.low is None or self.high is None:
            return None
        places = {"at": self.rate, "low": self.low, "high": self.high}
        return {name: f"{100 * at:.1f}" for name, at in places.items()} | {"percent": f"{100 * self.rate:.0f}"}


@dataclass(frozen=True, slots=True)
class Figures:
    n: int = 0  # verdicts that could be read
    n_unreadable: int = 0
    n_error: int = 0
    agreement: Share = Share(0)
    label: Share = Share(0)  # of a judge whose orders are averaged: how often what that comes to is the truth
    truth: str = ""  # gold | people | both
    consistency: Share = Share(0)
    first_slot: Share = Share(0)
    longer: Share = Share(0)
    ceiling: Share = Share(0)  # how often two people agree, over the comparisons that two or more judged blind
    cost_per_1000: float | None = None  # dollars a thousand comparisons, at today's prices; None where nothing is known
    rounds: tuple[tuple[str, Share], ...] = ()  # agreement with truth on the comparisons of each round of a loop


def judge_figures(project: Project) -> dict[int, Figures]:
    """Return the figures of each judge of a project that has verdicts; cached until there is a new label."""
    key = f"judge-figures:{project.pk}:{_version(project)}"
    found: dict[int, Figures] | None = cache.get(key)
    if found is None:
        found = _compute(project)
        cache.set(key, found, KEEP_SECONDS)
    return found


def _version(project: Project) -> str:
    """A hash of everything the figures depend on: verdicts, votes and gold are only ever added."""
    comparisons = Comparison.objects.filter(project=project)
    parts = [
        Verdict.objects.filter(judge__project=project).aggregate(last=Max("id"))["last"],
        comparisons.aggregate(last=Max("votes__id"))["last"],
        *comparisons.exclude(gold="").aggregate(last=Max("id"), n=Count("id")).values(),
        project.import_batches.filter(ready=True).count(),
        *project.exclusions.aggregate(last=Max("id"), lifted=Count("lifted_at")).values(),
        *project.endpoints.aggregate(a=Sum("input_price"), b=Sum("output_price")).values(),
    ]
    return "-".join(str(part) for part in parts)


def _compute(project: Project) -> dict[int, Figures]:
    by = dict(project.judges.values_list("id", "criterion_name"))
    known = {criterion: truths(project, criterion) for criterion in {"", *by.values()}}
    left_out = unmeasured(project)
    costs, lengths, rounds = costs_per_1000(project), _lengths(project), _rounds(project)
    averaging = set(project.judges.filter(order_policy="average").values_list("id", flat=True))
    rows: dict[int, list[tuple[int, str, int, str]]] = defaultdict(list)
    said: dict[int, dict[int, list[OrderedVerdict]]] = defaultdict(lambda: defaultdict(list))
    failed: dict[int, dict[str, int]] = defaultdict(dict)
    theirs = Verdict.objects.filter(ready("comparison__"), comparable("comparison__"), judge__project=project)
    verdicts = theirs.order_by()
    for judge_id, state, n in (
        verdicts.exclude(state="ok")
        .values_list("judge_id", "state")
        .annotate(n=Count("id"))
        .values_list("judge_id", "state", "n")
    ):
        failed[judge_id][state] = n
    names = ("judge_id", "comparison_id", "order", "sample", "outcome", "p_first")
    fields = verdicts.filter(state="ok").values_list(*names)
    for judge_id, comparison_id, order, sample, outcome, p_first in fields.iterator(chunk_size=5000):
        rows[judge_id].append((comparison_id, order, sample, outcome))
        if judge_id in averaging and order:
            verdict = LabelledVerdict(state="ok", outcome=outcome, p_first=p_first)
            said[judge_id][comparison_id].append(OrderedVerdict(ORDER_OF_CODE[order], verdict))

    def truth_for(judge_id: int) -> tuple[dict[int, str], dict[int, str]]:
        gold, people, _ceiling = known[by[judge_id]]
        return _without(gold, left_out.get(judge_id)), _without(people, left_out.get(judge_id))

    return {
        judge_id: replace(
            _figures(rows[judge_id], failed[judge_id], *truth_for(judge_id), lengths, rounds),
            label=_averaged(said[judge_id], *truth_for(judge_id)),
            ceiling=known[by[judge_id]][2],
            cost_per_1000=costs.get(judge_id),
        )
        for judge_id in rows.keys() | failed.keys()
    }


def _without(truth: dict[int, str], left_out: set[int] | None) -> dict[int, str]:
    return {key: said for key, said in truth.items() if key not in left_out} if left_out else truth


def _figures(
    rows: list[tuple[int, str, int, str]],
    failed: dict[str, int],
    gold: dict[int, str],
    people: dict[int, str],
    lengths: dict[int, tuple[int, int]],
    rounds: dict[int, str],
) -> Figures:
    right: dict[int, list[bool]] = defaultdict(list)
    both: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
    nth: dict[tuple[int, str], int] = defaultdict(int)
    for comparison_id, order, _sample, outcome in sorted(rows):
        # an order asked again after an error has its answer under a later sample: the first read ones belong together
        both[(comparison_id, nth[comparison_id, order])][order] = outcome
        nth[comparison_id, order] += 1
        truth = gold.get(comparison_id) or people.get(comparison_id)
        if truth:
            right[comparison_id].append(outcome == truth)
    same = [(key, pair["01"] == pair["10"]) for (key, _), pair in both.items() if pair.keys() >= {"01", "10"}]
    decisive = [(key, order, outcome) for key, order, _, outcome in rows if outcome in ("first", "second")]
    # a ranking shows its answers in no order
    slots = [(key, (outcome == "second") == (order == "10")) for key, order, outcome in decisive if order]
    longer = [
        (key, (outcome == "first") == (lengths[key][0] > lengths[key][1]))
        for key, _, outcome in decisive
        if lengths[key][0] != lengths[key][1]
    ]
    agrees = {key: sum(said) / len(said) for key, said in right.items()}
    in_round: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for comparison_id, share in agrees.items():
        if comparison_id in rounds:
            in_round[rounds[comparison_id]].append((comparison_id, share))
    by_gold = sum(1 for comparison_id in right if comparison_id in gold)
    return Figures(
        n=len(rows),
        n_unreadable=failed.get("unparseable", 0),
        n_error=failed.get("error", 0),
        agreement=_share(agrees.items(), n_verdicts=sum(map(len, right.values()))),
        truth="" if not right else "gold" if by_gold == len(right) else "both" if by_gold else "people",
        consistency=_share(same),
        first_slot=_share(slots, n_verdicts=len(slots)),
        longer=_share(longer, n_verdicts=len(longer)),
        rounds=tuple((name, _share(one)) for name, one in sorted(in_round.items(), key=_round_key)),
    )


def _averaged(said: dict[int, list[OrderedVerdict]], gold: dict[int, str], people: dict[int, str]) -> Share:
    labels = {key: combine(verdicts, "average") for key, verdicts in said.items() if key in gold or key in people}
    known = {key: label for key, label in labels.items() if label is not None}
    return _share((key, label.outcome == (gold.get(key) or people[key])) for key, label in known.items())


def _round_key(item: tuple[str, list[tuple[int, float]]]) -> tuple[int, ...]:
    return tuple(int(part) for part in item[0].split("."))


def _lengths(project: Project) -> dict[int, tuple[int, int]]:
    """Return the lengths of both answers of each comparison that a judge labelled, in characters."""
    rows = Comparison.objects.filter(ready(), project=project, verdicts__isnull=False).order_by().distinct()
    return {key: (a, b) for key, a, b in rows.values_list("id", Length("first__text"), Length("second__text"))}


def _rounds(project: Project) -> dict[int, str]:
    """Return the loop and round, "3.2", of each comparison that a loop made."""
    rows = Comparison.objects.filter(ready(), project=project, origin__regex=r"^loop:[0-9]+:[0-9]+$").order_by()
    return {key: origin.removeprefix("loop:").replace(":", ".") for key, origin in rows.values_list("id", "origin")}


def _share(hits: Iterable[tuple[int, float]], *, n_verdicts: int = 0) -> Share:
    """Average hits (1, 0, or a fraction), each with its comparison; those of one comparison belong together."""
    rows = list(hits)
    if not rows:
        return Share(0)
    _, place = np.unique([key for key, _ in rows], return_inverse=True)
    of_item = np.bincount(place.ravel())
    k = np.bincount(place.ravel(), [hit for _, hit in rows])
    rate = float(k.sum()) / len(rows)
    interval = share_interval(k, of_item) or wilson_interval(rate, 1)  # one comparison alone: as one try
    if interval is None:
        return Share(len(rows), rate)
    return Share(len(rows), rate, interval.low, interval.high, len(of_item), n_verdicts)


def truths(project: Project, criterion: str = "") -> tuple[dict[int, str], dict[int, str], Share]:
    """Give gold, people's strict majorities, and how often two people agree, by a criterion; there is no gold for a
    named one.
    """
    comparisons = Comparison.objects.filter(ready(), comparable(), project=project).order_by()
    gold = {} if criterion else dict(comparisons.exclude(gold="").values_list("id", "gold"))
    counts: dict[int, list[int]] = defaultdict(lambda: [0] * len(OUTCOMES))
    votes = counting_votes(criterion).filter(comparison__in=comparisons.values("pk"), choice__in=OUTCOMES).order_by()
    for comparison_id, choice, n in votes.values_list("comparison_id", "choice").annotate(n=Count("id")):
        counts[comparison_id][OUTCOME_CODES[choice]] = n
    people: dict[int, str] = {}
    alike: list[tuple[int, float]] = []
    for comparison_id, ballot in counts.items():
        n = sum(ballot)
        if n > 1:
            alike.append((comparison_id, sum(k * (k - 1) for k in ballot) / (n * (n - 1))))
        best = int(np.argmax(ballot))
        if ballot.count(ballot[best]) == 1:
            people[comparison_id] = OUTCOMES[best]
    return gold, people, _share(alike)
