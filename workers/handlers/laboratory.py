"""Measuring a run of a study: what each policy of its loop is worth, prompt by prompt, or an exact optimum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from apps.jobs.clock import database_now
from apps.jobs.registry import JobContext, handler
from apps.labels.models import Preference
from apps.policies.models import Checkpoint
from apps.reports.laboratory.running import MEASURE, run_end
from apps.reports.models import StudyRun
from apps.samples.ids import StoredIds
from apps.samples.models import Completion, SamplingRun
from apps.training.models import KeptStep, Loop, Round
from apps.training.rounds.evaluation import games_of
from apps.training.rounds.labels import LOOP_ORIGIN
from apps.training.sets.snapshots import prompt_content
from prefloop.policy.batches import PackItem
from prefloop.policy.prompts import Answered, encode_rows
from prefloop.policy.scoring import answer_scores, score_groups
from prefloop.studies.catalogue import get_study
from prefloop.studies.declaration import Study as Declared
from prefloop.tabular.studied import solved
from prefloop.types import PrefloopError
from workers import model_cache
from workers.worlds import utility_of

DIGITS = 5  # of a stored value
MOST_PAIRS = 128  # stored pairs, each of another prompt; the paper takes 256


class NothingMeasured(PrefloopError):
    """A loop whose policies were measured by nobody, so that a study can't read it."""


@handler(MEASURE, queue="gpu")
def studies_measure(ctx: JobContext) -> dict[str, Any]:
    """Write the points of a run whose loop is done, or that is computed exactly: payload {run}."""
    run = StudyRun.objects.select_related("study__project", "loop__project", "loop__judge__checkpoint").get(
        pk=ctx.payload["run"]
    )
    if run.ended_at is not None:
        return {}
    declared = get_study(run.study.name)
    (planned,) = (
        one
        for one in declared.planned(run.seed + 1)
        if (one.arm.name, one.setting, one.seed) == (run.arm, run.setting, run.seed)
    )
    if planned.arm.exact:
        settings = {**planned.arm.settings, **planned.swept}
        points = solved(planned.arm.recipe, settings, mu=planned.arm.mu, seed=run.seed)
    elif not planned.arm.makes_policy:
        points = []
    elif run.loop is not None:
        points = _points(ctx, run.loop, declared)
    else:
        raise NothingMeasured(f"{run} has no loop any more")
    with ctx.fenced():
        run_end(run=run, points=points, now=database_now())
    return {"points": len(points)}


def _points(ctx: JobContext, loop: Loop, declared: Declared) -> list[dict[str, Any]]:
    """Read every measured policy of a loop, the start first."""
    rounds = list(loop.rounds.select_related("output").order_by("index"))
    kept: dict[int, list[KeptStep]] = defaultdict(list)
    for one in KeptStep.objects.filter(run__round__loop=loop).select_related("checkpoint", "run").order_by("step"):
        if one.run.round_id is not None:
            kept[one.run.round_id].append(one)
    begun = rounds[0].evaluation
    points, before = [], 0
    for round_ in rounds:
        for one in kept[round_.pk]:
            points.append(
                _point(ctx, loop, declared, begun, one.evaluation, one.result, one.checkpoint, before + one.step)
            )
        steps = max((run.step for run in round_.training_runs.all()), default=0) if round_.index else 0
        before += steps
        if round_.output is not None:
            points.append(_point(ctx, loop, declared, begun, round_.evaluation, round_.result, round_.output, before))
    if {"accuracy", "chosen"} & declared.measures:
        stored = StoredPairs(loop)
        for point in points:
            ctx.check()
            found = stored.measured(Checkpoint.objects.get(pk=point["checkpoint_id"]))
            point["values"] |= {name: _rounded(row) for name, row in found.items()}
    points[-1] |= _taken(rounds)
    return points


def _taken(rounds: list[Round]) -> dict[str, Any]:
    """Say what all rounds of a loop took: seconds, answers that were drawn to learn from, and pairs."""
    learnt = rounds[1:]
    return {
        "seconds": sum(
            (one.ended_at - one.started_at).total_seconds() for one in learnt if one.ended_at and one.started_at
        ),
        "n_samples": sum(one.result.get("n_samples") or 0 for one in learnt),
        "n_pairs": sum(one.result.get("n_pairs") or 0 for one in learnt),
    }


def _point(
    ctx: JobContext,
    loop: Loop,
    declared: Declared,
    begun: Mapping[str, Any],
    told: Mapping[str, Any],
    result: Mapping[str, Any],
    checkpoint: Checkpoint,
    step: int,
) -> dict[str, Any]:
    ctx.check()
    if "answers" not in told or result.get("kl") is None:
        raise NothingMeasured(f"{checkpoint.name} of loop {loop.pk} was not measured")
    ours = _answers(told["answers"])
    utility = utility_of(loop.project.world)
    values: dict[str, list[float]] = {}
    if utility is not None:
        worth = [[utility(row.prompt.text, row.text) for row in rows] for rows in ours]
        start = [[utility(row.prompt.text, row.text) for row in rows] for rows in _answers(begun["answers"])]
        values["gold"] = [sum(row) / len(row) for row in worth]
        values["win"] = [_share(a, b) for a, b in zip(worth, start, strict=True)]
    elif told.get("initial") is None and "initial" in told:
        values["win"] = [0.5] * len(ours)  # the start against itself
    else:
        values["win"] = _judged(told, [rows[0].prompt_id for rows in ours])
    proxy = loop.judge.checkpoint if loop.judge is not None else None
    if "proxy" in declared.measures and proxy is not None and proxy.role == "reward":
        values["proxy"] = _scores(proxy, ours)
    if "length" in declared.measures:
        values["length"] = [sum(len(row.text) for row in rows) / len(rows) for rows in ours]
    return {
        "step": step,
        "kl": float(result["kl"]),
        "kl_ci95": result.get("kl_ci95"),
        "values": {name: _rounded(row) for name, row in values.items()},
        "length": result.get("mean_length"),
        "checkpoint": checkpoint.name,
        "checkpoint_id": checkpoint.pk,
    }


def _rounded(values: list[float]) -> list[float]:
    return [round(value, DIGITS) for value in values]


class StoredPairs:
    """Labelled pairs of training prompts, one of each prompt, on which a policy's own preferences are tested."""

    def __init__(self, loop: Loop) -> None:
        labelled = Preference.objects.filter(
            comparison__project=loop.project_id,
            comparison__prompt__split="train",
            criterion="",
            outcome__in=("first", "second"),
        ).exclude(comparison__origin__startswith=LOOP_ORIGIN)
        rows = labelled.select_related("comparison__prompt", "comparison__first", "comparison__second")
        of_prompt: dict[int, Preference] = {}
        for row in rows.order_by("comparison__prompt_id", "comparison_id")[: 4 * MOST_PAIRS]:
            of_prompt.setdefault(row.comparison.prompt_id, row)
        self._pairs = list(of_prompt.values())[:MOST_PAIRS]
        self._start = self._logps(loop.initial) if self._pairs and loop.initial is not None else []

    def measured(self, checkpoint: Checkpoint) -> dict[str, list[float]]:
        """Say of every pair whether the better answer gained more log-prob since the start, and how much it gained.

        Nothing where no pair is labelled. An even gain is half right.
        """
        if not self._pairs:
            return {}
        gains = [
            (ours[0] - start[0], ours[1] - start[1])
            for ours, start in zip(self._logps(checkpoint), self._start, strict=True)
        ]
        return {
            "accuracy": [(better > worse) + 0.5 * (better == worse) for better, worse in gains],
            "chosen": [better for better, _ in gains],
        }

    def _logps(self, checkpoint: Checkpoint) -> list[list[float]]:
        """Compute the log-probs of the better and of the worse answer of each pair."""
        stored, policy = StoredIds(checkpoint), model_cache.policy(checkpoint)
        answered = []
        for row in self._pairs:
            pair = row.comparison
            ordered = (pair.first, pair.second) if row.outcome == "first" else (pair.second, pair.first)
            texts, ids = tuple(one.text for one in ordered), tuple(stored(one) for one in ordered)
            answered.append(Answered(prompt_content(pair.prompt), texts, ids))
        return score_groups(policy, [PackItem(*row) for row in encode_rows(policy.tokenizer, answered)])


def _answers(run_id: int) -> list[list[Completion]]:
    """Return a run's answers to each of its prompts, in the order of the prompts."""
    run = SamplingRun.objects.get(pk=run_id)
    by_prompt: dict[int, list[Completion]] = defaultdict(list)
    for row in Completion.objects.filter(run=run).select_related("prompt").order_by("index"):
        by_prompt[row.prompt_id].append(row)
    return [by_prompt[prompt] for prompt in sorted(run.prompt_ids)]


def _share(ours: list[float], theirs: list[float]) -> float:
    """Give the share of wins of our answers over theirs; two with the same number share their random numbers."""
    games = [(a > b) + 0.5 * (a == b) for i, a in enumerate(ours) for j, b in enumerate(theirs) if i != j]
    return sum(games) / len(games)


def _judged(told: Mapping[str, Any], prompts: list[int]) -> list[float]:
    """Average over each prompt what the evaluation's judge said; a prompt on which it said nothing is a half."""
    said: dict[int, list[float]] = defaultdict(list)
    for game in games_of(told, "initial"):
        if game.decided is not None:
            said[int(str(game.prompt))].append(game.decided)
    return [sum(said[pk]) / len(said[pk]) if said[pk] else 0.5 for pk in prompts]


def _scores(checkpoint: Checkpoint, ours: list[list[Completion]]) -> list[float]:
    """Average over each prompt the score that a reward model gives the answers."""
    stored = StoredIds(checkpoint)
    answered = [
        Answered(prompt_content(rows[0].prompt), tuple(row.text for row in rows), tuple(stored(row) for row in rows))
        for rows in ours
    ]
    found = answer_scores(model_cache.reward_model(checkpoint), answered)
    return [float(sum(row) / len(row)) for row in found]
