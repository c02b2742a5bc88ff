"""A language model behind an endpoint compares two answers, or grades each by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext
from apps.judging.specs import spec_of
from apps.labels.models import Judge, JudgingRun, Score
from apps.labels.services import NewScore, scores_add
from apps.samples.models import Completion
from prefloop.judging.asking import Asked, Question
from prefloop.judging.by_scores import ScoredAnswer
from prefloop.judging.judge import scorer
from workers.asking import ask_and_write, failures, meter_of, opened
from workers.judges.stored import Item, ask_pairs


def compare(ctx: JobContext, judge: Judge, run: JudgingRun, items: Sequence[Item]) -> None:
    note = f"{judge.name} v{judge.version}, run {run.pk}"
    meter = meter_of(judge, purpose="judging", person_id=ctx.started_by_id, note=note)
    with failures(), opened(judge) as endpoint:
        ask_pairs(ctx, judge, run, items, endpoint, meter)


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int], *, run: JudgingRun | None = None) -> int:
    """Have a language model grade each completion as often as the judge's settings say; return how many it graded.

    Unreadable replies are stored as rows without a value. A retried run asks once more where nothing was readable.
    """
    spec = spec_of(judge, seed=run.seed if run is not None else 0)
    todo = _ungraded(judge, completion_ids, run, spec.samples)

    def write(asked: list[Asked[tuple[Completion, int], ScoredAnswer]]) -> None:
        new = []
        for one in asked:
            (completion, sample), (reply,) = one.item, one.replies
            new.append(NewScore.of(completion.pk, reply.said, sample, reply.seconds))
        scores_add(judge=judge, scores=new, run=run)

    with failures(), opened(judge) as endpoint:
        ask_and_write(
            ctx,
            scorer(spec, endpoint),
            [(item, [Question(item[0].prompt.text, (item[0].text,), sample=item[1])]) for item in todo],
            write=write,
            meter=meter_of(judge, purpose="judging", person_id=ctx.started_by_id),
            at_once=judge.at_once,
            words=f"scores of {judge.name}",
        )
    return len({completion.pk for completion, _ in todo})


def _ungraded(
    judge: Judge, completion_ids: Sequence[int], run: JudgingRun | None, samples: int
) -> list[tuple[Completion, int]]:
    there: dict[int, list[tuple[int, str, int | None]]] = defaultdict(list)
    rows: dict[int, Completion] = {}
    for part in chunks(completion_ids, 500):
        scores = Score.objects.filter(judge=judge, completion_id__in=part)
        for key, number, state, run_id in scores.values_list("completion_id", "sample", "state", "run_id"):
            there[key].append((number, state, run_id))
        rows |= {row.pk: row for row in Completion.objects.filter(pk__in=part).select_related("prompt")}
    todo: list[tuple[Completion, int]] = []
    for key in completion_ids:
        have = {sample for sample, _, _ in there[key]}
        first, n = 0, samples
        if run is not None and have and all(state in run.retry_states for _, state, _ in there[key]):
            n = samples - sum(by_run == run.pk for _, _, by_run in there[key])
            first = max(have) + 1
        todo += [(rows[key], sample) for sample in range(first, first + n) if sample not in have]
    return todo
