"""The review gate, seen from the review page: what a round asks people, and going on when they have answered."""

from __future__ import annotations

from collections.abc import Sequence

from apps.projects.models import Project
from apps.training.loops import advance_enqueue
from apps.training.models import LoopState, Round, Stage
from apps.training.review import review_is_done


def comparison_ids_of_round(project: Project, round_id: int) -> Sequence[int] | None:
    """Return what the round asks people; None where the project has no such round."""
    ids: Sequence[int] | None = (
        Round.objects.filter(pk=round_id, loop__project=project).values_list("review_comparison_ids", flat=True).first()
    )
    return ids


def decision_heard(comparison_id: int) -> None:
    """Enqueue the next step of every loop whose gate this decision was the last to open.

    Two last decisions at once may both enqueue it; a step too many does nothing.
    """
    waiting = Round.objects.filter(stage=Stage.REVIEW, loop__state=LoopState.WAITING).select_related("loop__project")
    for round_ in waiting:
        if comparison_id in round_.review_comparison_ids and review_is_done(round_):
            advance_enqueue(round_.loop)
