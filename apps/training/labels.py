"""Which labels a round trains on: the round's own comparisons or the stored ones, people's corrections on top."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from django.db.models import QuerySet

from apps.judging.models import Judge
from apps.judging.selectors import judge_by_name
from apps.prompts.models import ready
from apps.rankings.models import Override
from apps.rankings.preferences import Label, label_judge, labels_of
from apps.samples.models import Comparison, SamplingRun
from apps.training.models import Loop, Round
from apps.training.snapshots import LabelledComparison, hardened, merged
from prefloop.recipes.labelling import with_noise
from prefloop.recipes.recipe import AI_REWARD_MODEL, Recipe
from prefloop.seeds import labeller_seed

PEOPLE = ("human", "adjudication", "override")


def round_origin(loop: Loop, index: int) -> str:
    return f"loop:{loop.pk}:{index}"


def trainable(loop: Loop) -> QuerySet[Comparison]:
    """Return the comparisons that may be trained on, in their order: no gold item, no evaluation prompt."""
    return Comparison.objects.filter(ready(), project=loop.project, held_out=False, prompt__split="train").order_by(
        "id"
    )


def round_labels(loop: Loop, round_: Round, recipe: Recipe) -> list[LabelledComparison]:
    """Return what round `round_` trains on: its own labels, then what the recipe's memory brings back."""
    if recipe.label.by == "data":
        own = _data_labels(loop, [round_origin(loop, round_.index)])
    elif recipe.label.by == "scores" and recipe.samples:
        ids = list(trainable(loop).filter(origin=round_origin(loop, round_.index)).values_list("id", flat=True))
        own = _labels(ids, judge=loop.judge)
    else:
        own = stored_labels(loop, recipe)
    own = [as_trained(loop, round_, recipe, label) for label in own]
    return merged(own, _remembered(loop, round_, recipe))


def own_judges(loop: Loop) -> list[Judge]:
    """Return the judges that the loop's own policies were, oldest first."""
    if loop.judge is None:
        return []
    return list(Judge.objects.filter(project=loop.project, name=loop.judge.name, kind="policy").order_by("version"))


def _data_labels(loop: Loop, origins: Sequence[str]) -> list[LabelledComparison]:
    """Prefer the answer that no round of this loop sampled: the data's."""
    rows = trainable(loop).filter(origin__in=origins).select_related("first__run__round")
    return [
        LabelledComparison(
            comparison_id=row.pk,
            p_first=float(not _is_of(loop, row.first.run)),
            source="data",
            p_without_overrides=float(not _is_of(loop, row.first.run)),
        )
        for row in rows
    ]


def _is_of(loop: Loop, run: SamplingRun | None) -> bool:
    return run is not None and hasattr(run, "round") and run.round.loop_id == loop.pk


def stored_labels(loop: Loop, recipe: Recipe) -> list[LabelledComparison]:
    """Return the labels of all stored comparisons, by whom the recipe says: the effective label, people, one judge."""
    if recipe.label.judge == "people":
        labels = _labels(_ids(loop), judge=None)
        labels = [label for label in labels if label.source in PEOPLE]
    else:
        labels = _labels(_ids(loop), judge=loop.judge if recipe.label.judge else label_judge(loop.project))
    if recipe.prompts.n:
        labels = labels[: recipe.prompts.n] if recipe.prompts.n < len(labels) else labels
    return labels


def reward_model_labels(loop: Loop) -> list[LabelledComparison]:
    """Return what the loop's reward model is made from: every effective label of the project, or a judge's alone.

    RLAIF's is a judge's alone, soft where it gave a probability: the recipe's `label.judge`, else the project's.
    """
    recipe = Recipe.from_json(loop.config)
    if recipe.score.by == "judge" and recipe.score.judge == AI_REWARD_MODEL:
        name = recipe.label.judge
        judge = judge_by_name(loop.project, name) if name else label_judge(loop.project)
        return [label for label in _labels(_ids(loop), judge=judge) if label.source not in PEOPLE]
    return _labels(_ids(loop), judge=label_judge(loop.project))


def _ids(loop: Loop) -> list[int]:
    return list(trainable(loop).exclude(origin__startswith="loop:").values_list("id", flat=True))


def _labels(comparison_ids: Sequence[int], *, judge: Judge | None) -> list[LabelledComparison]:
    now = labels_of(comparison_ids=comparison_ids, judge=judge)
    overridden = [key for key, label in now.items() if label.source == "override"]
    before = labels_of(comparison_ids=overridden, judge=judge, with_overrides=False)
    return [
        _labelled(key, now[key], before.get(key) if now[key].source == "override" else now[key])
        for key in comparison_ids
        if key in now and now[key].p_first is not None
    ]


def _labelled(comparison_id: int, label: Label, without: Label | None) -> LabelledComparison:
    if label.p_first is None:
        raise ValueError("a label without p makes no pair")
    return LabelledComparison(
        comparison_id=comparison_id,
        p_first=label.p_first,
        source=label.source,
        label_ids=label.label_ids,
        p_without_overrides=without.p_first if without else None,
    )


def _remembered(loop: Loop, round_: Round, recipe: Recipe) -> list[LabelledComparison]:
    """Return past examples: those of the last k rounds, or every comparison of the project that a person overrode."""
    memory = recipe.memory
    if memory.kind == "rounds":
        origins = [round_origin(loop, index) for index in range(max(1, round_.index - memory.k), round_.index)]
        ids = list(trainable(loop).filter(origin__in=origins).values_list("id", flat=True))
        if recipe.label.by == "data":
            labels = _data_labels(loop, origins)
        elif recipe.score.by == "policy":  # each round was judged by the policy that it started from
            labels = [one for judge in own_judges(loop) for one in _labels(ids, judge=judge)]
        else:
            labels = _labels(ids, judge=loop.judge)
    elif memory.kind == "overrides":
        ids = list(
            trainable(loop)
            .filter(pk__in=Override.objects.filter(comparison__project=loop.project).values("comparison_id"))
            .values_list("id", flat=True)
        )
        labels = [label for label in _labels(ids, judge=label_judge(loop.project)) if label.source == "override"]
    else:
        labels = []
    return [replace(label, weight=memory.weight) for label in labels]


def as_trained(loop: Loop, round_: Round, recipe: Recipe, label: LabelledComparison) -> LabelledComparison:
    """Apply the recipe's kind of label and its noise, to machines' labels only: a person's word is not turned round."""
    if label.source in PEOPLE or label.source == "data":
        return label
    seed = labeller_seed(loop.seed, "round", round_.index, "comparison", label.comparison_id)
    rng = random.Random(seed)
    if recipe.label.labels == "sampled":
        label = replace(label, p_first=float(rng.random() < label.p_first))
    else:
        label = hardened(label, recipe.label.labels)
    return replace(label, p_first=with_noise(recipe.label, label.p_first, rng=rng))
