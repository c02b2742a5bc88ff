"""Choose who measures a loop: the truth, else a judge that did not label the training data, else the one that did.

Among judges of the same standing one that costs nothing goes before one with a price (decision 0010).
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from apps.judging.prices import costs_money
from apps.judging.selectors import judge_by_name
from apps.labels.flags import flags_of
from apps.labels.models import Judge
from apps.labels.selectors import label_judge, preferences
from apps.labels.types import FLAGGED, JUDGED
from apps.projects.models import Project
from apps.training.models import Loop, Snapshot, TrainingRun
from prefloop.judging.kinds import EVALUATION
from prefloop.recipes.evaluation import NOBODY, TRUTH
from prefloop.recipes.parts import BY_RATINGS
from prefloop.recipes.recipe import Recipe
from prefloop.types import PrefloopError


class NoEvaluator(PrefloopError):
    """A judge that can't measure, or a truth that the project does not have."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """`name`: truth, a judge's name, or empty for nobody. `independent`: it did not label the training data."""

    name: str
    judge: Judge | None = None
    independent: bool | None = None

    @property
    def is_truth(self) -> bool:
        return self.name == TRUTH


def evaluator_of(project: Project, recipe: Recipe, *, judge: Judge | None, loop: Loop | None = None) -> Evaluator:
    """Return who measures the recipe's policies here. `judge`: the one whose scores or labels the loop uses.

    Raises NoEvaluator, NoJudge for a named judge that can't measure.
    """
    wanted = recipe.evaluation.judge
    if wanted == NOBODY:
        return Evaluator("")
    if wanted == TRUTH or (not wanted and project.world):
        if not project.world:
            raise NoEvaluator(f"project {project.slug} has no world whose truth could measure: name a judge")
        return Evaluator(TRUTH, independent=True)
    labellers = labellers_of(project, recipe, judge=judge, loop=loop)
    if wanted:
        named = judge_by_name(project, wanted)
        if why := why_not(named):
            raise NoEvaluator(why)
        return Evaluator(named.name, named, not labellers & _names(named))
    by = {"", *recipe.label.weights} | ({judge.criterion_name} if judge is not None else set())
    others = [one for one in measurers(project, but=labellers) if one.criterion_name in by]
    if others:
        return Evaluator(others[0].name, others[0], independent=True)
    able = [one for one in (judge, label_judge(project), *measurers(project)) if one and can_measure(one)]
    able = [one for one in able if one.criterion_name in by]
    own = min(able, key=costs_money, default=None)
    return Evaluator(own.name, own, independent=False) if own is not None else Evaluator("")


def can_measure(judge: Judge) -> bool:
    return not why_not(judge)


def why_not(judge: Judge) -> str:
    """Say in one sentence why this judge can't compare new answers; "" if it can."""
    if judge.declared.world and not judge.project.world:
        return f"judge {judge.name!r} asks the world of its project, which has none"
    return judge.refusal(EVALUATION)


def labellers_of(project: Project, recipe: Recipe, *, judge: Judge | None, loop: Loop | None = None) -> set[str]:
    """Name the judges that label the recipe's training data here, or that trained a reward model which does.

    If the loop has trained already, its training sets are read too.
    """
    found = set(_names(judge)) if judge is not None else set()
    stored = recipe.label.by == "preferences" or any(draw.source == "data" for draw in recipe.draws)
    stored = stored and recipe.label.judge != BY_RATINGS
    makes = judge is None and recipe.score.by == "judge"  # a reward model, from stored labels
    if recipe.label.named_judge and judge is None:
        found.add(recipe.label.judge)
    elif stored or makes:
        by = list(recipe.label.weights)
        sources = preferences(None).filter(criterion__in=by, comparison__project=project, comparison__held_out=False)
        found |= judges_among(sources.values_list("source", flat=True).distinct())
        fillers = [label_judge(project, criterion) for criterion in by]
        found |= {name for filler in fillers if filler is not None for name in _names(filler)}
        if recipe.objective.takes_single_answers:
            found |= set(flags_of(project).order_by().values_list("judge__name", flat=True).distinct())
    if loop is not None:
        sets = Snapshot.objects.filter(training_runs__round__loop=loop)
        found |= {name for sources in sets.values_list("sources", flat=True) for name in judges_among(sources)}
    return found


def measurers(project: Project, *, but: Set[str] = frozenset()) -> list[Judge]:
    """Return the newest version of each judge that can be asked: first those without a price, and among these those
    that were not trained on labels themselves.

    `but`: names of labellers; a returned judge must be independent of them.
    """
    newest: dict[str, Judge] = {}
    rows = Judge.objects.filter(project=project, retired_at=None).select_related("project", "checkpoint", "endpoint")
    for judge in rows.order_by("name", "version"):
        newest[judge.name] = judge
    able = [judge for judge in newest.values() if can_measure(judge) and not but & _names(judge)]
    return sorted(able, key=_standing)


def _standing(judge: Judge) -> tuple[bool, bool, bool, str]:
    return costs_money(judge), judge.checkpoint_id is not None, judge.is_simulated, judge.name


def _names(judge: Judge) -> frozenset[str]:
    """A judge's name, those of its members, and of the judges whose labels its weights were trained on."""
    members = Judge.objects.filter(pk__in=judge.options.get("members", ())).select_related("checkpoint")
    found = {judge.name}.union(*(_names(member) for member in members))
    if judge.checkpoint_id is not None:
        run = TrainingRun.objects.filter(output=judge.checkpoint_id).select_related("snapshot").first()
        if run is not None and run.snapshot is not None:
            found |= judges_among(run.snapshot.sources)
    return frozenset(found)


def judges_among(sources: Iterable[str]) -> set[str]:
    """Name the judges among the sources of labels."""
    told = (source.partition(":") for source in sources)
    return {name for kind, colon, name in told if kind + colon in (JUDGED, FLAGGED)}
