"""A round's answers: scored, filtered and paired; and the stored answers of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from django.db.models import QuerySet

from apps.labels.models import Judge
from apps.labels.selectors import label_judge, labels_of, orders_for, scores_of
from apps.labels.services import NewVerdict, verdicts_add
from apps.samples.models import Comparison, Completion
from apps.samples.services import GAMES_ORIGIN, comparisons_create
from apps.training.models import Loop, Round
from apps.training.rounds.labels import round_origin, stored_of
from prefloop.answers import same_answer
from prefloop.judging.verdicts import ORDER_CODES
from prefloop.preference import sigmoid, verdict_at
from prefloop.recipes.filters import apply_filter, keep_above, rising_thresholds
from prefloop.recipes.pairing import make_pairs
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed
from prefloop.types import Completion as PlainCompletion
from prefloop.types import Group


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to one prompt: a group of plain types, and the stored row of each completion."""

    rows: tuple[Completion, ...]
    group: Group

    def kept(self, group: Group) -> tuple[Completion, ...]:
        """Return the rows of the completions that a filter left in the group."""
        row_of = {id(plain): row for plain, row in zip(self.group.completions, self.rows, strict=True)}
        return tuple(row_of[id(plain)] for plain in group.completions)


def own_answers(round_: Round, recipe: Recipe) -> QuerySet[Completion]:
    """Return the answers that the round drew, in order; without those that were cut, if the recipe leaves them out."""
    rows = Completion.objects.filter(run_id=round_.sampling_run_id).select_related("prompt")
    if recipe.filter.leaves_out_cut:
        rows = rows.filter(finished=True)
    return rows.order_by("prompt_id", "index")


def scored_answers(judge: Judge, round_: Round, recipe: Recipe) -> list[Answers]:
    """Return the round's answers by prompt, with the judge's mean scores; answers without a score are left out."""
    rows = list(own_answers(round_, recipe))
    scores = scores_of(judge, [row.pk for row in rows])
    by_prompt: dict[int, list[Completion]] = {}
    for row in rows:
        if row.pk in scores:
            by_prompt.setdefault(row.prompt_id, []).append(row)
    return [
        Answers(
            rows=tuple(members),
            group=Group(
                prompt_id=members[0].prompt.external_id,
                completions=tuple(PlainCompletion(text=row.text, ids=tuple(row.token_ids)) for row in members),
                scores=tuple(scores[row.pk] for row in members),
            ),
        )
        for members in by_prompt.values()
    ]


def round_pairs_create(*, loop: Loop, round_: Round, recipe: Recipe) -> list[Comparison]:
    """Make the round's comparisons from its answers, and the judge's verdict on each; idempotent.

    The verdict's p is σ(score difference), the Bradley–Terry probability, if the judge's kind allows it; scores on a
    scale of points only show which answer is better.
    """
    if recipe.label.by == "data":
        return _real_against_generated(loop, round_, recipe)
    judge = loop.judge
    if judge is None or recipe.pairing.kind in ("none", "as-given"):
        return []
    seed = derive_seed(loop.seed, "pairing", round_.index)
    wanted: list[tuple[Completion, Completion]] = []
    scores: dict[int, float] = {}
    for answers in scored_answers(judge, round_, recipe):
        scores |= {row.pk: score for row, score in zip(answers.rows, answers.group.scores or (), strict=True)}
        kept = apply_filter(recipe.filter, answers.group, seed=seed)
        rows = answers.kept(kept)
        wanted += [(rows[pair.i], rows[pair.j]) for pair in make_pairs(recipe.pairing, kept, seed=seed).pairs]
    origin = round_origin(loop, round_.index)
    made = comparisons_create(project=loop.project, pairs=wanted, origin=origin)
    _claimed(made, origin)
    verdicts = []
    for comparison in made:
        gap = scores[comparison.first_id] - scores[comparison.second_id]
        verdict = verdict_at(sigmoid(gap))
        if not judge.p_from_scores:
            verdict = replace(verdict, p_first=None)
        verdicts.append(
            NewVerdict(
                comparison_id=comparison.pk,
                # what a tournament comes to is shown in no order: what the judge said of the pair itself stands over it
                order=ORDER_CODES[orders_for(judge, comparison.pk)[0]] if judge.gives_scores else "",
                verdict=verdict,
            )
        )
    verdicts_add(judge=judge, run=None, verdicts=verdicts)
    return made


def _claimed(made: Sequence[Comparison], origin: str) -> None:
    """Make the tournament games that the round's pairing chose comparisons of the round."""
    games = [row.pk for row in made if row.origin.startswith(GAMES_ORIGIN)]
    Comparison.objects.filter(pk__in=games).update(origin=origin)


def _real_against_generated(loop: Loop, round_: Round, recipe: Recipe) -> list[Comparison]:
    """Compare each stored answer with the policy's own; equal texts can't be told apart."""
    rows = list(own_answers(round_, recipe))
    real = data_answers(loop, {row.prompt_id for row in rows})
    pairs = [
        (real[row.prompt_id], row)
        for row in rows
        if row.prompt_id in real and not same_answer(real[row.prompt_id].text, row.text)
    ]
    return comparisons_create(project=loop.project, pairs=pairs, origin=round_origin(loop, round_.index))


def data_answers(loop: Loop, prompt_ids: Iterable[int] | None = None) -> dict[int, Completion]:
    """Return the stored answer that each prompt's labels choose, the first of several; not every prompt has one.

    The labels are those by the unnamed criterion, whatever criterion pairs are learnt by. Methods imitate these
    answers, or contrast them with the policy's own.
    """
    rows = list(stored_of(loop).select_related("first__prompt", "second__prompt"))
    labels = labels_of(comparison_ids=[row.pk for row in rows], judge=label_judge(loop.project))
    wanted = None if prompt_ids is None else set(prompt_ids)
    found: dict[int, Completion] = {}
    for row in rows:
        label = labels.get(row.pk)
        if label is None or label.p_first is None or label.p_first == 0.5:
            continue
        if wanted is None or row.prompt_id in wanted:
            found.setdefault(row.prompt_id, row.first if label.p_first > 0.5 else row.second)
    return found


def best_answers(answers: Sequence[Answers]) -> dict[int, Completion]:
    """Return the answer with the highest score to each prompt; the first of several."""
    best: dict[int, Completion] = {}
    for one in answers:
        scores = one.group.scores or ()
        best[one.rows[0].prompt_id] = one.rows[scores.index(max(scores))]
    return best


def kept_answers(
    answers: Sequence[Answers], recipe: Recipe, *, step: int, seed: int
) -> Iterator[tuple[Completion, float]]:
    """Return the answers that the recipe's filter keeps in training number `step` (0, 1, …), with their scores.

    Thresholds are quantiles of the scores minus their prompt's mean: a Bradley–Terry reward is only known up to a
    constant for each prompt, so that scores of different prompts can't be compared directly.
    """
    thresholds: Mapping[int, float] = {}
    if recipe.filter.kind == "thresholds":
        centred = [_centred(one.group) for one in answers]
        thresholds = dict(enumerate(rising_thresholds(centred, quantiles=recipe.filter.quantiles)))
    for one in answers:
        score_of = {row.pk: score for row, score in zip(one.rows, one.group.scores or (), strict=True)}
        if recipe.filter.kind == "thresholds":
            kept = keep_above(_centred(one.group), threshold=thresholds[step])
        else:
            kept = apply_filter(recipe.filter, one.group, seed=seed)
        for row in one.kept(kept):
            yield row, score_of[row.pk]


def _centred(group: Group) -> Group:
    scores = group.scores or ()
    mean = sum(scores) / len(scores)
    return replace(group, scores=tuple(score - mean for score in scores))
