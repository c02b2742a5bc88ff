"""Forecast a loop before it starts: the counts from which each stage computes what it will do."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from math import ceil
from typing import Any

from django.db.models import Avg, Exists, OuterRef, Q, QuerySet

from apps.judging.gold import gold_unasked, n_gold_for
from apps.judging.prices import costs_per_1000, has_price
from apps.judging.specs import asked_with, call_at_most
from apps.labels.models import Judge, Preference, Rating, Score
from apps.labels.ratings import MIDDLE
from apps.labels.selectors import preferences
from apps.labels.types import PEOPLE
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.prompts.selectors import NoSuchPromptSet, chosen_prompts
from apps.samples.models import Comparison
from apps.training.rounds.evaluators import Evaluator, evaluator_of
from apps.training.rounds.labels import stored_comparisons, told_flags, told_ratings
from apps.training.rounds.loop_judge import loop_judge, made_judge_name
from apps.training.rounds.self_rewarding import is_taught, teaches
from prefloop.judging.tournament import n_meetings
from prefloop.recipes.parts import BY_PEOPLE, BY_RATINGS
from prefloop.recipes.recipe import Recipe
from prefloop.types import PrefloopError

PAIRS_LOOKED_AT = 50
_SAYS = Q(p_first__isnull=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What a stage, a round or a loop will do. These are upper bounds, since answers or labels may coincide."""

    answers: int = 0
    scores: int = 0
    judge_calls: int = 0  # to a language model that labels, scores or measures
    dollars: float | None = 0.0  # for them, at the price of its latest calls; None: not known
    capped_calls: int = (
        0  # those of `judge_calls` whose price is the most that they can cost: that judge was not asked yet
    )
    unpriced_calls: int = 0  # those of `judge_calls` to an endpoint whose price nobody has set
    reviews: int = 0
    rows: int = 0  # each once a time that it is trained on
    left_out: int = 0  # comparisons with a label by one of the weighted criteria and not by all
    flags: int = 0  # those of `rows` that an import calls desirable or not
    steps: int = 0
    evaluation_answers: int = 0
    evaluation_calls: int = 0  # those of `judge_calls` that measure
    evaluation_dollars: float | None = 0.0  # those of `dollars`
    people_pairs: int = 0  # given to people blind, to measure
    reward_model_steps: int = 0
    teaching_steps: int = 0  # in which the start learns to judge
    kept: int = 0  # policies that are measured on the way
    checkpoints: int = 0  # that are kept

    def __add__(self, other: Foreseen) -> Foreseen:
        total: dict[str, Any] = {}
        for item in fields(Foreseen):
            one, two = getattr(self, item.name), getattr(other, item.name)
            total[item.name] = None if one is None or two is None else one + two
        return Foreseen(**total)


@dataclass(frozen=True)
class Ahead:
    """A loop of this recipe that has not started yet. Each database query is made once."""

    project: Project
    recipe: Recipe
    start: Checkpoint | None = None

    @cached_property
    def judge(self) -> Judge | None:
        """Who labels or scores; nobody where the judge is yet to be made, or starting the loop refuses it."""
        try:
            return loop_judge(self.project, self.recipe)
        except PrefloopError:
            return None

    @property
    def makes(self) -> str:
        """The name of the reward model that the loop makes first; "": none."""
        return made_judge_name(self.recipe) if self.judge is None else ""

    @cached_property
    def teaches_start(self) -> bool:
        return teaches(self.recipe) and not (self.start is not None and is_taught(self.start))

    @cached_property
    def measurer(self) -> Evaluator:
        """Who measures; nobody where a judge is named that can't, which starting the loop says."""
        if "evaluation" in self.recipe.hidden():
            return Evaluator("")
        try:
            return evaluator_of(self.project, self.recipe, judge=self.judge)
        except PrefloopError:
            return Evaluator("")

    # --- prompts and answers ------------------------------------------------------------------------------------------

    def meant(self, split: str) -> QuerySet[Prompt]:
        """The prompts that the recipe chooses; none where it names a set that is not there, which the start refuses."""
        try:
            return chosen_prompts(self.project, self.recipe.prompts, split=split)
        except NoSuchPromptSet:
            return Prompt.objects.none()

    @cached_property
    def prompts(self) -> int:
        """Prompts that a round asks: held-out ones where nothing is trained, answered ones where the data answers."""
        recipe = self.recipe
        if not recipe.samples:
            return 0
        rows = self.meant("train" if recipe.objective.trains else "eval")
        if any(draw.source == "data" for draw in recipe.draws):
            rows = rows.filter(pk__in=self.labels.exclude(p_first=0.5).values("comparison__prompt_id"))
        there = rows.count()
        if recipe.prompts.generator != "none":  # as many as are wanted, where as many can be written
            return recipe.prompts.n or there
        return min(recipe.prompts.n or there, there)

    @property
    def drawn(self) -> int:
        """Answers to a prompt."""
        return sum(draw.n for draw in self.recipe.draws if draw.source != "data")

    @property
    def answers(self) -> int:
        return self.prompts * self.drawn

    @cached_property
    def measured(self) -> int:
        """Held-out answers of one policy."""
        if self.recipe.objective.makes_reward_model:
            return 0
        there = self.meant("eval").count()
        return min(self.recipe.evaluation.prompts or there, there) * self.recipe.evaluation.n

    # --- labels -------------------------------------------------------------------------------------------------------

    @property
    def comparisons(self) -> QuerySet[Comparison]:
        """The stored comparisons that the recipe means; none where it names a prompt set that is not there."""
        try:
            return stored_comparisons(self.project, self.recipe)
        except NoSuchPromptSet:
            return Comparison.objects.none()

    @property
    def labels(self) -> QuerySet[Preference]:
        """The labels of stored comparisons that may be trained on; of several criteria, those by one where all are."""
        first, *others = self.recipe.label.weights
        rows = self._meant(first).filter(comparison__in=self.comparisons.order_by().values("pk"))
        for name in others:
            rows = rows.filter(Exists(self._meant(name).filter(_SAYS, comparison=OuterRef("comparison"))))
        takes_bad = self.recipe.objective.takes_single_answers and not others
        return rows.filter(_SAYS | Q(outcome="both_bad") if takes_bad else _SAYS)

    def _meant(self, criterion: str | None) -> QuerySet[Preference]:
        """The labels by a criterion (None: by any) from whom the recipe takes them: everybody, or people alone."""
        rows, told = preferences(criterion), self.recipe.label
        if told.judge == BY_RATINGS:
            return rows.none()
        return rows.filter(source__in=PEOPLE) if told.by == "preferences" and told.judge == BY_PEOPLE else rows

    @cached_property
    def left_out(self) -> int:
        """Comparisons with a label by one of the recipe's criteria and not by all."""
        weights = self.recipe.label.weights
        if len(weights) < 2:
            return 0
        some = self._meant(None).filter(_SAYS, criterion__in=list(weights))
        there = some.filter(comparison__in=self.comparisons.order_by().values("pk"))
        return there.order_by().values("comparison").distinct().count() - self.labels.count()

    @cached_property
    def stored(self) -> int:
        """Stored comparisons with the label that the recipe asks for; of a judge, all that it will be asked."""
        return ceil(self._told[0] * self._drawn_share)

    @cached_property
    def flags(self) -> int:
        """Stored answers with a flag that the recipe learns from."""
        return ceil(self.told_flags.count() * self._drawn_share)

    @cached_property
    def rated(self) -> int:
        """Stored answers that people rated above or below the middle of the scale, if the recipe learns from them."""
        rows = self.told_ratings.order_by().values("completion").annotate(mean=Avg("total"))
        apart = rows.filter(Q(mean__lt=0.5 - MIDDLE) | Q(mean__gt=0.5 + MIDDLE))
        return ceil(apart.count() * self._drawn_share)

    @property
    def told_flags(self) -> QuerySet[Score]:
        """The flags that the recipe means; none where it names a prompt set that is not there."""
        try:
            return told_flags(self.project, self.recipe)
        except NoSuchPromptSet:
            return Score.objects.none()

    @property
    def told_ratings(self) -> QuerySet[Rating]:
        """People's ratings that the recipe means; none where it names a prompt set that is not there."""
        try:
            return told_ratings(self.project, self.recipe)
        except NoSuchPromptSet:
            return Rating.objects.none()

    @cached_property
    def _told(self) -> tuple[int, QuerySet[Any, tuple[int]]]:
        """How many comparisons `stored` counts of all prompts, and their prompts."""
        recipe = self.recipe
        if recipe.label.named_judge:
            return self.comparisons.count(), self.comparisons.order_by().values_list("prompt")
        labels = self.labels
        decided = recipe.objective.declared.hard_labels or recipe.objective.rows == "demonstrations"
        if decided and len(recipe.label.weights) == 1:  # a tie by one of several criteria is decided by the others
            labels = labels.exclude(p_first=0.5)
        return labels.count(), labels.order_by().values_list("comparison__prompt")

    @cached_property
    def _drawn_share(self) -> float:
        """The share of the prompts with a label or a flag that `prompts.n` draws."""
        wanted = self.recipe.prompts.n
        if not wanted:
            return 1.0
        flagged, rated = (
            rows.order_by().values_list("completion__prompt") for rows in (self.told_flags, self.told_ratings)
        )
        n = self._told[1].union(flagged, rated).count()
        return min(1.0, wanted / n) if n else 1.0

    @property
    def labelled(self) -> int:
        """Comparisons of one round that are labelled, each once."""
        recipe = self.recipe
        if recipe.label.by == "preferences" or not recipe.samples:
            return self.stored if recipe.memory.kind != "replay" else 0
        return self.prompts * recipe.pairing.n_pairs(recipe.filter.n_kept(self.drawn))

    # --- judges -------------------------------------------------------------------------------------------------------

    @cached_property
    def _prices(self) -> dict[int, float]:
        return costs_per_1000(self.project)

    def paid(
        self, judge: Judge | None, *, pairs: int, answers: int, orders: int | None = None, said: bool = False
    ) -> Foreseen:
        """Return the calls for comparing these pairs of answers, to each language model among a judge and its members.

        A model that grades is called for each answer, one that compares for each pair, in `orders` (None: by its own
        order policy). `said`: stored comparisons that it has already judged are not counted.
        """
        total = Foreseen()
        for one in asked_with(judge).values() if judge is not None else ():
            if not one.declared.costs:
                continue
            known = self._compared_by(one) if said else 0
            n_orders = orders or (1 if one.order_policy == "random" else 2)
            grades = max(0, answers - 2 * known) * int(one.options.get("samples", 1))
            calls = grades if one.gives_scores else max(0, pairs - known) * n_orders
            if calls:
                total += self._priced(one, calls)
        return total

    def _priced(self, judge: Judge, calls: int) -> Foreseen:
        if judge.is_simulated:
            return Foreseen(judge_calls=calls)
        if not has_price(judge):
            return Foreseen(judge_calls=calls, dollars=None, unpriced_calls=calls)
        price = self._prices.get(judge.pk)  # of a thousand comparisons, each so many calls
        if price is not None:
            return Foreseen(judge_calls=calls, dollars=price * calls / judge.calls_for_scores(2) / 1000)
        most = call_at_most(judge, self._examples)
        return Foreseen(judge_calls=calls, dollars=None if most is None else calls * most, capped_calls=calls)

    @cached_property
    def _examples(self) -> list[Comparison]:
        """Some pairs of the project, for what a judge would be sent."""
        rows = Comparison.objects.filter(project=self.project).select_related("prompt", "first", "second")
        return list(rows.order_by("-id")[:PAIRS_LOOKED_AT])

    def _compared_by(self, judge: Judge) -> int:
        return self.comparisons.order_by().filter(verdicts__judge=judge).values("pk").distinct().count()

    @cached_property
    def asked(self) -> Foreseen:
        """The scores and the judge calls of one round; what a judge said before costs nothing."""
        recipe, judge = self.recipe, self.judge
        scores = Foreseen(scores=self.answers * scores_an_answer(recipe))
        if recipe.score.by == "judge" and recipe.uses_scores:
            return scores + self.paid(judge, pairs=self.prompts * n_meetings(self.drawn), answers=self.answers)
        n = self.labelled
        if recipe.label.by == "preferences":
            n += 0 if judge is None else min(n_gold_for(self.project.gold_share, n), gold_unasked(judge).count())
            return scores + self.paid(judge, pairs=n, answers=2 * n, said=True)
        kept = self.prompts * recipe.filter.n_kept(self.drawn)
        return scores + self.paid(judge, pairs=n, answers=min(2 * n, kept))


def scores_an_answer(recipe: Recipe) -> int:
    if recipe.score.by == "policy":
        return recipe.score.samples
    return int(recipe.score.by == "judge" and recipe.uses_scores)
