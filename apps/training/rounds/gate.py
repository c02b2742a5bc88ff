"""The review gate for the review page: what a round asks people, and continuing when they have answered."""

from __future__ import annotations

from collections.abc import Sequence

from apps.projects.models import Project
from apps.samples.models import Comparison
from apps.training.models import LoopState, Round, SnapshotItem, Stage
from apps.training.rounds.advance import advance_enqueue
from apps.training.rounds.labels import round_origin
from apps.training.rounds.review import review_is_done


def comparison_ids_of_round(project: Project, round_id: int) -> Sequence[int] | None:
    """Return the comparisons that the round asks people about; if none, all that it compared; None: there is no such
    round.

    A round without own comparisons was trained on stored ones: those of its training sets.
    """
    round_ = Round.objects.filter(pk=round_id, loop__project=project).select_related("loop").first()
    if round_ is None:
        return None
    if round_.review_comparison_ids:
        asked: Sequence[int] = round_.review_comparison_ids
        return asked
    own = Comparison.objects.filter(project=project, origin=round_origin(round_.loop, round_.index)).order_by("id")
    stored = SnapshotItem.objects.filter(snapshot__training_runs__round=round_).order_by("id")
    return list(own.values_list("id", flat=True)) or list(stored.values_list("comparison_id", flat=True).distinct())


def decision_heard(comparison_id: int) -> None:
    """Enqueue the next step of every loop whose gate this decision completed.

    Two last decisions at once may both enqueue it; an extra step does nothing.
    """
    waiting = Round.objects.filter(stage=Stage.REVIEW, loop__state=LoopState.WAITING).select_related("loop__project")
    for round_ in waiting:
        if comparison_id in round_.review_comparison_ids and review_is_done(round_):
            advance_enqueue(round_.loop)
