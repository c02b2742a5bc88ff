"""Which labels a round trains on: the round's own comparisons or the stored ones, with people's corrections."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.db.models import Q, QuerySet

from apps.labels.flags import flags_of
from apps.labels.models import Judge, Override, Rating, Score
from apps.labels.ratings import RatedAnswer, rated_answers, ratings_to_learn
from apps.labels.selectors import label_judge, labels_of
from apps.labels.types import PEOPLE, Label
from apps.projects.models import Project
from apps.prompts.models import ready
from apps.prompts.selectors import chosen_prompts
from apps.samples.models import Comparison, SamplingRun, comparable
from apps.training.models import Loop, Round
from apps.training.rounds.loop_judge import ai_judge, criterion_of
from apps.training.sets.snapshots import LabelledComparison, merged
from prefloop import criteria
from prefloop.recipes import labelling
from prefloop.recipes.parts import BY_PEOPLE, BY_RATINGS
from prefloop.recipes.recipe import AI_REWARD_MODEL, Filter, Prompts, Recipe, ai_label, part_from_json
from prefloop.recipes.recipe import Label as LabelSettings
from prefloop.seeds import derive_seed, labeller_seed

LOOP_ORIGIN = "loop:"  # how the origin of a comparison begins that a loop made


def round_origin(loop: Loop, index: int) -> str:
    return f"loop:{loop.pk}:{index}"


def trainable(loop: Loop) -> QuerySet[Comparison]:
    """Return the comparisons for training, in order: no gold items, evaluation prompts or equal answers.

    Only with prompts that the loop's recipe uses, or made by the loop itself; none with an answer that was cut, where
    the recipe leaves these out.
    """
    config = loop.config or {}
    wanted: Prompts = part_from_json(Prompts, config.get("prompts", {}), "prompts")
    rows = _trainable(loop.project, part_from_json(Filter, config.get("filter", {}), "filter"))
    if wanted.takes_all:
        return rows
    meant = chosen_prompts(loop.project, wanted, split="train").order_by().values("pk")
    return rows.filter(Q(prompt__in=meant) | Q(origin__startswith=f"loop:{loop.pk}:"))  # its own were asked as it says


def stored_comparisons(project: Project, recipe: Recipe) -> QuerySet[Comparison]:
    """Return the comparisons of the recipe's prompts that may be trained on and that no loop made.

    Raises NoSuchPromptSet for an unknown prompt set.
    """
    rows = _trainable(project, recipe.filter).exclude(origin__startswith=LOOP_ORIGIN)
    if recipe.prompts.takes_all:
        return rows
    return rows.filter(prompt__in=chosen_prompts(project, recipe.prompts, split="train").order_by().values("pk"))


def stored_of(loop: Loop) -> QuerySet[Comparison]:
    """Return those of `trainable` that no loop made."""
    return trainable(loop).exclude(origin__startswith=LOOP_ORIGIN)


def _trainable(project: Project, filter_: Filter) -> QuerySet[Comparison]:
    rows = Comparison.objects.filter(ready(), comparable(), project=project, held_out=False)
    if filter_.leaves_out_cut:
        rows = rows.filter(first__finished=True, second__finished=True)
    return rows.filter(prompt__split="train").order_by("id")


def round_labels(loop: Loop, round_: Round, recipe: Recipe) -> list[LabelledComparison]:
    """Return the labels that round `round_` trains on: its own, then those that the recipe's memory adds.

    That both answers are bad is a label only where single answers are learnt from.
    """
    if recipe.label.by == "data":
        own = _data_labels(loop, [round_origin(loop, round_.index)])
    elif recipe.label.by == "scores" and recipe.samples:
        ids = list(trainable(loop).filter(origin=round_origin(loop, round_.index)).values_list("id", flat=True))
        own = _labels(ids, judge=loop.judge, both_bad=recipe.objective.takes_single_answers)
    else:
        own = stored_labels(loop, round_, recipe)
    own = [as_trained(loop, round_, recipe.label, label) for label in own]
    return merged(own, _remembered(loop, round_, recipe))


def own_judges(loop: Loop) -> list[Judge]:
    """Return the judges that are the loop's own policies, oldest first."""
    if loop.judge is None:
        return []
    return list(
        Judge.objects.filter(project=loop.project, name=loop.judge.name, kind=loop.judge.kind).order_by("version")
    )


def _data_labels(loop: Loop, origins: Sequence[str]) -> list[LabelledComparison]:
    """Prefer the answer that no round of this loop sampled: the stored one."""
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


def stored_labels(loop: Loop, round_: Round, recipe: Recipe) -> list[LabelledComparison]:
    """Return the labels of stored comparisons from the recipe's source: the effective label, people, one judge.

    Of as many prompts as `prompts.n`, drawn by the seed among those with a label or a flag.
    """
    labels = _stored_labels(loop, recipe)
    if not recipe.prompts.n:
        return labels
    prompt_of = dict(trainable(loop).values_list("id", "prompt_id"))
    flagged = set(told_flags(loop.project, recipe).order_by().values_list("completion__prompt_id", flat=True))
    chosen = _drawn(loop, round_, recipe, flagged | {prompt_of[label.comparison_id] for label in labels})
    return [label for label in labels if prompt_of[label.comparison_id] in chosen]


def stored_flags(loop: Loop, round_: Round, recipe: Recipe) -> list[Score]:
    """Return the flags of stored answers from the recipe's source, of the prompts that `stored_labels` draws from too.

    People give no flags, so that their labels alone mean none. A loss that compares answers learns nothing of them.
    """
    rows = told_flags(loop.project, recipe)
    if recipe.prompts.n and rows.exists():
        compared = {label.comparison_id for label in _stored_labels(loop, recipe)}
        labelled = {prompt for key, prompt in trainable(loop).values_list("id", "prompt_id") if key in compared}
        flagged = set(rows.order_by().values_list("completion__prompt_id", flat=True))
        rows = rows.filter(completion__prompt__in=_drawn(loop, round_, recipe, flagged | labelled))
    return list(rows.select_related("judge", "completion__prompt"))


def told_flags(project: Project, recipe: Recipe) -> QuerySet[Score]:
    """Return the project's flags that the recipe learns from; none where it compares answers.

    Raises NoSuchPromptSet for an unknown prompt set.
    """
    wanted = recipe.label.judge
    stored = recipe.label.by == "preferences" and not recipe.samples and recipe.memory.kind != "replay"
    if not stored or not recipe.objective.takes_single_answers or wanted in (BY_PEOPLE, BY_RATINGS):
        return Score.objects.none()
    rows = flags_of(project).filter(judge__name=wanted) if wanted else flags_of(project)
    return rows.filter(_of_recipe(project, recipe))


def told_ratings(project: Project, recipe: Recipe) -> QuerySet[Rating]:
    """Return people's ratings that the recipe learns from; none unless it names them (label.judge=ratings).

    Raises NoSuchPromptSet for an unknown prompt set.
    """
    if recipe.label.judge != BY_RATINGS:
        return Rating.objects.none()
    return ratings_to_learn(project).filter(_of_recipe(project, recipe))


def stored_ratings(loop: Loop, round_: Round, recipe: Recipe) -> list[RatedAnswer]:
    """Return the rated answers that the recipe learns from, of as many prompts as it draws; those in the middle of the
    scale are left out.
    """
    found = [one for one in rated_answers(told_ratings(loop.project, recipe)) if one.desirable is not None]
    if recipe.prompts.n:
        chosen = _drawn(loop, round_, recipe, {one.answer.prompt_id for one in found})
        found = [one for one in found if one.answer.prompt_id in chosen]
    return found


def _of_recipe(project: Project, recipe: Recipe) -> Q:
    """What is said of answers to the recipe's prompts; without those that were cut, if it leaves them out."""
    meant = Q(completion__finished=True) if recipe.filter.leaves_out_cut else Q()
    if recipe.prompts.takes_all:
        return meant
    prompts = chosen_prompts(project, recipe.prompts, split="train").order_by().values("pk")
    return meant & Q(completion__prompt__in=prompts)


def _stored_labels(loop: Loop, recipe: Recipe) -> list[LabelledComparison]:
    both_bad = recipe.objective.takes_single_answers
    if recipe.label.judge == BY_RATINGS:
        return []
    if recipe.label.named_judge:
        return _labels(_ids(loop), judge=loop.judge, both_bad=both_bad)
    by = _by_criteria(loop, recipe, both_bad=both_bad)
    return weighted(by, recipe.label.weights) if len(by) > 1 else next(iter(by.values()))


def _by_criteria(loop: Loop, recipe: Recipe, *, both_bad: bool) -> dict[str, list[LabelledComparison]]:
    """The stored labels by each criterion of the recipe: the effective ones, or people's alone."""
    ids, people = _ids(loop), recipe.label.judge == BY_PEOPLE
    found = {}
    for name in recipe.label.weights:
        judge = None if people else label_judge(loop.project, name)
        labels = _labels(ids, judge=judge, criterion=name, both_bad=both_bad)
        found[name] = [label for label in labels if label.source in PEOPLE] if people else labels
    return found


def weighted(by: Mapping[str, Sequence[LabelledComparison]], weights: Mapping[str, float]) -> list[LabelledComparison]:
    """Combine the labels by several criteria into their weighted mean; comparisons that lack one are left out.

    The source of a mean is a correction where one of its labels is, else a judge where one is: what people corrected
    is not noise of a judge, and what a judge said is not a blind vote.
    """
    rows: dict[int, dict[str, LabelledComparison]] = {}
    for name, labels in by.items():
        for label in labels:
            if not label.both_bad:
                rows.setdefault(label.comparison_id, {})[name] = label
    found = []
    for key, parts in sorted(rows.items()):
        p_first = criteria.weighted(weights, {name: part.p_first for name, part in parts.items()})
        if p_first is None:
            continue
        without = {name: part.p_without_overrides for name, part in parts.items()}
        known = {name: p for name, p in without.items() if p is not None}
        sources = sorted({part.source for part in parts.values()})
        machine = next((source for source in sources if source not in PEOPLE), None)
        found.append(
            LabelledComparison(
                comparison_id=key,
                p_first=p_first,
                source="override" if "override" in sources else machine or sources[-1],
                label_ids=tuple(one for part in parts.values() for one in part.label_ids),
                p_without_overrides=criteria.weighted(weights, known),
                parts=frozenset(sources),
            )
        )
    return found


def n_left_out(loop: Loop, recipe: Recipe) -> int:
    """How many comparisons have a stored label by one of the recipe's criteria and not by all."""
    if recipe.label.by != "preferences" or len(recipe.label.weights) < 2:
        return 0
    by = _by_criteria(loop, recipe, both_bad=False)
    return len({one.comparison_id for labels in by.values() for one in labels}) - len(
        weighted(by, recipe.label.weights)
    )


def _drawn(loop: Loop, round_: Round, recipe: Recipe, prompts: set[int]) -> set[int]:
    rng = random.Random(derive_seed(loop.seed, "prompts", round_.index))
    return set(rng.sample(sorted(prompts), min(recipe.prompts.n, len(prompts))))


def reward_model_labels(loop: Loop, round_: Round) -> list[LabelledComparison]:
    """Return the labels for the loop's reward model: every effective label of the project, or a judge's alone.

    RLAIF uses a judge's alone, as `ai_label` has it: the recipe's `label.judge`, else the project's.
    """
    recipe = Recipe.from_json(loop.config)
    if recipe.score.by == "judge" and recipe.score.judge == AI_REWARD_MODEL:
        told, judge = ai_label(recipe), ai_judge(loop.project, recipe)
        labels = [label for label in _labels(_ids(loop), judge=judge) if label.source not in PEOPLE]
        return [as_trained(loop, round_, told, label) for label in labels]
    return _labels(_ids(loop), judge=label_judge(loop.project))


def _ids(loop: Loop) -> list[int]:
    return list(stored_of(loop).values_list("id", flat=True))


def _labels(
    comparison_ids: Sequence[int], *, judge: Judge | None, criterion: str = "", both_bad: bool = False
) -> list[LabelledComparison]:
    found = []
    for key, label in labels_of(comparison_ids=comparison_ids, judge=judge, criterion=criterion).items():
        p_first = _p(label, both_bad=both_bad)
        if p_first is None:
            continue
        without = label.replaced if label.source == "override" else label
        p_without = _p(without, both_bad=both_bad)
        found.append(
            LabelledComparison(
                comparison_id=key,
                p_first=p_first,
                source=label.source,
                label_ids=label.label_ids,
                p_without_overrides=p_without,
                both_bad=_is_bad(label),
                both_bad_without_overrides=p_without is not None and _is_bad(without),
            )
        )
    return found


def _is_bad(label: Label | None) -> bool:
    return label is not None and label.outcome == "both_bad"


def _p(label: Label | None, *, both_bad: bool) -> float | None:
    """Give what a label teaches; that both answers are bad, a half, only where that may be learnt."""
    if label is None:
        return None
    return (0.5 if both_bad else None) if _is_bad(label) else label.p_first


def _remembered(loop: Loop, round_: Round, recipe: Recipe) -> list[LabelledComparison]:
    """Return past examples: those of the last k rounds, or every overridden comparison of the project."""
    memory, both_bad = recipe.memory, recipe.objective.takes_single_answers
    if memory.kind == "rounds":
        origins = [round_origin(loop, index) for index in range(max(1, round_.index - memory.k), round_.index)]
        ids = list(trainable(loop).filter(origin__in=origins).values_list("id", flat=True))
        if recipe.label.by == "data":
            labels = _data_labels(loop, origins)
        elif recipe.score.by == "policy":  # each round was judged by the policy that it started from
            labels = [one for judge in own_judges(loop) for one in _labels(ids, judge=judge)]
        else:
            labels = _labels(ids, judge=loop.judge, both_bad=both_bad)
    elif memory.kind == "overrides":
        ids = list(
            trainable(loop)
            .filter(pk__in=Override.objects.filter(comparison__project=loop.project).values("comparison_id"))
            .values_list("id", flat=True)
        )
        by = criterion_of(loop)
        labels = _labels(ids, judge=label_judge(loop.project, by), criterion=by, both_bad=both_bad)
        labels = [label for label in labels if label.source == "override"]
    else:
        labels = []
    return [replace(label, weight=memory.weight) for label in labels]


def as_trained(loop: Loop, round_: Round, settings: LabelSettings, label: LabelledComparison) -> LabelledComparison:
    """Apply the settings' kind of label and its noise, only to machines' labels: people's are not flipped."""
    if label.source in PEOPLE or label.source == "data" or label.both_bad:
        return label
    seed = labeller_seed(loop.seed, "round", round_.index, "comparison", label.comparison_id)
    return replace(label, p_first=labelling.as_trained(settings, label.p_first, rng=random.Random(seed)))
