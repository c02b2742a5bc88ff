"""Best-of-N of a sampling run: the expected gain from choosing the best of n scored answers, and its KL.

One pool of answers to each prompt gives an unbiased value for every n up to its size (prefloop.stats.best_of_n);
intervals are over prompts, since answers to one prompt are correlated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db.models import Exists, OuterRef

from apps.core.row_charts import Dot
from apps.labels.models import Judge, Score
from apps.labels.selectors import scores_of
from apps.policies.models import Checkpoint
from apps.samples.models import Completion, SamplingRun
from prefloop.stats.best_of_n import expected_best_of_n, kl_bound
from prefloop.stats.intervals import mean_interval

MOST_PROMPTS = 500
MOST_RUNS = 50
BINS = 12


@dataclass(frozen=True, slots=True)
class Pool:
    """The answers to one prompt with their scores, best first."""

    answers: tuple[tuple[Completion, float], ...]

    @property
    def scores(self) -> list[float]:
        return [score for _, score in self.answers]


@dataclass(frozen=True, slots=True)
class Step:
    """`mean`: expected score of the best of n, [low, high] its 95% interval. `kl`: at most, in nats."""

    n: int
    mean: float
    low: float | None
    high: float | None
    gain: float  # over one answer
    kl: float


def scored_runs(checkpoint: Checkpoint) -> list[SamplingRun]:
    """The checkpoint's runs of two or more answers per prompt with scores, the newest first."""
    scored = Score.objects.filter(completion__run=OuterRef("pk"), state="ok", value__isnull=False)
    runs = SamplingRun.objects.filter(Exists(scored), checkpoint=checkpoint, n__gte=2)
    return list(runs.select_related("prompt_set").order_by("-id")[:MOST_RUNS])


def judges_of(run: SamplingRun) -> list[Judge]:
    """The judges that scored the run's answers, the newest judge first."""
    scores = Score.objects.filter(completion__run=run, judge=OuterRef("pk"), state="ok", value__isnull=False)
    return list(Judge.objects.filter(Exists(scores), project_id=run.project_id).order_by("-id"))


def pools_of(run: SamplingRun, judge: Judge) -> list[Pool]:
    """The run's answers by prompt (the first MOST_PROMPTS); a prompt with an answer that has no score is left out."""
    prompts = list(
        Completion.objects.filter(run=run).order_by("prompt_id").values_list("prompt_id", flat=True).distinct()
    )[:MOST_PROMPTS]
    rows = list(
        Completion.objects.filter(run=run, prompt__in=prompts)
        .select_related("prompt")
        .defer("token_ids")
        .order_by("prompt_id", "index")
    )
    scores = scores_of(judge, [row.pk for row in rows])
    by_prompt: dict[int, list[Completion]] = defaultdict(list)
    for row in rows:
        by_prompt[row.prompt_id].append(row)
    return [
        Pool(tuple(sorted(((row, scores[row.pk]) for row in group), key=lambda pair: -pair[1])))
        for group in by_prompt.values()
        if len(group) == run.n and all(row.pk in scores for row in group)
    ]


def curve(pools: Sequence[Pool]) -> list[Step]:
    """Expected best of 1, 2, 4, … and of the whole pool, the mean over prompts; [] without a pool."""
    if not pools:
        return []
    size = min(len(pool.answers) for pool in pools)
    sizes = [2**k for k in range(size.bit_length()) if 2**k <= size]
    steps: list[Step] = []
    for n in [*sizes, *([size] if size not in sizes else [])]:
        values = np.array([expected_best_of_n(pool.scores, pool.scores, n) for pool in pools])
        mean = float(values.mean())
        interval = None
        if len(pools) > 1:
            interval = mean_interval(values)
        low, high = (interval.low, interval.high) if interval else (None, None)
        steps.append(Step(n, mean, low, high, mean - (steps[0].mean if steps else mean), kl_bound(n)))
    return steps


def is_centred(judge: Judge) -> bool:
    """Whether its scores are comparable only within a prompt."""
    return not judge.scale_is_shared


def histogram(pools: Sequence[Pool], *, centred: bool) -> list[Dot]:
    """Count the scores in bins of one width; centred: each score's distance from its prompt's mean."""
    scores = np.concatenate([np.asarray(pool.scores) - (np.mean(pool.scores) if centred else 0.0) for pool in pools])
    counts, edges = np.histogram(scores, bins=min(BINS, max(1, len(np.unique(scores)))))
    return [
        Dot(f"{_signed(low)} to {_signed(high)}", float(count))
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\u2212")
