"""Results of evaluations: the figures of a round, as model card and lineage show them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from apps.projects.models import Project
from apps.training.lineage.figures import FIGURES
from apps.training.models import Counterfactual, CounterfactualState, Round, Stage, TrainingRun
from apps.training.rounds.on_the_way import kept_steps


@dataclass(frozen=True, slots=True)
class Figure:
    key: str  # of a round's result
    name: str
    value: float
    low: float | None
    high: float | None
    unit: str  # "%": a fraction


@dataclass(frozen=True, slots=True)
class Measured:
    """One evaluation: its result, and the number of prompts (and answers, or comparisons)."""

    loop_id: int
    round: int
    figures: tuple[Figure, ...]
    n_prompts: int | None
    n_answers: int | None
    n_comparisons: int | None

    def figure(self, key: str) -> Figure | None:
        """Return the figure with this key in a round's result."""
        return next((figure for figure in self.figures if figure.key == key), None)


def measured(round_: Round, result: dict[str, Any]) -> Measured:
    """Read the result of a round, or of its counterfactual."""
    figures = []
    for one in FIGURES:
        value = result.get(one.key)
        if value is not None:
            low, high = result.get(one.bounds) or (None, None)
            figures.append(Figure(one.key, one.name, value, low, high, one.unit))
    return Measured(
        loop_id=round_.loop_id,
        round=round_.index,
        figures=tuple(figures),
        n_prompts=result.get("n_eval_prompts"),
        n_answers=result.get("n_eval_samples"),
        n_comparisons=result.get("n_held_out"),
    )


def measured_of(project: Project) -> dict[int, Measured]:
    """The measurements of each checkpoint by the round that made it; for a starting policy, by its newest loop.
    Four queries.
    """
    found: dict[int, Measured] = {}
    of_a_start = {figure.key for figure in FIGURES if figure.of_a_start}
    done = Round.objects.filter(loop__project=project, stage=Stage.DONE, output__isnull=False)
    for row in done.order_by("index", "id").only("loop_id", "index", "output_id", "result"):
        if row.output_id is not None:  # a round that made it comes after those that begin with it
            one = measured(row, row.result)
            if row.index == 0:
                one = replace(one, figures=tuple(figure for figure in one.figures if figure.key in of_a_start))
            found[row.output_id] = one
    rewards = TrainingRun.objects.filter(project=project, output__role="reward", round__stage=Stage.DONE)
    for run in rewards.select_related("round", "output").defer("spec", "output__manifest"):
        if run.round and run.output and run.round.result.get("reward_model") == run.output.name:
            found[run.output.pk] = measured(run.round, run.round.result)
    counterfactuals = Counterfactual.objects.filter(run__project=project, state=CounterfactualState.DONE)
    for other in counterfactuals.select_related("round", "run").defer("run__spec"):
        if other.run.output_id is not None:
            found[other.run.output_id] = measured(other.round, other.result)
    for kept in kept_steps(run__project=project, ended_at__isnull=False).select_related("run__round"):
        if kept.run.round is not None:
            found[kept.checkpoint_id] = measured(kept.run.round, kept.result)
    return {checkpoint: one for checkpoint, one in found.items() if one.figures}


def in_words(figure: Figure) -> str:
    """A figure with its interval: "62.5 % [55.0, 70.1]"."""
    text = _number(figure, figure.value) + (f" {figure.unit}" if figure.unit else "")
    if figure.low is not None and figure.high is not None:
        text += f" [{_number(figure, figure.low)}, {_number(figure, figure.high)}]"
    return text


def in_short(one: Measured) -> str:
    """The figures that fit into a node of the lineage: "gold 3.10 · win 62.5 % · KL 0.26"."""
    parts = []
    for declared in FIGURES:
        figure = one.figure(declared.key) if declared.short else None
        if figure is not None:
            number = _number(figure, figure.value).replace("-", "\u2212")
            parts.append(f"{declared.short} {number}" + ("\u202f%" if figure.unit == "%" else ""))
    return " · ".join(parts)


def _number(figure: Figure, value: float) -> str:
    """Write a value of the figure: small numbers, such as a KL, keep their digits."""
    scale, digits = {"%": (100.0, 1), "characters": (1.0, 0)}.get(figure.unit, (1.0, 2))
    if digits == 2 and 0 < max(abs(one) for one in (figure.value, figure.low, figure.high) if one is not None) < 0.1:
        digits = 4
    return f"{scale * value:.{digits}f}"
