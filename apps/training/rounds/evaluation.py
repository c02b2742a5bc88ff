"""A round's evaluation, without torch: which answers are compared, by whom, and the resulting win rates.

`Round.evaluation` holds what was asked, in plain values:
    by, judge, independent     who measures (rounds/evaluators.py): a name, the judge's id, a flag
    answers                   the sampling run of the policy that is measured
    initial, previous         ids of the comparisons with that policy's answers; None: it is the same policy; a round
                              without one before it has no `previous`
    truth                     what the world's truth said of each comparison, 1 where its first answer is better
    people                    ids of those that people are given, blind
    criteria                  the weight of each criterion by which their votes are read; left out: the unnamed one
    judging_run               the run that asks the judge about them
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db import transaction

from apps.accounts.models import User
from apps.core.chunks import chunks
from apps.jobs.models import JobGroup
from apps.jobs.services import JobSpec, group_create
from apps.judging.services import judging_run_create, judging_run_enqueue
from apps.labels.models import Judge, JudgingRun, Verdict
from apps.labels.selectors import counting_votes
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.prompts.selectors import chosen_prompts
from apps.rankings.services import seats_settle
from apps.samples.models import Comparison, Completion, Engine, SamplingRun
from apps.samples.services import EVALUATION, comparisons_create, room_for_answers
from apps.training.models import Loop, Round
from apps.training.rounds.evaluators import Evaluator
from prefloop.preference import SCORE_OF_OUTCOME
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed, sampler_seed
from prefloop.stats.head_to_head import (
    Game,
    HeadToHead,
    WithPeople,
    against_itself,
    games_for_people,
    head_to_head,
    with_people,
)
from prefloop.stats.ppi import Rate
from prefloop.types import OUTCOMES

SIDES = ("initial", "previous")


# --- what is asked ----------------------------------------------------------------------------------------------------


def evaluation_prompts(loop: Loop, recipe: Recipe) -> list[Prompt]:
    """Return the held-out prompts on which the loop's policies are measured, the same ones in every round."""
    rows = list(chosen_prompts(loop.project, recipe.prompts, split="eval"))
    n = recipe.evaluation.prompts
    if not n or n >= len(rows):
        return rows
    chosen = random.Random(derive_seed(loop.seed, "evaluation", "prompts")).sample(range(len(rows)), n)
    return [rows[at] for at in sorted(chosen)]


def answers_run(
    checkpoint: Checkpoint,
    prompt_ids: list[int],
    *,
    seed: int,
    n: int,
    max_tokens: int,
    engine: str = Engine.TRANSFORMERS,
    started_by: User | None = None,
) -> SamplingRun:
    """Return the run of this checkpoint's answers to these prompts, always the same one. Raises QuotaReached."""
    chosen = {
        "project_id": checkpoint.project_id,
        "checkpoint": checkpoint,
        "purpose": "evaluation",
        "seed": sampler_seed(seed, "evaluation"),
        "n": n,
        "max_tokens": max_tokens,
    }
    for run in SamplingRun.objects.filter(**chosen).order_by("id"):
        if run.prompt_ids == prompt_ids:
            return run
    with transaction.atomic():
        room_for_answers(checkpoint.project, started_by, n=n * len(prompt_ids))
        return SamplingRun.objects.create(**chosen, prompt_ids=prompt_ids, engine=engine, started_by=started_by)


def evaluation_plan(
    *,
    loop: Loop,
    index: int,
    recipe: Recipe,
    evaluator: Evaluator,
    ours: SamplingRun,
    others: Mapping[str, SamplingRun | None],
    pairs: Sequence[tuple[int, int]],
    truth: Callable[[str, str], float] | None,
) -> dict[str, Any]:
    """Make the comparisons for judge and people, and describe them: `Round.evaluation`.

    `others`: the answers of `initial` and of `previous` (None: there is no round before). `pairs`: the numbers of our
    answer and of theirs in each comparison of a prompt. `truth` gives the value of an answer to a prompt.
    """
    told: dict[str, Any] = {
        "by": evaluator.name,
        "judge": evaluator.judge.pk if evaluator.judge else None,
        "independent": evaluator.independent,
        "answers": ours.pk,
    }
    if evaluator.judge is None and not recipe.evaluation.people:
        return told
    made: dict[int, Comparison] = {}
    origin = f"{EVALUATION}:{loop.pk}:{index}"
    for side in SIDES:
        theirs = others[side]
        if theirs is None:
            continue
        rows = compared(ours, theirs, pairs, origin=origin) if theirs != ours else []
        told[side] = sorted(row.pk for row in rows) if theirs != ours else None
        made |= {row.pk: row for row in rows}
    if truth is not None and recipe.evaluation.people:
        told["truth"] = _truths(made, truth)
    if recipe.evaluation.people and told.get("initial"):
        seed = derive_seed(loop.seed, "evaluation", "people", index)
        told["people"] = people_choose([made[pk] for pk in told["initial"]], recipe.evaluation.people, seed=seed)
        told["criteria"] = people_weights(loop.project, wanted=recipe.label.weights, judge=loop.judge)
    return told


def compared(
    ours: SamplingRun, theirs: SamplingRun, pairs: Sequence[tuple[int, int]], *, origin: str
) -> list[Comparison]:
    """Make the comparisons of two runs' answers to the same prompts, with these answer numbers for each prompt."""
    rows = Completion.objects.filter(run__in=[ours.pk, theirs.pk]).defer("token_ids")
    by_place = {(row.run_id, row.prompt_id, row.index): row for row in rows}
    both = [
        (by_place[ours.pk, prompt_id, i], by_place[theirs.pk, prompt_id, j])
        for prompt_id in ours.prompt_ids
        for i, j in pairs
    ]
    return comparisons_create(project=ours.project, pairs=both, origin=origin)


def _truths(made: Mapping[int, Comparison], truth: Callable[[str, str], float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for ids in chunks(sorted(made), 500):
        for row in Comparison.objects.filter(pk__in=ids).select_related("prompt", "first", "second"):
            gap = truth(row.prompt.text, row.first.text) - truth(row.prompt.text, row.second.text)
            found[str(row.pk)] = 0.5 if gap == 0 else float(gap > 0)
    return found


def people_choose(rows: Sequence[Comparison], k: int, *, seed: int) -> list[int]:
    """Give people k of these pairs in Annotate, at random: one pair of each prompt before a second of any."""
    by_prompt: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        if not row.same_answers:
            by_prompt[row.prompt_id].append(row.pk)
    chosen = games_for_people([by_prompt[key] for key in sorted(by_prompt)], k, seed=seed)
    for ids in chunks(chosen, 500):
        with transaction.atomic():
            Comparison.objects.filter(pk__in=ids).update(for_people=True)
            seats_settle(project=rows[0].project, comparison_ids=ids)
    return chosen


def people_weights(project: Project, *, wanted: Mapping[str, float], judge: Judge | None) -> dict[str, float]:
    """Weigh the criteria by which people's votes are read, among those that people are asked by.

    `wanted` where all of these are asked, else the judge's criterion if it is, else an equal mean of what is asked: a
    vote by a criterion that nobody is asked by would never come.
    """
    asked = project.criteria or [""]
    for weights in (wanted, {judge.criterion_name: 1.0} if judge is not None else {}):
        if weights and weights.keys() <= set(asked):
            return dict(weights)
    return dict.fromkeys(asked, 1 / len(asked))


def to_ask(told: Mapping[str, Any]) -> list[int]:
    """Return the comparisons for the evaluation's judge: all but those of equal answers."""
    ids = sorted({pk for side in SIDES for pk in told.get(side) or ()})
    different: list[int] = []
    for part in chunks(ids, 500):
        rows = Comparison.objects.filter(pk__in=part, same_answers=False).order_by("id")
        different += rows.values_list("id", flat=True)
    return different


# --- its jobs ---------------------------------------------------------------------------------------------------------


def evaluation_jobs(loop: Loop, round_: Round) -> JobGroup:
    """Enqueue the next step of a round's evaluation: measuring, then running its judge."""
    payload = {"loop": loop.pk}
    if not asks(round_.evaluation):
        return group_create(
            project=loop.project,
            name=f"evaluation of loop {loop.pk}, round {round_.index}",
            jobs=[
                JobSpec(
                    kind="evaluation.run",
                    queue="gpu",
                    payload={"round": round_.pk},
                    title=f"Evaluate round {round_.index}",
                    unique_key=f"evaluation:{round_.pk}",
                )
            ],
            follow_up_kind="rounds.advance",
            follow_up_payload=payload,
        )
    group, told = judging_jobs(loop, round_.evaluation, follow_up_kind="rounds.advance", follow_up_payload=payload)
    Round.objects.filter(pk=round_.pk).update(evaluation=told)
    return group


def judging_jobs(
    loop: Loop, told: Mapping[str, Any], *, follow_up_kind: str, follow_up_payload: dict[str, Any]
) -> tuple[JobGroup, dict[str, Any]]:
    """Enqueue the run of an evaluation's judge; after a failure, only missing verdicts are asked for."""
    if told.get("judging_run") is not None:
        run = JudgingRun.objects.get(pk=told["judging_run"])
        group = judging_run_enqueue(run=run, follow_up_kind=follow_up_kind, follow_up_payload=follow_up_payload)
        return group, dict(told)
    run = judging_run_create(
        project=loop.project,
        judge=Judge.objects.get(pk=told["judge"]),
        comparison_ids=to_ask(told),
        purpose=EVALUATION,
        started_by=loop.started_by,
        follow_up_kind=follow_up_kind,
        follow_up_payload=follow_up_payload,
    )
    if run.group is None:
        raise AssertionError("a judging run has its jobs")
    return run.group, {**told, "judging_run": run.pk}


def waits_for_judge(told: Mapping[str, Any]) -> bool:
    """Whether a measured evaluation still has to run its judge."""
    return told.get("judge") is not None and told.get("judging_run") is None and bool(to_ask(told))


def asks(told: Mapping[str, Any]) -> bool:
    """Whether the next jobs of an evaluation run its judge, for the first time or again; else they measure."""
    return told.get("judging_run") is not None or waits_for_judge(told)


# --- what came of it --------------------------------------------------------------------------------------------------


def judged(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the win rates by an evaluation's judge, as keys of a round's result; nothing if no judge measures."""
    if told.get("judge") is None:
        return {}
    itself = against_itself(0, 0)
    initial, previous = (
        None if side not in told else itself if told[side] is None else head_to_head(games_of(told, side))
        for side in SIDES
    )
    undecided = max((side.n_undecided for side in (initial, previous) if side is not None), default=0)
    return win_rates(initial, previous) | {"n_undecided": undecided}


def people_of(told: Mapping[str, Any]) -> WithPeople | None:
    """Return people's votes on the pairs that they got, and the combined result; None: they got none."""
    return with_people(games_of(told, "initial")) if told.get("people") else None


def games_of(told: Mapping[str, Any], side: str) -> list[Game]:
    """Read the comparisons with the initial or the previous policy, from the side of the measured policy."""
    ids = list(told.get(side) or ())
    scores = _judged(told, ids)
    here = set(ids)
    given = [pk for pk in told.get("people") or () if pk in here]
    weights = told.get("criteria") or {"": 1.0}
    people = _by_all({name: _voted(given, name) for name in weights}, weights)
    games = []
    for part in chunks(ids, 500):
        rows = Comparison.objects.filter(pk__in=part).order_by("id")
        columns = ("id", "prompt_id", "same_answers", "first__run_id", "first__n_characters", "second__n_characters")
        for pk, prompt, same, first_run, first, second in rows.values_list(*columns):
            ours_first = first_run == told["answers"]
            games.append(
                Game(
                    prompt,
                    _turned(scores.get(pk), ours_first),
                    longer=first - second if ours_first else second - first,
                    human=_turned(people.get(pk), ours_first),
                    same_answers=same,
                )
            )
    return games


def _turned(score: float | None, ours_first: bool) -> float | None:
    return score if score is None or ours_first else 1 - score


def _judged(told: Mapping[str, Any], ids: Sequence[int]) -> dict[int, float]:
    """Average each comparison over the judge's readable verdicts in both orders."""
    if told.get("judge") is None:
        truth = told.get("truth") or {}
        return {pk: truth[str(pk)] for pk in ids if str(pk) in truth}
    said: dict[int, list[float]] = defaultdict(list)
    for part in chunks(ids, 500):
        rows = Verdict.objects.filter(judge=told["judge"], comparison_id__in=part, state="ok")
        for pk, outcome in rows.order_by("id").values_list("comparison_id", "outcome"):
            said[pk].append(SCORE_OF_OUTCOME[outcome])
    return {pk: sum(scores) / len(scores) for pk, scores in said.items()}


def _by_all(by: Mapping[str, Mapping[int, float]], weights: Mapping[str, float]) -> dict[int, float]:
    """Weigh what people said by several criteria, of the comparisons that have all of it."""
    keys = set.intersection(*(set(scores) for scores in by.values()))
    return {key: sum(weight * by[name][key] for name, weight in weights.items()) for key in keys}


def _voted(ids: Sequence[int], criterion: str) -> dict[int, float]:
    said: dict[int, list[float]] = defaultdict(list)
    for part in chunks(ids, 500):
        votes = counting_votes(criterion).filter(comparison_id__in=part, choice__in=OUTCOMES)
        for pk, choice in votes.order_by("id").values_list("comparison_id", "choice"):
            said[pk].append(SCORE_OF_OUTCOME[choice])
    return {pk: sum(scores) / len(scores) for pk, scores in said.items()}


def win_rates(initial: HeadToHead | None, previous: HeadToHead | None) -> dict[str, Any]:
    """Return win rates as keys of a round's result, each with its interval, and at equal lengths (`lc`)."""
    row: dict[str, Any] = {}
    for found, key, bounds in (
        (initial, "win_rate_vs_initial", "win_rate_ci95"),
        (previous, "win_rate_vs_previous", "win_rate_vs_previous_ci95"),
    ):
        plain, controlled = (found.win_rate, found.length_controlled) if found else (None, None)
        row |= {key: plain.rate if plain else None, bounds: _ends(plain)}
        row |= {f"lc_{key}": controlled.rate if controlled else None, f"lc_{bounds}": _ends(controlled)}
    return row


def _ends(rate: Rate | None) -> list[float] | None:
    return [rate.interval.low, rate.interval.high] if rate and rate.interval else None
