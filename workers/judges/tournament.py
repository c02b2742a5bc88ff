"""Scores by a judge that can only compare: a tournament among the answers to each prompt, whose strengths are stored.

Its verdicts on pairs are ordinary verdicts, so that a resumed job asks nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from django.db import transaction

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext
from apps.judging.services import run_freeze
from apps.labels.models import Judge, JudgingRun
from apps.labels.selectors import judge_labels
from apps.labels.services import NewScore, scores_add
from apps.samples.models import Comparison, Completion
from apps.samples.services import GAMES_ORIGIN, comparisons_create
from prefloop.judging.tournament import game_of, meetings, strengths
from prefloop.judging.verdicts import EffectiveLabel
from prefloop.seeds import derive_seed
from workers import judges
from workers.judges.stored import unasked, unscored

PROMPTS_AT_ONCE = 16


def score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int]) -> int:
    """Score the answers of each prompt by a tournament; a prompt whose answers all have a score is skipped."""
    missing = set(unscored(judge, completion_ids))
    rows: list[Completion] = []
    for part in chunks(completion_ids, 500):
        rows += Completion.objects.filter(pk__in=part).select_related("prompt")
    rows.sort(key=lambda row: (row.prompt_id, row.index, row.pk))
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row.prompt_id)]
    groups = [group for group in groups if any(row.pk in missing for row in group)]
    done = 0
    for some in chunks(groups, PROMPTS_AT_ONCE):
        ctx.check()
        made = [_games(judge, group) for group in some]
        ids = sorted(comparison.pk for one in made for comparison in one)
        run = _run(judge, ids, some[0][0])
        judges.compare(ctx, judge, run, unasked(judge, run, ids))
        labels = judge_labels(comparison_ids=ids, judge=judge)
        scores: list[NewScore] = []
        for group, comparisons in zip(some, made, strict=True):
            texts = _distinct(group)
            played = []
            for comparison in comparisons:
                label = labels.get(comparison.pk)
                if label is None:
                    continue
                said = EffectiveLabel(label.state, label.outcome, label.p_first)
                first, second = (texts[row.text][0] for row in (comparison.first, comparison.second))
                played += [game] if (game := game_of(first, second, said)) is not None else []
            found = strengths(len(texts), played)
            for place, same in texts.values():
                value = 0.0 if len(texts) == 1 else found[place]
                state = "unparseable" if value is None else "ok"
                scores += [NewScore(row.pk, value, state) for row in same if row.pk in missing]
        with ctx.fenced():
            scores_add(judge=judge, scores=scores, run=run)
        done += len(scores)
        ctx.progress(done, len(missing), f"tournaments of {judge.name}")
    return done


def _distinct(group: Sequence[Completion]) -> dict[str, tuple[int, list[Completion]]]:
    """The different texts, each with its index and the answers that have it, since equal answers don't play each
    other.
    """
    texts: dict[str, tuple[int, list[Completion]]] = {}
    for row in group:
        texts.setdefault(row.text, (len(texts), []))[1].append(row)
    return texts


def _games(judge: Judge, group: Sequence[Completion]) -> list[Comparison]:
    answers = [same[0] for _, same in _distinct(group).values()]
    seed = derive_seed(0, "tournament", group[0].prompt.external_id)
    pairs = [(answers[i], answers[j]) for i, j in meetings(len(answers), seed=seed)]
    made = comparisons_create(project=judge.project, pairs=pairs, origin=f"{GAMES_ORIGIN}{group[0].run_id or 0}")
    rows = {row.pk: row for row in group}
    for comparison in made:  # the very rows: their texts say which answer is meant
        comparison.first, comparison.second = rows[comparison.first_id], rows[comparison.second_id]
    return made


def _run(judge: Judge, ids: Sequence[int], first: Completion) -> JudgingRun:
    """The run that these games belong to: the same one when the job is resumed."""
    with transaction.atomic():
        run, is_new = JudgingRun.objects.get_or_create(
            project=judge.project,
            judge=judge,
            purpose=f"tournament:{first.run_id or 0}:{first.prompt_id}",
            defaults={"n_comparisons": len(ids)},
        )
        if is_new:
            run_freeze(run, ids)
    return run
