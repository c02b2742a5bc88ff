"""How well a policy judges: its scores of held-out answers compared with the truth, pair by pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from apps.jobs.registry import JobContext
from apps.labels.models import Judge, Score
from apps.labels.selectors import orders_for, scores_of
from apps.prompts.selectors import given_prompts
from apps.samples.models import Comparison, comparable
from apps.training.models import Round
from apps.training.rounds.self_rewarding import own_judge
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed
from prefloop.stats.intervals import share_interval
from workers.judges import score
from workers.judges.stored import write_by_scores
from workers.own_scores import Judgement, answering_as, judgements
from workers.worlds import judged_pairs_of

Mean = float | None  # of a judge's readable scores of one answer; None: it gave none


@dataclass(frozen=True, slots=True)
class Judged:
    """Pairs with a known winner: (mean score of the better one, of the worse one); and how many judgements were
    readable.
    """

    pairs: tuple[tuple[Mean, Mean], ...]
    n_judgements: int
    n_unparseable: int


def as_judge(ctx: JobContext, round_: Round, recipe: Recipe) -> dict[str, Any]:
    """Measure the round's policy as a judge, on the project's gold pairs and, in a world, on its EFT eval split.

    `judge_accuracy` is the share of pairs that its mean scores rank correctly, a tie counting half. Pairs with an
    answer without a readable score are left out. Its verdicts on gold pairs are stored like any judge's.
    """
    if round_.output is None:
        return {}
    judge = own_judge(round_.loop, recipe, round_.output)
    parts = {"gold": _on_gold(ctx, judge), "eft": _on_eft(ctx, judge, seed=derive_seed(round_.loop.seed, "eft-eval"))}
    pairs = [pair for part in parts.values() for pair in part.pairs]
    known = _known(pairs)
    interval = share_interval(ranked_rightly(known), [1] * len(known))
    n_judgements = sum(part.n_judgements for part in parts.values())
    return {
        "judge_accuracy": _accuracy(pairs),
        "judge_accuracy_ci95": [interval.low, interval.high] if interval else None,
        "judge_accuracy_by": {name: _accuracy(part.pairs) for name, part in parts.items() if part.pairs},
        "judge_ties": sum(one == other for one, other in known) / len(known) if known else None,
        "judge_unparseable": sum(p.n_unparseable for p in parts.values()) / n_judgements if n_judgements else None,
        "n_judged_pairs": len(known),
    }


def _on_gold(ctx: JobContext, judge: Judge) -> Judged:
    gold = Comparison.objects.filter(project=judge.project, held_out=True, gold__in=("first", "second"))
    rows = list(gold.filter(comparable()).select_related("prompt", "first", "second").order_by("id"))
    ids = sorted({pk for row in rows for pk in (row.first_id, row.second_id)})
    score(ctx, judge, ids)
    write_by_scores(ctx, judge, None, [(row, orders_for(judge, row.pk)[0], 0) for row in rows])
    means = scores_of(judge, ids)
    ends = [(row.first_id, row.second_id) if row.gold == "first" else (row.second_id, row.first_id) for row in rows]
    states = list(Score.objects.filter(judge=judge, completion__in=ids).values_list("state", flat=True))
    return Judged(
        tuple((means.get(better), means.get(worse)) for better, worse in ends),
        len(states),
        sum(state != "ok" for state in states),
    )


def _on_eft(ctx: JobContext, judge: Judge, *, seed: int) -> Judged:
    """Judge new pairs of answers to held-out prompts, written by the world, one pair per prompt; none without a
    world.
    """
    prompts = list(given_prompts(judge.project, split="eval").values_list("text", flat=True))
    found = [judged for judged in judged_pairs_of(judge.project.world, prompts, seed=seed) if judged[2] != "tie"]
    if not found or judge.checkpoint is None:
        return Judged((), 0, 0)
    asked = {row.id: row.prompt for first, second, _ in found for row in (first, second)}
    with answering_as(judge, n_asked=len(asked), check=ctx.check) as answering:
        said = dict(judgements(answering, asked, judge.options))
    ends = [(first.id, second.id) if outcome == "first" else (second.id, first.id) for first, second, outcome in found]
    read = [one for many in said.values() for one in many]
    return Judged(
        tuple((_mean(said[better]), _mean(said[worse])) for better, worse in ends),
        len(read),
        sum(one.value is None for one in read),
    )


def _mean(said: Sequence[Judgement]) -> Mean:
    values = [one.value for one in said if one.value is not None]
    return sum(values) / len(values) if values else None


def _known(pairs: Iterable[tuple[Mean, Mean]]) -> list[tuple[float, float]]:
    return [(one, other) for one, other in pairs if one is not None and other is not None]


def ranked_rightly(scores: Iterable[tuple[float, float]]) -> list[float]:
    """Say for each (score of the better answer, of the worse) whether it is right: 1, ½ if both are equal, or 0."""
    return [1.0 if better > worse else 0.5 if better == worse else 0.0 for better, worse in scores]


def _accuracy(pairs: Iterable[tuple[Mean, Mean]]) -> float | None:
    known = _known(pairs)
    return sum(ranked_rightly(known)) / len(known) if known else None
