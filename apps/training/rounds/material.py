"""What a round trains on, as the rows of its snapshot: pairs, single answers, or ranked groups."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from apps.labels.models import Judge
from apps.policies.models import Checkpoint
from apps.samples.ids import StoredIds
from apps.samples.models import Completion
from apps.training.models import Loop, Round
from apps.training.rounds.answers import best_answers, data_answers, kept_answers, own_answers, scored_answers
from apps.training.rounds.labels import round_labels, stored_flags, stored_ratings
from apps.training.sets.snapshots import (
    HeldOutInTraining,
    LabelledComparison,
    NothingToTrainOn,
    count_sources,
    demonstrations,
    flagged_answers,
    prompt_content,
    rated_rows,
    single_answers,
    training_pairs,
)
from prefloop.preference import hardened, outcome_at
from prefloop.recipes.recipe import Recipe
from prefloop.recipes.snapshots import Demonstration, RankedGroup, Row
from prefloop.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Material:
    """The rows, the labelled comparisons behind them (none if answers are chosen by score), and their sources."""

    rows: list[Row]
    labels: list[LabelledComparison] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)


def round_material(loop: Loop, round_: Round, recipe: Recipe, *, step: int = 0) -> Material:
    """Return the rows of the round's training number `step` (ReST has several). Raises NothingToTrainOn."""
    rows = recipe.objective.rows
    if rows == "groups":
        made = _of_completions(_groups(loop, round_, recipe))
    elif rows == "demonstrations" and recipe.objective.needs("teacher"):
        made = _of_completions(_distilled(loop, round_, recipe))
    elif rows == "demonstrations" and recipe.samples:
        made = _of_completions(_imitated(loop, round_, recipe, step))
    else:
        start = start_of(loop)
        flagged = flagged_answers(stored_flags(loop, round_, recipe), start)
        flagged += rated_rows(stored_ratings(loop, round_, recipe), start)
        made = label_material(loop, round_, recipe, round_labels(loop, round_, recipe), flagged)
    if not made.rows:
        raise NothingToTrainOn("there is nothing to train on: this round has no answers or labels left")
    return made


def _of_completions(rows: Sequence[Demonstration | RankedGroup]) -> Material:
    return Material(list(rows), sources=Counter(row.source for row in rows))


def label_material(
    loop: Loop,
    round_: Round,
    recipe: Recipe,
    labels: Sequence[LabelledComparison],
    flagged: Sequence[Demonstration] = (),
) -> Material:
    """Return what labelled comparisons teach: pairs, their better answers, or each answer with whether it is desirable.

    `flagged`: answers that an import or people's ratings called desirable or not, which come after those. Raises
    NothingToTrainOn.
    """
    labels = list(labels)
    if not labels and not flagged:
        if recipe.samples and recipe.label.by == "scores":
            raise NothingToTrainOn(
                "there is nothing to train on: no two answers to a prompt differ in both text and score. "
                "Ask more prompts (prompts.n), or more answers a prompt (draws.n)"
            )
        raise NothingToTrainOn("there is nothing to train on: no comparison has a label that makes a pair")
    if recipe.objective.declared.hard_labels:  # a tie makes no pair for a loss that takes no soft labels
        told = [one for one in labels if one.both_bad or outcome_at(one.p_first) != "tie"]
        labels = [replace(one, p_first=hardened(one.p_first)) for one in told]
    sources = count_sources(labels) + Counter(row.source for row in flagged)
    if recipe.objective.rows == "answers":
        return Material([*single_answers(labels, start_of(loop)), *flagged], labels, sources)
    if recipe.objective.rows == "demonstrations":
        return Material(list(demonstrations(labels, start_of(loop))), labels, sources)
    pairs = training_pairs(labels, start_of(loop), targets=_targets(loop, round_, recipe))
    return Material(list(pairs), labels, sources)


def _targets(loop: Loop, round_: Round, recipe: Recipe) -> dict[int, Completion]:
    """The answer to keep likely in addition to the pairs of each prompt: SLiC-HF's best candidate, CLICK's data."""
    target = recipe.objective.target
    if target == "best" and recipe.samples and loop.judge is not None:
        return best_answers(scored_answers(loop.judge, round_, recipe))
    return data_answers(loop) if target == "data" else {}


def _groups(loop: Loop, round_: Round, recipe: Recipe) -> list[RankedGroup]:
    """The scored answers to each prompt; equal texts occur once, and groups with equal scores are left out."""
    found, ids = [], StoredIds(start_of(loop))
    for answers in scored_answers(_scorer(loop), round_, recipe):
        first_of: dict[str, int] = {}
        for at, row in enumerate(answers.rows):
            first_of.setdefault(row.text, at)
        places = list(first_of.values())
        scores = tuple((answers.group.scores or ())[at] for at in places)
        rows = [answers.rows[at] for at in places]
        if len(set(scores)) < 2:
            continue
        _refuse_held_out(rows[0])
        found.append(
            RankedGroup(
                id=f"prompt:{rows[0].prompt_id}",
                prompt=prompt_content(rows[0].prompt),
                completions=tuple(row.text for row in rows),
                scores=scores,
                completion_ids=tuple(known) if all(known := [ids(row) for row in rows]) else (),
                source="scores",
                cut=tuple(cut) if any(cut := [row.is_cut for row in rows]) and not all(known) else (),
            )
        )
    return found


def _imitated(loop: Loop, round_: Round, recipe: Recipe, step: int) -> list[Demonstration]:
    """The answers that the filter keeps of this round, then those that memory adds; equal texts occur once."""
    first = round_.index
    if recipe.memory.kind == "rounds":
        first = max(1, round_.index - recipe.memory.k)
    rounds = {one.index: one for one in loop.rounds.filter(index__gte=first, index__lte=round_.index)}
    chosen: dict[tuple[int, str], Demonstration] = {}
    ids = StoredIds(start_of(loop))
    for index in sorted(rounds, reverse=True):
        weight = 1.0 if index == round_.index else recipe.memory.weight
        seed = derive_seed(loop.seed, "filter", index)
        answers = scored_answers(_scorer(loop), rounds[index], recipe)
        for row, _ in kept_answers(answers, recipe, step=step, seed=seed):
            chosen.setdefault((row.prompt_id, row.text), _demonstration(row, ids, "scores", weight))
    return list(chosen.values())


def _distilled(loop: Loop, round_: Round, recipe: Recipe) -> list[Demonstration]:
    """For each prompt, by the seed, the student's own answer (a share of λ) or the stored one."""
    ids = StoredIds(start_of(loop))
    rng = random.Random(derive_seed(loop.seed, "own", round_.index))
    own = own_answers(round_, recipe)
    data = data_answers(loop, set(own.values_list("prompt_id", flat=True)))
    rows = []
    for row in own:
        takes_own = rng.random() < recipe.objective.lambda_
        if takes_own:
            rows.append(_demonstration(row, ids, "student", 1.0))
        elif row.prompt_id in data:
            rows.append(_demonstration(data.pop(row.prompt_id), ids, "data", 1.0))
    return rows


def _demonstration(row: Completion, ids: StoredIds, source: str, weight: float) -> Demonstration:
    _refuse_held_out(row)
    return Demonstration(
        id=f"completion:{row.pk}",
        prompt=prompt_content(row.prompt),
        completion=row.text,
        weight=weight,
        completion_ids=ids(row),
        source=source,
        cut=ids.hides_cut(row),
    )


def start_of(loop: Loop) -> Checkpoint:
    """Return the policy that the loop began with: all policies that it trains have its tokenizer."""
    if loop.initial is None:
        raise NothingToTrainOn("the loop has no policy to start from")
    return loop.initial


def _refuse_held_out(row: Completion) -> None:
    if row.prompt.split == "eval":
        raise HeldOutInTraining(f"prompt {row.prompt_id} is held out: its answers must not enter a training set")


def _scorer(loop: Loop) -> Judge:
    if loop.judge is None:
        raise NothingToTrainOn("the loop has no judge that scores its answers")
    return loop.judge
